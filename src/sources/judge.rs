//! When the daemon's own figures are worth an alert. Pure.

use crate::alert::{Alert, Severity};
use crate::config::Config;
use crate::metrics::{HandshakeRefusal, Metrics};
use crate::room::Rooms;
use crate::route::RejectionCode;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Lines refused within a window that make a burst.
const BURST: u64 = 100;
/// Looks in a row that something must hold before it is told: it may be a moment's.
const LASTING: u32 = 5;
/// Blocked clients that are worth a word, if they are a tenth of all as well.
const BLOCKED: u64 = 10;

/// The figures at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    /// Lines refused so far, by reason.
    pub(super) rejected: Vec<(&'static str, u64)>,
    /// What limits have refused so far, by key.
    pub(super) limits: Vec<(&'static str, u64)>,
    /// Accept calls that failed so far.
    pub(super) accept_errors: u64,
    pub(super) load: Load,
}

/// Conditions at one moment. Alerts, the status and health all ask it, so that they agree.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    /// Clients whose sockets take nothing.
    pub(crate) blocked: u64,
    /// All clients.
    pub(crate) clients: u64,
    /// Bytes of backlog.
    pub(crate) backlog: u64,
    /// `ingest.backlog`.
    pub(crate) backlog_limit: u64,
}

/// Remembers what was seen and said.
#[derive(Default)]
pub(super) struct Judge {
    counts: HashMap<&'static str, Count>,
    levels: HashMap<&'static str, Level>,
}

/// A counter: what it was when it was last told.
struct Count {
    told: u64,
    /// What it was at the last look.
    seen: u64,
    told_at: Option<Instant>,
}

/// Something that holds or does not.
#[derive(Default)]
struct Level {
    looks: u32,
    told_at: Option<Instant>,
}

impl Look {
    pub(super) fn at(metrics: &Metrics, rooms: &Rooms, config: &Config) -> Look {
        let refused = |refusal| metrics.refused_so_far(refusal);
        Look {
            rejected: RejectionCode::ALL
                .iter()
                .map(|code| (code.as_str(), metrics.rejected(*code).total()))
                .collect(),
            limits: vec![
                ("limits.clients", refused(HandshakeRefusal::Clients)),
                ("limits.clients_per_ip", refused(HandshakeRefusal::ClientsPerIp)),
                ("server.handshakes", refused(HandshakeRefusal::Handshakes)),
                ("ingest.connections", metrics.producers_refused.total()),
                ("limits.rooms", metrics.room_refused.total()),
            ],
            accept_errors: metrics.accept_errors.total(),
            load: Load::at(metrics, rooms, config),
        }
    }
}

impl Load {
    /// The load now.
    pub(crate) fn at(metrics: &Metrics, rooms: &Rooms, config: &Config) -> Load {
        Load {
            blocked: metrics.clients_blocked.now(),
            clients: metrics.clients_now(),
            backlog: rooms.totals().backlog_bytes(),
            backlog_limit: config.ingest.backlog,
        }
    }

    /// Says that many clients are blocked: ten or more, and a tenth of all.
    pub(crate) fn slow_clients(&self) -> Option<String> {
        let many = self.blocked >= BLOCKED && self.blocked * 10 >= self.clients;
        many.then(|| format!("{} of {} clients read too slowly", self.blocked, self.clients))
    }

    /// Says that the backlog has reached nine tenths of its limit.
    pub(crate) fn full_backlog(&self) -> Option<String> {
        let full = self.backlog.saturating_mul(10) >= self.backlog_limit.saturating_mul(9);
        full.then(|| "the backlog is full: producers wait, or their events are refused".to_owned())
    }
}

