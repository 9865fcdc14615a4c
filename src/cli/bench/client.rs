//! A client of a benchmark: subscribes to one room, and counts what comes.

use super::event::{Mark, mark_of};
use super::tally::Tally;
use crate::cli::find::Endpoint;
use crate::cli::socket::{End, Refusal, Socket};
use hdrhistogram::Histogram;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long what was published may be on its way after the last event was written.
const PATIENCE: Duration = Duration::from_secs(10);

/// What all clients of a run share.
pub(super) struct Shared {
    pub run: u64,
    pub begin: Instant,
    /// Latencies in microseconds.
    pub latency: Mutex<Histogram<u64>>,
}

/// What each producer wrote to each room, when that is known.
pub(super) type Published = Arc<Vec<Vec<u64>>>;

/// A client that has subscribed.
pub(super) struct Client {
    socket: Socket,
    /// Its room's place in the plan.
    room: usize,
    shared: Arc<Shared>,
    tallies: Vec<Tally>,
    gaps: u64,
}

/// What a client has had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Had {
    pub received: u64,
    pub lost: u64,
    pub doubled: u64,
    pub reordered: u64,
    pub gaps: u64,
    pub dropped: u64,
}

/// Why a client cannot begin.
pub(super) enum Unready {
    /// No connection.
    Refused(Refusal),
    /// The connection ended.
    Ended(End),
    /// The room was refused: its code, and what is said of it.
    Room(String, String),
}

#[derive(Deserialize)]
struct Message<'m> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'m, str>,
    #[serde(borrow)]
    data: Option<&'m RawValue>,
}

impl Client {
    /// Connects and subscribes.
    pub(super) async fn ready(
        endpoint: &Endpoint,
        name: &str,
        room: usize,
        producers: usize,
        shared: Arc<Shared>,
    ) -> Result<Client, Unready> {
        let mut socket = Socket::connect(endpoint).await.map_err(Unready::Refused)?;
        let subscribe =
            json!({ "type": "subscribe", "rooms": { "room": name, "snapshot": false } }).to_string();
        socket.send(subscribe).await.map_err(Unready::Ended)?;
        loop {
            let message = socket.next().await.map_err(Unready::Ended)?;
            let message: Value = serde_json::from_slice(&message).unwrap_or_default();
            match message["type"].as_str() {
                Some("welcome") => socket.expect_heartbeat(message["heartbeat"].as_u64().unwrap_or_default()),
                Some("subscribed") => match refusal(&message["rooms"][0]["error"]) {
                    Some((code, said)) => return Err(Unready::Room(code, said)),
                    None => break,
                },
                Some("error") => {
                    let (code, said) = refusal(&message).unwrap_or_default();
                    return Err(Unready::Room(code, said));
                }
                _ => {}
            }
        }
        Ok(Client { socket, room, shared, tallies: vec![Tally::default(); producers], gaps: 0 })
    }

    /// Counts, until everything that was published has come, or is not to be waited for any more.
    pub(super) async fn listen(mut self, mut published: watch::Receiver<Option<Published>>) -> Had {
        let known = tokio::select! {
            () = self.read() => return self.had(&end_of(&mut published).await, true),
            known = end_of(&mut published) => known,
        };
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.is_missing(&known) {
            match tokio::time::timeout_at(deadline, self.socket.next()).await {
                Ok(Ok(message)) => self.take(&message),
                Ok(Err(_)) => return self.had(&known, true),
                Err(_) => break,
            }
        }
        self.had(&known, false)
    }

    /// Reads until the connection ends. Cancel-safe: a message is taken as soon as it is there.
    async fn read(&mut self) {
        while let Ok(message) = self.socket.next().await {
            self.take(&message);
        }
    }

    fn take(&mut self, text: &[u8]) {
        let now = self.shared.begin.elapsed().as_nanos() as u64;
        let Ok(message) = serde_json::from_slice::<Message<'_>>(text) else { return };
        match (&*message.kind, message.data) {
            ("event", Some(event)) => self.count(event, now),
            ("batch", Some(events)) => {
                let events: Vec<&RawValue> = serde_json::from_str(events.get()).unwrap_or_default();
                for event in events {
                    self.count(event, now);
                }
            }
            ("gap", _) => self.gaps += 1,
            _ => {}
        }
    }

    fn count(&mut self, event: &RawValue, now: u64) {
        let Some(Mark { run, p, n, at }) = mark_of(event.get()) else { return };
        let Some(tally) = self.tallies.get_mut(p).filter(|_| run == self.shared.run) else { return };
        tally.take(n);
        let mut latency = self.shared.latency.lock().unwrap_or_else(PoisonError::into_inner);
        latency.saturating_record(now.saturating_sub(at) / 1000);
    }

    fn is_missing(&self, published: &Published) -> bool {
        self.tallies.iter().zip(&**published).any(|(tally, rooms)| tally.lost(rooms[self.room]) > 0)
    }

    fn had(&self, published: &Published, is_dropped: bool) -> Had {
        let mut had = Had { gaps: self.gaps, dropped: u64::from(is_dropped), ..Had::default() };
        for (tally, rooms) in self.tallies.iter().zip(&**published) {
            had.received += tally.received;
            had.doubled += tally.doubled;
            had.reordered += tally.reordered;
            had.lost += tally.lost(rooms[self.room]);
        }
        had
    }
}

/// Waits until it is known what was published; nothing, if it never is.
async fn end_of(published: &mut watch::Receiver<Option<Published>>) -> Published {
    match published.wait_for(Option::is_some).await {
        Ok(known) => known.clone().unwrap_or_default(),
        Err(_) => Published::default(),
    }
}

fn refusal(error: &Value) -> Option<(String, String)> {
    let code = error["code"].as_str()?.to_owned();
    let said = [error["message"].as_str(), error["hint"].as_str()];
    Some((code, said.into_iter().flatten().collect::<Vec<_>>().join("; ")))
}
