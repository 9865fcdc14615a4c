//! The descriptor limit, and how it is shared out: whatever clients do, operators, producers and files keep a part.

use crate::config::{Config, IngestAddr};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io;

/// Descriptors of a daemon at rest: five runtimes with four each, standard streams, files that stay open, the watch.
const OWN: u64 = 30;
/// Descriptors of a shard: its poll and its bell.
const SHARD: u64 = 3;
/// Descriptors of a thread of ingest: its runtime.
const THREAD: u64 = 4;
/// Descriptors of a listener: the socket, as its owner, its accepting task and a reload hold it.
const LISTENER: u64 = 3;
/// Descriptors for files that are open for moments, and for listeners that a reload binds before others close.
const FILES: (u64, u64) = (2, 32);
/// Descriptors of each handshake under way: the clients' front has idle connections beside it, the operators' front has as
/// many handshakes.
const HANDSHAKE: u64 = 3;
/// Fewest handshakes at each front, and fewest producers.
const FEWEST: u64 = 2;

/// How many descriptors each part may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// The process's limit.
    pub limit: u64,
    /// The limit that would allow all that the configuration does.
    pub wanted: u64,
    /// Descriptors of clients.
    pub clients: usize,
    /// Handshakes under way at each front.
    pub handshakes: usize,
    /// Producers at each listener.
    pub producers: usize,
}

/// Raises the soft limit to the hard one: it is 1,024 nearly everywhere, for the sake of programs that use `select`. Returns
/// the limit.
pub fn raise() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// The limit in force.
pub fn limit() -> io::Result<u64> {
    Ok(getrlimit(Resource::RLIMIT_NOFILE)?.0)
}

impl Shares {
    /// Shares a limit out. Producers get an eighth, or what the configuration's clients leave; clients get the rest.
    pub fn of(limit: u64, config: &Config) -> Shares {
        let (server, ingest) = (&config.server, &config.ingest);
        let takes_many = |addr: &IngestAddr| matches!(addr, IngestAddr::Tcp(_) | IngestAddr::Unix(_));
        let doors = ingest.listen.iter().filter(|listener| takes_many(&listener.addr)).count().max(1) as u64;
        let listeners = (server.listen.len() + config.admin.listen.len() + ingest.listen.len()) as u64;
        let own = OWN + SHARD * server.shards as u64 + THREAD * ingest.threads as u64 + LISTENER * listeners;
        let asked = doors * ingest.connections as u64;
        let (clients, most) = (config.limits.clients as u64, server.handshakes as u64);
        let wanted = own + FILES.1 + HANDSHAKE * most + asked + clients;
        let free = limit.saturating_sub(own);
        let (files, handshakes) = match limit {
            enough if enough >= wanted => (FILES.1, most),
            _ => ((free / 8).clamp(FILES.0, FILES.1), (free / 32).max(FEWEST).min(most)),
        };
        let left = free.saturating_sub(files + HANDSHAKE * handshakes);
        let producers = asked.min((free / 8).max(FEWEST).max(left.saturating_sub(clients)));
        let number = |count: u64| usize::try_from(count.max(1)).unwrap_or(usize::MAX);
        Shares {
            limit,
            wanted,
            clients: number(left.saturating_sub(producers)),
            handshakes: number(handshakes),
            producers: number(producers / doors),
        }
    }

    /// Lowers a configuration's limits to the shares. Returns what was lowered, for people; None where nothing was.
    pub fn lower(&self, config: &mut Config) -> Option<String> {
        let mut lowered = Vec::new();
        let mut lower = |key: &str, value: &mut usize, most: usize| {
            if *value > most {
                lowered.push(format!("{key} {value}→{most}"));
                *value = most;
            }
        };
        lower("limits.clients", &mut config.limits.clients, self.clients);
        lower("ingest.connections", &mut config.ingest.connections, self.producers);
        lower("server.handshakes", &mut config.server.handshakes, self.handshakes);
        (!lowered.is_empty()).then(|| lowered.join(" · "))
    }

    /// How to allow all that the configuration does.
    pub fn advice(&self) -> String {
        let wanted = self.wanted;
        format!("LimitNOFILE={wanted} in the unit, `ulimit -n {wanted}` in a shell, or lower limits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(clients: usize, connections: usize) -> Config {
        let mut config = Config::default();
        (config.server.shards, config.ingest.threads) = (2, 1);
        (config.limits.clients, config.ingest.connections) = (clients, connections);
        config
    }

    #[test]
    fn shares_never_add_up_to_more_than_the_limit() {
        for limit in (64..4096).chain([10_000, 20_000, 65_536, 131_072, 1 << 20]) {
            for (clients, connections) in [(1, 1), (100, 4096), (100_000, 64), (100_000, 4096)] {
                let config = config(clients, connections);
                let shares = Shares::of(limit, &config);
                let doors = config.ingest.listen.len();
                let own = OWN + 2 * SHARD + THREAD + LISTENER * (2 + doors) as u64;
                let taken = shares.clients + shares.handshakes * 3 + shares.producers * doors;
                assert!(own + FILES.0 + taken as u64 <= limit, "{limit} {clients} {connections} {shares:?}");
                assert!(shares.handshakes >= 2 && shares.producers >= 1 && shares.clients >= 1, "{shares:?}");
            }
        }
    }

    #[test]
    fn limits_are_lowered_only_where_descriptors_are_too_few() {
        let lowered = |limit, clients, connections| {
            let mut config = config(clients, connections);
            let lowered = Shares::of(limit, &config).lower(&mut config);
            (lowered.unwrap_or_default(), config.limits.clients)
        };
        assert_eq!(lowered(131_072, 100_000, 4096), (String::new(), 100_000));
        assert_eq!(lowered(u64::MAX, 100_000, 4096), (String::new(), 100_000));
        let (said, clients) = lowered(1024, 100_000, 4096);
        assert!(clients > 600 && said.starts_with(&format!("limits.clients 100000→{clients} · ")), "{said}");
        assert!(
            said.contains("ingest.connections 4096→") && said.contains("server.handshakes 256→"),
            "{said}"
        );
        let (said, clients) = lowered(1024, 100, 200);
        assert!(
            clients == 100 && !said.contains("limits.clients") && !said.contains("connections"),
            "{said}"
        );
        for (clients, connections) in [(10, 10), (1000, 4096), (100_000, 10), (100_000, 4096)] {
            let config = config(clients, connections);
            let wanted = Shares::of(64, &config).wanted;
            let lowered = |limit| Shares::of(limit, &config).lower(&mut config.clone());
            assert_eq!(lowered(wanted), None, "what is wanted is enough");
            assert!(lowered(wanted - 40).is_some(), "and no more than that");
        }
    }
}
