//! Records with a checksum over all of them, written and read in a stream.

use super::{FORMAT, FORMAT_OF_WALL_TIMES, MAGIC, NotKept};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::time::Instant;

/// Length of a record's body: above every event that an ingest listener takes, with what is beside it.
const LONGEST: u32 = 1 << 30;
/// Bytes written and read at once.
const BUFFER_BYTES: usize = 64 << 10;
/// The kind and the length before a body.
const HEAD_BYTES: usize = 5;
const CHECKSUM_BYTES: u64 = 4;

/// Writes records.
pub(super) struct RecordWriter<W: Write> {
    out: BufWriter<Summed<W>>,
}

/// Reads records.
pub(super) struct RecordReader<R: Read> {
    input: BufReader<Summed<io::Take<R>>>,
    format: u32,
}

/// What goes through it is added to a checksum.
struct Summed<T> {
    inner: T,
    sum: crc32fast::Hasher,
    /// When writing is given up.
    until: Option<Instant>,
}

impl<W: Write> RecordWriter<W> {
    /// Begins with what every file begins with.
    pub(super) fn new(inner: W, until: Instant) -> io::Result<RecordWriter<W>> {
        let summed = Summed { inner, sum: crc32fast::Hasher::new(), until: Some(until) };
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, summed);
        out.write_all(MAGIC)?;
        out.write_all(&FORMAT.to_le_bytes())?;
        Ok(RecordWriter { out })
    }

    /// Writes a record whose body is made of pieces.
    pub(super) fn record(&mut self, kind: u8, pieces: &[&[u8]]) -> io::Result<()> {
        let len: usize = pieces.iter().map(|piece| piece.len()).sum();
        let len = u32::try_from(len).ok().filter(|len| *len <= LONGEST);
        let len = len.ok_or_else(|| io::Error::other("an event is too long to be kept"))?;
        self.out.write_all(&[kind])?;
        self.out.write_all(&len.to_le_bytes())?;
        pieces.iter().try_for_each(|piece| self.out.write_all(piece))
    }

    /// Writes the checksum.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.out.flush()?;
        let Summed { inner, sum, .. } = self.out.get_mut();
        let sum = sum.clone().finalize();
        inner.write_all(&sum.to_le_bytes())?;
        inner.flush()
    }
}

impl<R: Read> RecordReader<R> {
    /// Checks what every file begins with. `len` is how many bytes there are.
    pub(super) fn new(inner: R, len: u64) -> Result<RecordReader<R>, NotKept> {
        let inner = inner.take(len.saturating_sub(CHECKSUM_BYTES));
        let summed = Summed { inner, sum: crc32fast::Hasher::new(), until: None };
        let mut reader = RecordReader { input: BufReader::with_capacity(BUFFER_BYTES, summed), format: 0 };
        let mut magic = [0; MAGIC.len()];
        if reader.exactly(&mut magic).is_err() || magic != MAGIC {
            return Err(NotKept::Foreign);
        }
        let mut format = [0; 4];
        reader.exactly(&mut format)?;
        reader.format = u32::from_le_bytes(format);
        match reader.format {
            FORMAT | FORMAT_OF_WALL_TIMES => Ok(reader),
            other => Err(NotKept::Format(other)),
        }
    }

    /// How it is written.
    pub(super) fn format(&self) -> u32 {
        self.format
    }

    /// Reads the next record's body into `body`. Returns its kind.
    pub(super) fn record(&mut self, body: &mut Vec<u8>) -> Result<u8, NotKept> {
        let mut head = [0; HEAD_BYTES];
        self.exactly(&mut head)?;
        let [kind, len @ ..] = head;
        let len = u32::from_le_bytes(len);
        if len > LONGEST {
            return Err(NotKept::Damaged("something in it is too long"));
        }
        body.clear();
        // Grows with what is there, whatever the length says.
        let read = (&mut self.input).take(len.into()).read_to_end(body)?;
        if read == len as usize { Ok(kind) } else { Err(NotKept::Damaged("it ends too early")) }
    }

    /// Reads the rest and compares the checksum. Returns how much there was of it: none after the last record.
    pub(super) fn finish(mut self) -> Result<u64, NotKept> {
        let rest = io::copy(&mut self.input, &mut io::sink())?;
        let Summed { inner, sum, .. } = self.input.into_inner();
        let mut written = [0; CHECKSUM_BYTES as usize];
        let mut inner = inner.into_inner();
        if inner.read_exact(&mut written).is_err() || u32::from_le_bytes(written) != sum.finalize() {
            return Err(NotKept::Damaged("its checksum is another one"));
        }
        Ok(rest)
    }

    fn exactly(&mut self, bytes: &mut [u8]) -> Result<(), NotKept> {
        self.input.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => NotKept::Damaged("it ends too early"),
            _ => NotKept::Io(error),
        })
    }
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.until.is_some_and(|until| Instant::now() > until) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "server.drain_timeout has passed"));
        }
        let written = self.inner.write(bytes)?;
        self.sum.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.sum.update(&bytes[..read]);
        Ok(read)
    }
}

/// A record's body, taken apart from its beginning.
pub(super) struct Body<'a>(&'a [u8]);

const SHORT: NotKept = NotKept::Damaged("a record is too short");

impl<'a> Body<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Body<'a> {
        Body(bytes)
    }

    pub(super) fn byte(&mut self) -> Result<u8, NotKept> {
        let (first, rest) = self.0.split_first().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(super) fn number(&mut self) -> Result<u64, NotKept> {
        let (first, rest) = self.0.split_first_chunk().ok_or(SHORT)?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*first))
    }

    /// All that is left, as text.
    pub(super) fn text(&mut self) -> Result<String, NotKept> {
        let text = std::str::from_utf8(std::mem::take(&mut self.0));
        text.map(str::to_owned).map_err(|_| NotKept::Damaged("a name is no text"))
    }

    /// So many bytes, as text.
    pub(super) fn text_of(&mut self, len: u64) -> Result<String, NotKept> {
        let (text, rest) =
            usize::try_from(len).ok().and_then(|len| self.0.split_at_checked(len)).ok_or(SHORT)?;
        self.0 = rest;
        Body(text).text()
    }

    /// The length of the second part, and both parts.
    pub(super) fn two(&mut self) -> Result<(&'a [u8], &'a [u8]), NotKept> {
        let (len, rest) = self.0.split_first_chunk().ok_or(SHORT)?;
        self.0 = &[];
        let second = u32::from_le_bytes(*len) as usize;
        rest.split_at_checked(rest.len().wrapping_sub(second)).ok_or(SHORT)
    }
}
