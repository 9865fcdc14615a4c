//! Standard input as pieces, read on a thread: a read that waits for a producer must not keep a deadline from passing.

use std::io::{self, Read};
use tokio::sync::mpsc;

/// Bytes of a read, and pieces that wait.
const PIECE: usize = 64 << 10;
const WAITING: usize = 4;

/// Reads a stream to its end. An error is told once, and ends it.
pub(in crate::cli) fn read(mut stream: impl Read + Send + 'static) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (pieces, received) = mpsc::channel(WAITING);
    // It ends with the process, if the stream does not end before.
    std::thread::spawn(move || {
        let mut piece = vec![0; PIECE];
        loop {
            let result = match stream.read(&mut piece) {
                Ok(0) => return,
                Ok(len) => Ok(piece[..len].to_vec()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let is_end = result.is_err();
            if pieces.blocking_send(result).is_err() || is_end {
                return;
            }
        }
    });
    received
}
