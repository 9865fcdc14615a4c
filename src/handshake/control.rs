//! Changing what a front listens on while clients are connected.

use crate::config::ListenAddr;
use crate::listen::{BindError, BoundAddr, Handle, Listener};
use crate::shutdown::{Shutdown, Trigger, pair};
use std::io;
use tokio::sync::mpsc;

/// Listeners on their way to a front's thread.
const NEW_LISTENERS: usize = 64;

/// A listener that is new to a front.
#[derive(Debug)]
pub struct NewListener {
    /// The listener.
    pub listener: Listener,
    /// Begins when the configuration no longer has it: handshakes under way go on, and nothing new comes.
    pub removed: Shutdown,
}

/// The way to change a front's listeners. Not shared: whoever reloads has it.
pub struct Control {
    listening: Vec<Listening>,
    /// Of removed listeners; heard until they are closed.
    gone: Vec<Trigger>,
    new: mpsc::Sender<NewListener>,
}

struct Listening {
    /// As the configuration has it, with a port of 0 maybe.
    config: ListenAddr,
    addr: BoundAddr,
    handle: Handle,
    removed: Trigger,
}

/// A change of listeners that is ready to be made, in the new configuration's order; None for one that listens already.
#[derive(Debug)]
pub struct Planned(Vec<(ListenAddr, Option<(Listener, Handle)>)>);

impl Control {
    /// The way to change these listeners, and where they go.
    pub fn start(
        configs: &[ListenAddr],
        listeners: Vec<Listener>,
    ) -> io::Result<(Control, mpsc::Receiver<NewListener>)> {
        let (new, listens) = mpsc::channel(NEW_LISTENERS.max(listeners.len()));
        let mut control = Control { listening: Vec::new(), gone: Vec::new(), new };
        for (config, listener) in configs.iter().zip(listeners) {
            let handle = listener.handle()?;
            control.begin(config.clone(), listener, handle);
        }
        Ok((control, listens))
    }

    /// Where the front listens, in the configuration's order.
    pub fn addrs(&self) -> Vec<BoundAddr> {
        self.listening.iter().map(|listening| listening.addr.clone()).collect()
    }

    /// Binds what is new, or says everything that cannot be bound; nothing is changed yet. `section` is the
    /// configuration's, for messages.
    pub fn plan(&self, section: &str, configs: &[ListenAddr]) -> Result<Planned, Vec<BindError>> {
        let going: Vec<&Handle> = self
            .listening
            .iter()
            .filter(|listening| !configs.contains(&listening.config))
            .map(|listening| &listening.handle)
            .collect();
        let (mut planned, mut errors) = (Vec::new(), Vec::new());
        let mut kept: Vec<&ListenAddr> = Vec::new();
        for (index, config) in configs.iter().enumerate() {
            let has =
                |list: &mut dyn Iterator<Item = &ListenAddr>| list.filter(|addr| *addr == config).count();
            let had = has(&mut self.listening.iter().map(|listening| &listening.config));
            if had > has(&mut kept.iter().copied()) {
                kept.push(config);
                planned.push((config.clone(), None));
                continue;
            }
            let key = format!("{section}.listen[{index}]");
            match Listener::bind_beside(&key, config, &going).and_then(|listener| {
                let handle = listener.handle().map_err(|error| BindError::other(&key, &error))?;
                Ok((listener, handle))
            }) {
                Ok(new) => planned.push((config.clone(), Some(new))),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(Planned(planned)) } else { Err(errors) }
    }

    /// Makes a planned change.
    pub fn apply(&mut self, planned: Planned) {
        let mut old = std::mem::take(&mut self.listening);
        for (config, new) in planned.0 {
            match new {
                Some((listener, handle)) => self.begin(config, listener, handle),
                None => {
                    let place = old.iter().position(|listening| listening.config == config);
                    self.listening.push(old.remove(place.expect("a plan keeps what there is")));
                }
            }
        }
        self.gone.retain(Trigger::is_heard);
        for gone in old {
            gone.removed.fire();
            self.gone.push(gone.removed);
        }
    }

    /// True while a removed listener is open.
    pub fn is_closing(&self) -> bool {
        self.gone.iter().any(Trigger::is_heard)
    }

    fn begin(&mut self, config: ListenAddr, listener: Listener, handle: Handle) {
        let (removed, removal) = pair();
        self.listening.push(Listening { config, addr: listener.addr(), handle, removed });
        // Full only if the front is stuck, closed only if it has ended: the daemon is stopping.
        if self.new.try_send(NewListener { listener, removed: removal }).is_err() {
            tracing::error!("the front does not take a listener over");
        }
    }
}
