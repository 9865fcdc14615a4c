//! The journal's native protocol (systemd.io, "Native Journal Protocol"): a datagram for each entry, a field on each line.
//!
//! `tracing-journald` sends from the thread that logs, and waits there when the journal does not read. Here an entry is a line
//! of the log's queue like any other.

use std::fmt::{Debug, Write as _};
use std::io::{self, Write as _};
use std::os::unix::net::UnixDatagram;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_appender::non_blocking::NonBlocking;
use tracing_subscriber::layer::{Context, Layer};

/// Where the journal listens.
const PATH: &str = "/run/systemd/journal/socket";
/// Bytes of a value, at most: an entry must fit into a datagram.
const LONGEST: usize = 64 * 1024;

/// A socket for entries.
#[derive(Debug)]
pub(super) struct Socket(UnixDatagram);

impl Socket {
    /// Opens it. An error means that no journal listens.
    pub(super) fn open() -> io::Result<Socket> {
        let socket = Socket(UnixDatagram::unbound()?);
        // The journal ignores an empty entry.
        socket.send(&[])?;
        Ok(socket)
    }

    /// Sends an entry; waits while the journal's queue is full. A journal that starts anew is found again by its path.
    pub(super) fn send(&self, entry: &[u8]) -> io::Result<()> {
        self.0.send_to(entry, PATH).map(drop)
    }
}

/// Makes entries of what is logged.
pub(super) fn layer<S: Subscriber>(entries: NonBlocking) -> Box<dyn Layer<S> + Send + Sync> {
    Box::new(Journal(entries))
}

struct Journal(NonBlocking);

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let origin = event.metadata();
        let mut entry = Entry(Vec::with_capacity(512));
        entry.put("PRIORITY", priority(*origin.level()));
        entry.put("SYSLOG_IDENTIFIER", env!("CARGO_PKG_NAME"));
        entry.put("TARGET", origin.target());
        entry.put("CODE_FILE", origin.file().unwrap_or_default());
        entry.put("CODE_LINE", &origin.line().map_or_else(String::new, |line| line.to_string()));
        event.record(&mut entry);
        // A queue that is full drops the entry, and counts it.
        let _ = self.0.clone().write_all(&entry.0);
    }
}

/// The priority of a level (syslog(3)): what is worth a look by day is a notice.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "5",
        Level::DEBUG => "6",
        Level::TRACE => "7",
    }
}

/// An entry in the making.
struct Entry(Vec<u8>);

impl Entry {
    /// Adds a field, if it has a value.
    fn put(&mut self, name: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        let mut end = value.len().min(LONGEST);
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        let value = &value[..end];
        self.0.extend(name.bytes().map(|byte| if byte == b'.' { b'_' } else { byte.to_ascii_uppercase() }));
        if value.contains('\n') {
            self.0.push(b'\n');
            self.0.extend((value.len() as u64).to_le_bytes());
        } else {
            self.0.push(b'=');
        }
        self.0.extend(value.as_bytes());
        self.0.push(b'\n');
    }
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = write!(text, "{value:?}");
        self.put(field.name(), &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_a_line_and_a_value_of_several_lines_has_its_length() {
        let mut entry = Entry(Vec::new());
        entry.put("message", "é = 1");
        entry.put("http.status", "200");
        entry.put("empty", "");
        entry.put("report", "a\nb");
        assert_eq!(entry.0, b"MESSAGE=\xc3\xa9 = 1\nHTTP_STATUS=200\nREPORT\n\x03\0\0\0\0\0\0\0a\nb\n");
    }

    #[test]
    fn an_entry_fits_into_a_datagram_however_long_its_value_is() {
        let mut entry = Entry(Vec::new());
        entry.put("REPORT", &"é".repeat(LONGEST));
        assert_eq!(entry.0.len(), "REPORT=\n".len() + LONGEST);
        let (socket, _other) = UnixDatagram::pair().unwrap();
        assert_eq!(socket.send(&entry.0).unwrap(), entry.0.len());
    }
}
