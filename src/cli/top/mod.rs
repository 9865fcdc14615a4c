//! `broadcastd top`: rooms and clients of a running daemon, live.

#[cfg(test)]
mod fixture;
mod model;
mod screen;

use super::find::{Door, Endpoint, find};
use super::settings::Settings;
use super::{api, out};
use crate::error::Exit;
use clap::Args;
use hyper::{Method, StatusCode};
use model::{Key, Model, Sample};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

/// How long the daemon may take to answer, and how long a key may wait for a look at the answers.
const PATIENCE: Duration = Duration::from_secs(5);
const KEYS: Duration = Duration::from_millis(100);

/// Arguments of `top`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Keys:
  q        quit
  Tab      switch between rooms and clients
  s, <     sort by the next column, or by the one before
  r        reverse the order
  /        filter by name
  ↑ ↓      scroll; Page keys, Home and End as well
  ?        show or hide this list

top shows the first 10,000 rooms by name, and the 1,000 clients that connected first. NO_COLOR switches colours off.

Examples:
  broadcastd top
  broadcastd top --every 5s --admin unix:/run/broadcastd/admin.sock

Exit codes:
  0   ended by a key
  1   the terminal failed
  64  the command line is wrong, or there is no terminal
  69  the daemon cannot be reached
  78  the configuration is wrong")]
pub struct TopArgs {
    /// The configuration file, as with --config
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Time between two looks
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = super::tail::positive)]
    pub every: Duration,
    /// The configuration that the command looks at.
    #[command(flatten)]
    pub settings: Settings,
    /// The daemon's address for operators: HOST:PORT, unix:PATH or http://HOST:PORT
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<String>,
}

/// Shows the table until a key ends it.
pub fn run(args: &TopArgs) -> Exit {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        out::error("top needs a terminal", Some("broadcastd status --json is for programs"));
        return Exit::Usage;
    }
    let endpoint = match find(Door::Operators, args.admin.as_deref(), &args.settings) {
        Ok(endpoint) => endpoint,
        Err(exit) => return exit,
    };
    let begin = Instant::now();
    let mut model = Model::new();
    model.has_colour = out::has_colour(&io::stdout());
    match look(&endpoint, begin) {
        Ok(sample) => model.take(sample),
        Err(error) => return api::unreachable(&endpoint, &error, "--admin"),
    }
    let (samples, every) = (watch(endpoint, begin, args.every), args.every);
    let shown = Screen::enter().and_then(|mut screen| screen.show(&mut model, &samples, every));
    match shown {
        Ok(()) => Exit::Ok,
        Err(error) => {
            out::error(format_args!("the terminal fails: {error}"), None);
            Exit::Runtime
        }
    }
}

/// Looks at the daemon again and again, on a thread of its own: keys must not wait for it.
fn watch(endpoint: Endpoint, begin: Instant, every: Duration) -> Receiver<io::Result<Sample>> {
    let (samples, received) = sync_channel(1);
    // It ends with the program.
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(every);
            if samples.send(look(&endpoint, begin)).is_err() {
                return;
            }
        }
    });
    received
}

fn look(endpoint: &Endpoint, begin: Instant) -> io::Result<Sample> {
    let ask = |target: &str| match api::ask_blocking(endpoint, Method::GET, target, PATIENCE)? {
        (StatusCode::OK, answer) => Ok(answer),
        (status, _) => Err(io::Error::other(format!("{target} is answered with {status}"))),
    };
    let status = ask("/api/v1/websocket/status")?;
    let rooms = list(ask("/api/v1/rooms?limit=10000")?, "rooms")?;
    let at = begin.elapsed();
    let clients = list(ask("/api/v1/clients?limit=1000")?, "clients")?;
    Ok(Sample { status, rooms, clients, at })
}

fn list<T: DeserializeOwned>(mut answer: Value, name: &str) -> io::Result<Vec<T>> {
    serde_json::from_value(answer[name].take()).map_err(io::Error::other)
}

/// The terminal while it is ours; as it was when this is dropped.
struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    fn enter() -> io::Result<Screen> {
        Ok(Screen { terminal: ratatui::try_init()? })
    }

    /// Shows what there is until a key ends it.
    fn show(
        &mut self,
        model: &mut Model,
        samples: &Receiver<io::Result<Sample>>,
        every: Duration,
    ) -> io::Result<()> {
        loop {
            self.terminal.draw(|frame| screen::draw(model, frame))?;
            if !self.wait(model, samples, every)? {
                return Ok(());
            }
        }
    }

    /// Waits until there is something else to show. False when a key has ended it.
    fn wait(
        &self,
        model: &mut Model,
        samples: &Receiver<io::Result<Sample>>,
        every: Duration,
    ) -> io::Result<bool> {
        loop {
            let mut has_changed = false;
            if event::poll(KEYS.min(every))? {
                match event::read()? {
                    Event::Key(event) if event.kind != KeyEventKind::Release => match self.key(event) {
                        Some(key) if !model.press(key) => return Ok(false),
                        Some(_) => has_changed = true,
                        None if is_interrupt(event) => return Ok(false),
                        None => {}
                    },
                    Event::Resize(..) => has_changed = true,
                    _ => {}
                }
            }
            match samples.try_recv() {
                Ok(Ok(sample)) => model.take(sample),
                Ok(Err(error)) => model.trouble = Some(error.to_string()),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) if !has_changed => continue,
                Err(_) => {}
            }
            return Ok(true);
        }
    }

    fn key(&self, event: KeyEvent) -> Option<Key> {
        let page = self.terminal.size().map_or(20, |size| size.height.saturating_sub(4) as isize);
        Some(match event.code {
            KeyCode::Char(_) if event.modifiers.contains(KeyModifiers::CONTROL) => return None,
            KeyCode::Char(letter) => Key::Char(letter),
            KeyCode::Enter => Key::Enter,
            KeyCode::Esc => Key::Escape,
            KeyCode::Backspace => Key::Backspace,
            KeyCode::Tab | KeyCode::BackTab => Key::Tab,
            KeyCode::Up => Key::Move(-1),
            KeyCode::Down => Key::Move(1),
            KeyCode::PageUp => Key::Move(-page),
            KeyCode::PageDown => Key::Move(page),
            KeyCode::Home => Key::Move(isize::MIN),
            KeyCode::End => Key::Move(isize::MAX),
            _ => return None,
        })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = self.terminal.show_cursor();
        let _ = ratatui::try_restore();
    }
}

fn is_interrupt(event: KeyEvent) -> bool {
    event.modifiers.contains(KeyModifiers::CONTROL) && matches!(event.code, KeyCode::Char('c' | 'd'))
}
