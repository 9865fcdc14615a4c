//! A measured window: everything is read at its begin and at its end.

use crate::Outcome;
use crate::fleet::Fleet;
use crate::ledger::Tally;
use crate::measure::{Histogram, Instructions, cpu_time, own_cpu_time};
use crate::options::Plan;
use crate::producer::Pace;
use crate::report::Row;
use crate::server::{Scrape, Server};
use std::time::{Duration, Instant};

/// The pace that a plan says.
pub(crate) fn pace(plan: &Plan) -> Pace {
    if plan.under_way > 0 {
        // Fewer under way than are written at once would be none at all.
        let under_way = plan.under_way.max(plan.at_once);
        return Pace::UnderWay { under_way, at_once: plan.at_once };
    }
    Pace::Every { interval: Duration::from_secs_f64(1.0 / plan.rate), at_once: plan.at_once }
}

/// A window under way.
pub(crate) struct Meter {
    scrape: Scrape,
    instructions: Instructions,
    tally: Tally,
    cpu: f64,
    own_cpu: f64,
    begun: Instant,
}

impl Meter {
    /// Begins a window.
    pub(crate) fn begin(server: &Server, fleet: &mut Fleet) -> Outcome<Meter> {
        let instructions = Instructions::start(server.counter, server.pid);
        // Before the clocks are read: rendering metrics costs the daemon time.
        let scrape = server.scrape();
        fleet.ledger.latency = Histogram::default();
        fleet.producer.lag = Histogram::default();
        fleet.ledger.measuring = true;
        Ok(Meter {
            scrape,
            instructions,
            tally: fleet.ledger.tally,
            cpu: cpu_time(server.pid)?,
            own_cpu: own_cpu_time()?,
            begun: Instant::now(),
        })
    }

    /// Ends it and puts its figures into a row.
    pub(crate) fn end(self, server: &Server, fleet: &mut Fleet, row: &mut Row) -> Outcome<()> {
        let cpu = cpu_time(server.pid)? - self.cpu;
        let own_cpu = own_cpu_time()? - self.own_cpu;
        let wall = self.begun.elapsed().as_secs_f64();
        let instructions = self.instructions.stop(cpu);
        fleet.ledger.measuring = false;
        let scrape = server.scrape();
        let tally = fleet.ledger.tally;
        let deliveries = (tally.deliveries - self.tally.deliveries) as f64;
        let each = |value: f64| (deliveries > 0.0).then(|| value / deliveries);
        let sends = scrape.grown(&self.scrape, "broadcastd_sends_total").filter(|sends| *sends > 0.0);
        let latency = &fleet.ledger.latency;
        let milliseconds = |value: Option<u64>| value.map(|micros| micros as f64 / 1e3);
        let memory = server.memory()?;
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        row.put("clients", fleet.ready() as f64)
            .put("deliveries", deliveries)
            .put("cpu_us_per_delivery", each(cpu * 1e6))
            .put("instructions_per_delivery", instructions.and_then(|count| each(count as f64)))
            .put("deliveries_per_s", deliveries / wall)
            .put("deliveries_per_send", sends.map(|sends| deliveries / sends))
            .put("frame_bytes", each((tally.bytes - self.tally.bytes) as f64))
            .put("p50_ms", milliseconds(latency.quantile(0.5)))
            .put("p99_ms", milliseconds(latency.quantile(0.99)))
            .put("max_ms", milliseconds(latency.max()))
            .put("publish_lag_p99_ms", milliseconds(fleet.producer.lag.quantile(0.99)))
            .put("server_percent", cpu / wall * 100.0)
            .put("load_percent", own_cpu / wall * 100.0)
            .put("gaps", (tally.gaps - self.tally.gaps) as f64)
            .put("resident_mib", mebibytes(memory.resident))
            .put("peak_mib", mebibytes(memory.peak));
        let waited = scrape.grown(&self.scrape, "broadcastd_shard_lock_wait_seconds_total");
        row.put("lock_wait_ms", waited.map(|seconds| seconds * 1e3));
        Ok(())
    }
}

/// Warms up, then measures a window in which everything published is also delivered.
pub(crate) fn measure(server: &Server, fleet: &mut Fleet, plan: &Plan, row: &mut Row) -> Outcome<()> {
    fleet.publish(pace(plan));
    fleet.run_for(Duration::from_secs_f64(plan.warm_up))?;
    fleet.settle()?;
    let meter = Meter::begin(server, fleet)?;
    fleet.publish(pace(plan));
    fleet.run_for(Duration::from_secs_f64(plan.seconds))?;
    fleet.settle()?;
    meter.end(server, fleet, row)
}
