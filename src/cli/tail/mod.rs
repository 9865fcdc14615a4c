//! `broadcastd tail`: rooms' events on standard output, over any number of connections.

mod args;
mod ending;
mod session;

pub(in crate::cli) use args::positive;
pub use args::{Since, TailArgs};

use super::api;
use super::find::{Door, Endpoint, find};
use super::out::{self, Notices, Out};
use super::retry::Retry;
use super::socket::{End, Refusal, Socket};
use crate::error::Exit;
use ending::Ending;
use session::{Refused, Seen, Session};

/// Prints events until there is nothing more to wait for.
pub fn run(args: &TailArgs) -> Exit {
    let endpoint = match find(Door::Clients, args.url.as_deref(), &args.settings) {
        Ok(endpoint) => endpoint,
        Err(exit) => return exit,
    };
    api::block_on(async {
        let mut tail = Tail {
            session: Session::new(args),
            ending: Ending::new(args),
            out: Out::new(args.raw),
            notices: Notices::new(args.quiet),
            frames: args.frames,
            no_follow: args.no_follow,
            was_subscribed: false,
        };
        let timeout = async {
            match args.timeout {
                Some(timeout) => tokio::time::sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            exit = tail.follow(&endpoint) => exit,
            () = timeout => tail.timed_out(),
            () = out::closed() => Exit::Ok,
        }
    })
}

/// What goes on.
struct Tail {
    session: Session,
    ending: Ending,
    out: Out,
    notices: Notices,
    frames: bool,
    no_follow: bool,
    /// Whether this connection, or one before it, has subscribed.
    was_subscribed: bool,
}

/// Why a connection is left.
enum Left {
    /// The tool is done.
    Done(Exit),
    /// It is worth trying again, after what the daemon said, in milliseconds.
    Lost(String, Option<u64>),
}

impl Tail {
    /// Connects, listens, and connects anew, until it is done.
    async fn follow(&mut self, endpoint: &Endpoint) -> Exit {
        let mut retry = Retry::default();
        loop {
            let (why, after) = match Socket::connect(endpoint).await {
                Ok(mut socket) => match self.listen(&mut socket, &mut retry).await {
                    Left::Done(exit) => {
                        socket.close().await;
                        return exit;
                    }
                    Left::Lost(why, after) => (why, after),
                },
                Err(Refusal::Refused { message, is_final }) if is_final || !self.was_subscribed => {
                    out::error(format_args!("{endpoint} lets nobody in: {message}"), None);
                    return Exit::Unreachable;
                }
                Err(Refusal::Unreachable(error)) if !self.was_subscribed => {
                    return api::unreachable(endpoint, &error, "--url");
                }
                Err(Refusal::Unreachable(error)) => (error.to_string(), None),
                Err(Refusal::Refused { message, .. }) => (message, None),
            };
            let wait = retry.wait(after);
            self.notices.say(format_args!("{why}; trying again in {:.1} s", wait.as_secs_f64()));
            tokio::time::sleep(wait).await;
        }
    }

    /// Subscribes, and prints what comes, until the connection ends or there is nothing more to wait for.
    async fn listen(&mut self, socket: &mut Socket, retry: &mut Retry) -> Left {
        if let Err(end) = socket.send(self.session.subscribe()).await {
            return left(end, None);
        }
        let mut goodbye = None;
        loop {
            let message = match socket.ready() {
                Some(message) => message,
                None => {
                    if let Err(error) = self.out.flush() {
                        return Left::Done(out::unwritten(&error));
                    }
                    socket.next().await
                }
            };
            let result = match &message {
                Ok(text) => self.take(text, socket, retry, &mut goodbye),
                Err(end) => Err(left(end.clone(), goodbye.take())),
            };
            if let Err(left) = result {
                return match self.out.flush() {
                    Ok(()) => left,
                    Err(error) => Left::Done(out::unwritten(&error)),
                };
            }
        }
    }

    /// Takes a message. `goodbye` is what the daemon says before it closes.
    fn take(
        &mut self,
        text: &[u8],
        socket: &Socket,
        retry: &mut Retry,
        goodbye: &mut Option<(String, Option<u64>)>,
    ) -> Result<(), Left> {
        let written = if self.frames { self.out.line(text) } else { Ok(()) };
        written.map_err(|error| Left::Done(out::unwritten(&error)))?;
        match self.session.take(text) {
            Seen::Events(events) => {
                for event in events {
                    if !self.frames {
                        let written = self.out.line(event.get().as_bytes());
                        written.map_err(|error| Left::Done(out::unwritten(&error)))?;
                    }
                    if self.ending.is_reached(event.get()) {
                        return Err(Left::Done(Exit::Ok));
                    }
                }
            }
            Seen::Welcome(heartbeat) => socket.expect_heartbeat(heartbeat),
            Seen::Subscribed(refused) => {
                self.refused(&refused)?;
                if self.was_subscribed {
                    self.notices.say(format_args!("connected again"));
                }
                self.was_subscribed = true;
                retry.reset();
            }
            Seen::Note(text) => self.notices.say(format_args!("{text}")),
            Seen::Closing(reason, after) => *goodbye = Some((reason, after)),
            Seen::Error(error) => return Err(self.not_carried_out(&error)),
            Seen::Other => {}
        }
        if self.session.is_over() {
            return Err(Left::Done(Exit::NoRoom));
        }
        if self.no_follow && self.session.has_all() {
            return Err(Left::Done(Exit::Ok));
        }
        Ok(())
    }

    /// Says which rooms were refused. A connection that was there before may come to be good again.
    fn refused(&self, refused: &[Refused]) -> Result<(), Left> {
        let Some(first) = refused.first() else { return Ok(()) };
        for error in refused {
            let what = format!("{}: {}", error.room, error.message);
            if self.was_subscribed {
                self.notices.say(format_args!("{what}"));
            } else {
                out::error(what, error.hint.as_deref());
            }
        }
        match &*first.code {
            _ if self.was_subscribed && refused.iter().all(|error| error.code == "unknown_room") => Ok(()),
            _ if self.was_subscribed => Err(Left::Lost("not every room is there".to_owned(), None)),
            "unknown_room" => Err(Left::Done(Exit::NoRoom)),
            "bad_where" | "bad_field" => Err(Left::Done(Exit::Usage)),
            _ => Err(Left::Done(Exit::Runtime)),
        }
    }

    /// A message of ours was refused as a whole.
    fn not_carried_out(&self, error: &Refused) -> Left {
        if self.was_subscribed {
            return Left::Lost(error.message.clone(), None);
        }
        out::error(&error.message, error.hint.as_deref());
        Left::Done(if error.code == "bad_field" { Exit::Usage } else { Exit::Runtime })
    }

    /// `--timeout` has passed: that is how it should end, unless something else was to come first.
    fn timed_out(&mut self) -> Exit {
        if let Err(error) = self.out.flush() {
            return out::unwritten(&error);
        }
        if !self.no_follow && !self.ending.is_awaited() {
            return Exit::Ok;
        }
        self.notices.say(format_args!("--timeout has passed"));
        Exit::Deadline
    }
}

/// What an end means: the daemon's own words first, then the close code, then what the connection says.
fn left(end: End, goodbye: Option<(String, Option<u64>)>) -> Left {
    match end {
        // What this program sends is not understood: it would not be understood the next time.
        End::Closed { code: code @ (1002 | 1003 | 1007..=1009), reason } => {
            out::error(format_args!("the daemon has closed the connection: {code} {reason}"), None);
            Left::Done(Exit::Runtime)
        }
        End::Closed { code, reason } => {
            let (words, after) = goodbye.unwrap_or((reason, None));
            Left::Lost(format!("the daemon has closed the connection ({code} {words})"), after)
        }
        End::Lost(why) => Left::Lost(format!("the connection is lost ({why})"), None),
    }
}