impl Judge {
    /// What is to be said now. What still holds is said again after `repeat`.
    pub(super) fn look(&mut self, now: Instant, repeat: Duration, look: &Look) -> Vec<Alert> {
        let mut alerts = Vec::new();
        self.rejected(now, repeat, look, &mut alerts);
        for (key, total) in &look.limits {
            if let Some(count) = self.rose(key, *total, 1, now, repeat) {
                let message = format!("{key} is reached: {count} refused");
                let details = json!({ "limit": key, "refused": count });
                alerts.push(alert("limit_reached", Severity::Warning, message, details));
            }
        }
        if let Some(count) = self.rose("accept_errors", look.accept_errors, 1, now, repeat) {
            let message = format!("{count} connections could not be accepted: too few descriptors?");
            alerts.push(alert("accept_failed", Severity::Error, message, json!({ "failed": count })));
        }
        let load = look.load;
        if let Some(message) = self.lasts("blocked", load.slow_clients(), now, repeat) {
            let details = json!({ "blocked": load.blocked, "clients": load.clients });
            alerts.push(alert("clients_blocked", Severity::Warning, message, details));
        }
        if let Some(message) = self.lasts("backlog", load.full_backlog(), now, repeat) {
            let details = json!({ "bytes": load.backlog, "limit": load.backlog_limit });
            alerts.push(alert("backlog_full", Severity::Warning, message, details));
        }
        alerts
    }

    fn rejected(&mut self, now: Instant, repeat: Duration, look: &Look, alerts: &mut Vec<Alert>) {
        let total = look.rejected.iter().map(|(_, count)| count).sum();
        let reasons: Vec<(&str, u64)> = look
            .rejected
            .iter()
            .map(|(reason, total)| (*reason, total - self.counts.get(reason).map_or(0, |count| count.told)))
            .filter(|(_, count)| *count > 0)
            .collect();
        let Some(count) = self.rose("rejected", total, BURST, now, repeat) else { return };
        for (reason, total) in &look.rejected {
            self.counts.entry(reason).or_insert_with(Count::new).told = *total;
        }
        let by_reason: serde_json::Map<String, Value> =
            reasons.iter().map(|(reason, count)| ((*reason).to_owned(), (*count).into())).collect();
        let most = reasons.iter().max_by_key(|(_, count)| *count).map_or("", |(reason, _)| reason);
        let message = format!("{count} lines of producers were refused, most of them for {most}");
        let details = json!({ "refused": count, "reasons": by_reason });
        alerts.push(alert("lines_refused", Severity::Warning, message, details));
    }

    /// By how much a counter has risen since it was last told, if that is to be told: it rose since the last look, by so
    /// many since it was told, and not within `repeat` of that.
    fn rose(
        &mut self,
        name: &'static str,
        total: u64,
        least: u64,
        now: Instant,
        repeat: Duration,
    ) -> Option<u64> {
        let count = self.counts.entry(name).or_insert_with(Count::new);
        let rises = std::mem::replace(&mut count.seen, total) < total;
        let risen = total - count.told;
        let is_quiet = count.told_at.is_some_and(|told| now < told + repeat);
        if !rises && !is_quiet {
            // A trickle is no burst.
            count.told = total;
        }
        if !rises || risen < least || is_quiet {
            return None;
        }
        (count.told, count.told_at) = (total, Some(now));
        Some(risen)
    }

    /// A due alert: its condition has held for long enough, and no alert was sent within `repeat`.
    fn lasts(
        &mut self,
        name: &'static str,
        holds: Option<String>,
        now: Instant,
        repeat: Duration,
    ) -> Option<String> {
        let level = self.levels.entry(name).or_default();
        level.looks = if holds.is_some() { level.looks.saturating_add(1) } else { 0 };
        let is_quiet = level.told_at.is_some_and(|told| now < told + repeat);
        let says = level.looks >= LASTING && !is_quiet;
        if says {
            level.told_at = Some(now);
        }
        holds.filter(|_| says)
    }
}

impl Count {
    fn new() -> Count {
        Count { told: 0, seen: 0, told_at: None }
    }
}

