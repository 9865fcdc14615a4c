//! Ages of events when sent: a histogram that the daemon reads itself.

use super::exposition::Exposition;
use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds of the buckets, in microseconds. Each includes its bound.
const BOUNDS_US: [u64; 13] = [
    1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];
const NAME: &str = "broadcastd_event_age_seconds";
const HELP: &str = "Age of the oldest event of a pass when the last client has been sent it, from acceptance or the flush of its buffer.";

/// Samples so far by bucket; the last bucket has no bound.
pub(super) type Buckets = [u64; BOUNDS_US.len() + 1];

/// The histogram.
#[derive(Debug, Default)]
pub struct Ages {
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_ms: AtomicU64,
}

impl Ages {
    /// Counts an age.
    pub fn record(&self, age_ms: u64) {
        let bucket = BOUNDS_US.partition_point(|bound_us| *bound_us < age_ms.saturating_mul(1000));
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_ms.fetch_add(age_ms, Ordering::Relaxed);
    }

    pub(super) fn buckets(&self) -> Buckets {
        std::array::from_fn(|bucket| self.buckets[bucket].load(Ordering::Relaxed))
    }

    pub(super) fn render(&self, out: &mut Exposition) {
        out.family(NAME, "histogram", HELP);
        let bucket_name = format!("{NAME}_bucket");
        let mut total = 0;
        for (bucket, count) in self.buckets().into_iter().enumerate() {
            total += count;
            let bound = BOUNDS_US.get(bucket).map(|bound_us| (*bound_us as f64 / 1e6).to_string());
            out.sample(&bucket_name, &[("le", bound.as_deref().unwrap_or("+Inf"))], total);
        }
        let sum = self.sum_ms.load(Ordering::Relaxed) as f64 / 1000.0;
        out.sample(&format!("{NAME}_sum"), &[], sum);
        out.sample(&format!("{NAME}_count"), &[], total);
    }
}

/// Age in seconds that `share` of the samples between two looks do not exceed, interpolated within its bucket. None without
/// samples.
pub(super) fn quantile(before: &Buckets, now: &Buckets, share: f64) -> Option<f64> {
    let counts: Vec<u64> = before.iter().zip(now).map(|(before, now)| now - before).collect();
    let total: u64 = counts.iter().sum();
    let (wanted, mut under, mut low_us) = (total as f64 * share, 0.0, 0);
    for (count, bound_us) in counts.into_iter().zip(BOUNDS_US).filter(|_| total > 0) {
        let here = under + count as f64;
        if here >= wanted {
            let inside = (wanted - under) / count.max(1) as f64;
            return Some((low_us as f64 + (bound_us - low_us) as f64 * inside) / 1e6);
        }
        (under, low_us) = (here, bound_us);
    }
    // Beyond the last bound: nothing more is known.
    (total > 0).then_some(low_us as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_include_their_bounds_and_rise() {
        let ages = Ages::default();
        for age_ms in [0, 1, 2, 10_000, 10_001] {
            ages.record(age_ms);
        }
        let mut out = Exposition::default();
        ages.render(&mut out);
        let text = out.into_text();
        for line in [
            "_bucket{le=\"0.001\"} 2",
            "_bucket{le=\"0.0025\"} 3",
            "_bucket{le=\"10\"} 4",
            "_bucket{le=\"+Inf\"} 5",
            "_sum 20.004",
            "_count 5",
        ] {
            assert!(text.contains(&format!("{NAME}{line}\n")), "{line}: {text}");
        }
    }

    #[test]
    fn quantiles_are_of_the_samples_between_two_looks() {
        let look = |counts: &[(usize, u64)]| {
            let mut buckets = Buckets::default();
            for (bucket, count) in counts {
                buckets[*bucket] = *count;
            }
            buckets
        };
        let earlier = look(&[(3, 50), (6, 50)]);
        for (before, now, share, expected) in [
            (look(&[]), earlier, 0.5, Some(0.01)),
            (earlier, look(&[(3, 50), (6, 150)]), 0.5, Some(0.075)),
            (earlier, earlier, 0.5, None),
            (look(&[]), look(&[(13, 5)]), 0.99, Some(10.0)),
        ] {
            assert_eq!(quantile(&before, &now, share), expected);
        }
    }
}
