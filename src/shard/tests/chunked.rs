//! A reader of chunked answers (RFC 9112, section 7.1) for simulations, which refuses whatever is not exactly as it must be.

/// Progress in reading an answer.
#[derive(Debug, Default)]
pub(super) struct Dechunker {
    state: State,
}

#[derive(Debug)]
enum State {
    /// Of a chunk's first line, what has arrived.
    Head(Vec<u8>),
    /// So many bytes of a chunk are to come.
    Data(usize),
    /// The end of a chunk comes next.
    Tail(&'static [u8]),
    /// The answer has come to its end, but for this.
    Last(&'static [u8]),
}

impl Default for State {
    fn default() -> State {
        State::Head(Vec::new())
    }
}

/// The next part of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Bytes of a chunk.
    Data(&'a [u8]),
    /// A chunk's end.
    End,
}

impl Dechunker {
    /// True if the answer has come to its end.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state, State::Last(b""))
    }

    /// Takes the next piece from the front of what has arrived. None: more is needed.
    pub(super) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<Piece<'a>> {
        loop {
            match &mut self.state {
                State::Head(head) => {
                    let (byte, rest) = bytes.split_first()?;
                    *bytes = rest;
                    head.push(*byte);
                    if *byte == b'\n' {
                        let text = std::str::from_utf8(head).unwrap();
                        let digits = text.strip_suffix("\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
                        let len = usize::from_str_radix(digits, 16)
                            .unwrap_or_else(|_| panic!("no length: {text:?}"));
                        assert_eq!(format!("{len:x}"), digits);
                        self.state = if len > 0 { State::Data(len) } else { State::Last(b"\r\n") };
                    }
                    assert!(!matches!(&self.state, State::Head(head) if head.len() > 18), "{:?}", self.state);
                }
                State::Data(0) => self.state = State::Tail(b"\r\n"),
                State::Data(left) => {
                    let (data, rest) = bytes.split_at((*left).min(bytes.len()));
                    *bytes = rest;
                    *left -= data.len();
                    return (!data.is_empty()).then_some(Piece::Data(data));
                }
                State::Tail(b"") => {
                    self.state = State::default();
                    return Some(Piece::End);
                }
                State::Tail(expected) | State::Last(expected) => {
                    let (byte, rest) = bytes.split_first()?;
                    assert_eq!(Some(byte), expected.first(), "at the end of a chunk, or behind the last");
                    (*bytes, *expected) = (rest, &expected[1..]);
                }
            }
        }
    }
}

#[test]
fn an_answer_is_read_wherever_it_is_cut() {
    let answer = b"3\r\nabc\r\n1a\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\n";
    for cut in 0..=answer.len() {
        let (mut dechunker, mut data, mut ends) = (Dechunker::default(), Vec::new(), 0);
        for mut part in [&answer[..cut], &answer[cut..]] {
            assert!(!dechunker.has_ended() || part.is_empty());
            while let Some(piece) = dechunker.next(&mut part) {
                match piece {
                    Piece::Data(bytes) => data.extend_from_slice(bytes),
                    Piece::End => ends += 1,
                }
            }
            assert!(part.is_empty());
        }
        assert_eq!((data.len(), ends, dechunker.has_ended()), (29, 2, true));
    }
}
