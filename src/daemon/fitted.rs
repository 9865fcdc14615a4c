//! A configuration whose limits are lowered to what descriptors allow.

use crate::config::Config;
use crate::descriptors::{self, Shares};
use crate::limits::ClientCounter;
use crate::metrics::Metrics;
use std::sync::Arc;

/// What fitting a configuration to the descriptor limit came to.
#[derive(Debug)]
pub(super) struct Fitted {
    shares: Shares,
    /// `limits.clients` in force.
    clients: usize,
    lowered: Option<String>,
}

impl Fitted {
    /// Lowers a configuration's limits to its shares of the descriptors, for the parts that keep to them. The configuration
    /// itself stays as it is written, for all who are told of it.
    pub(super) fn fit(config: &Config) -> (Fitted, Arc<Config>) {
        let shares = Shares::of(descriptors::limit().unwrap_or(u64::MAX), config);
        let mut config = config.clone();
        let lowered = shares.lower(&mut config);
        (Fitted { shares, clients: config.limits.clients, lowered }, Arc::new(config))
    }

    /// Puts the limit on clients in force, and logs what was lowered unless `said` was the same.
    pub(super) fn put_in_force(&self, counter: &ClientCounter, metrics: &Metrics, said: Option<&Fitted>) {
        counter.set_limits(self.clients, self.shares.clients);
        metrics.clients_limit.set(self.clients as f64);
        let is_said = said.is_some_and(|said| said.lowered == self.lowered);
        if let Some(changes) = self.lowered.as_ref().filter(|_| !is_said) {
            let (descriptors, hint) = (self.shares.limit, self.shares.advice());
            tracing::info!(descriptors, %changes, hint, "limits lowered to what descriptors allow");
        }
    }
}