fn alert(code: &'static str, severity: Severity, message: String, details: Value) -> Alert {
    Alert { code, severity, message, details }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPEAT: Duration = Duration::from_secs(60);

    struct Bench {
        judge: Judge,
        now: Instant,
        look: Look,
    }

    impl Bench {
        fn new() -> Bench {
            let load = Load { backlog_limit: 100, clients: 100, ..Load::default() };
            let look = Look { load, ..Look::default() };
            Bench { judge: Judge::default(), now: Instant::now(), look }
        }

        /// The codes of what is said after a change, a second later.
        fn after(&mut self, change: impl FnOnce(&mut Look)) -> Vec<(&'static str, Value)> {
            change(&mut self.look);
            self.now += Duration::from_secs(1);
            let alerts = self.judge.look(self.now, REPEAT, &self.look);
            alerts.into_iter().map(|alert| (alert.code, alert.details)).collect()
        }

        fn quiet(&mut self, seconds: u32) {
            for _ in 0..seconds {
                assert_eq!(self.after(|_| {}), []);
            }
        }
    }

    #[test]
    fn a_burst_of_refused_lines_is_told_with_its_reasons() {
        let mut bench = Bench::new();
        assert_eq!(bench.after(|look| look.rejected = vec![("bad_json", 60), ("too_long", 0)]), []);
        let told = bench.after(|look| look.rejected = vec![("bad_json", 90), ("too_long", 20)]);
        let details = json!({ "refused": 110, "reasons": { "bad_json": 90, "too_long": 20 } });
        assert_eq!(told, [("lines_refused", details)]);
        for more in 1..60 {
            assert_eq!(bench.after(|look| look.rejected[0].1 = 90 + more * 10), [], "not within a minute");
        }
        let told = bench.after(|look| look.rejected[0].1 = 1000);
        let details = json!({ "refused": 910, "reasons": { "bad_json": 910 } });
        assert_eq!(told, [("lines_refused", details)], "with everything since");
    }

    #[test]
    fn a_trickle_of_refused_lines_is_no_burst() {
        let mut bench = Bench::new();
        for line in 1..1000 {
            assert_eq!(bench.after(|look| look.rejected = vec![("bad_json", line)]), []);
            bench.quiet(1);
        }
    }

    #[test]
    fn a_limit_is_told_at_once_and_again_only_after_a_while() {
        let mut bench = Bench::new();
        let told = bench.after(|look| look.limits = vec![("limits.clients", 3), ("limits.rooms", 0)]);
        assert_eq!(told, [("limit_reached", json!({ "limit": "limits.clients", "refused": 3 }))]);
        let told = bench.after(|look| look.limits = vec![("limits.clients", 4), ("limits.rooms", 1)]);
        assert_eq!(
            told,
            [("limit_reached", json!({ "limit": "limits.rooms", "refused": 1 }))],
            "each its own"
        );
        bench.quiet(70);
        let told = bench.after(|look| look.limits[0].1 = 9);
        assert_eq!(told.len(), 1);
    }

    #[test]
    fn levels_are_told_once_they_last() {
        let mut bench = Bench::new();
        for _ in 0..3 {
            for _ in 0..4 {
                assert_eq!(bench.after(|look| (look.load.blocked, look.load.backlog) = (50, 95)), []);
            }
            assert_eq!(bench.after(|look| (look.load.blocked, look.load.backlog) = (0, 0)), []);
        }
        bench.look.load.blocked = 50;
        bench.quiet(4);
        assert_eq!(bench.after(|_| {}), [("clients_blocked", json!({ "blocked": 50, "clients": 100 }))]);
        bench.quiet(59);
        assert_eq!(bench.after(|_| {}).len(), 1, "it still holds");
        bench.look.load.clients = 1000;
        bench.quiet(70);
        bench.look.load.backlog = 90;
        bench.quiet(4);
        assert_eq!(bench.after(|_| {}), [("backlog_full", json!({ "bytes": 90, "limit": 100 }))]);
    }
}
