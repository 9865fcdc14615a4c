//! A producer's account: what is logged of it, and its unfinished line.

use super::super::lines::Line;
use super::super::producer::{Place, Producer};
use super::super::unfinished::{Allowed, Kept, Unfinished};
use super::*;
use crate::route::{Beside, RejectionCode};
use futures_util::FutureExt;
use std::sync::Mutex;

/// What is logged while something runs on this thread.
fn logged(run: impl FnOnce()) -> Vec<String> {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, run);
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn the_first_refused_lines_of_a_producer_are_logged_and_the_rest_is_summed_up() {
    let metrics = Arc::new(Metrics::new());
    let figures = metrics.listener("test");
    let mut intake = Intake::gathering(Gathered::new(), metrics);
    let lines = logged(|| {
        for (name, refused) in [("a", 8), ("b", 2), ("c", 0)] {
            let mut producer = Producer::new(name.to_owned(), Beside::default(), true);
            let mut reading = intake.begin((0, &*figures), WhenFull::Wait, 0);
            producer.take_line(&mut reading, 1, Line::Whole(b"{\"type\":\"e\"}"), 99);
            for number in 2..2 + refused {
                producer.take_line(&mut reading, number, Line::Whole(b"nonsense"), 99);
            }
            assert_eq!(producer.has_only_seen(RejectionCode::BadJson), refused > 0);
            assert_eq!(producer.has_seen(RejectionCode::BadJson), refused > 0);
            assert!(!producer.has_seen(RejectionCode::TooLong));
            assert_eq!(producer.errors.len() as u64, refused);
            reading.commit();
            producer.log_rest();
            // It begins anew then.
            producer.log_rest();
        }
    });
    let of = |name: &str, what: &str| {
        let producer = format!("producer={name} ");
        lines.iter().filter(|line| line.contains(&producer) && line.contains(what)).count()
    };
    assert_eq!((of("a", "line refused"), of("b", "line refused"), of("c", "")), (5, 2, 0), "{lines:#?}");
    assert_eq!((of("a", "more lines refused"), of("b", "more lines refused")), (1, 0), "{lines:#?}");
    let rest = lines.iter().find(|line| line.contains("more lines refused")).unwrap();
    assert!(rest.contains("not_shown=3 accepted=1 rejected=8"), "{rest}");
    let first = &lines[0];
    assert!(first.contains("line=2 column=2 code=\"bad_json\""), "{first}");
    assert!(first.contains("excerpt=nonsense"), "{first}");
}

#[test]
fn a_producer_that_goes_gives_its_bytes_and_its_turn_back() {
    let list = Gathered::new();
    list.set_backlog(10_000);
    let (_trigger, shared) = shared(&TCP, IngestAddr::Stdin, &list);
    let begun = |bytes| Kept { place: Place { line: 1, before: 0 }, bytes, held: 2 * bytes };
    let mut first = Unfinished::new(shared.clone());
    let mut second = Unfinished::new(shared);
    for unfinished in [&mut first, &mut second] {
        unfinished.note(begun(5000));
        assert_eq!(unfinished.bytes(), 5000);
    }
    assert_eq!(list.totals().backlog_bytes(), 20_000);
    let next = |unfinished: &mut Unfinished| unfinished.may_go_on(WhenFull::Shed).now_or_never();
    assert_eq!(next(&mut first), Some(Allowed::Read(64 * 1024)), "it takes the turn");
    assert_eq!(next(&mut second), Some(Allowed::Shed), "there is one turn");
    // There was nothing to read, so another may have it.
    first.note_nothing();
    assert_eq!(next(&mut second), Some(Allowed::Read(64 * 1024)));
    second.note(begun(6000));
    second.note_nothing();
    assert_eq!(next(&mut first), Some(Allowed::Shed), "who has read with it keeps it to the line's end");
    drop(second);
    assert_eq!(list.totals().backlog_bytes(), 10_000);
    assert_eq!(next(&mut first), Some(Allowed::Read(64 * 1024)));
    first.note(Kept { place: Place { line: 2, before: 0 }, ..begun(5000) });
    assert!(list.totals().take_turn(), "the line has ended");
    drop(first);
    assert_eq!(list.totals().backlog_bytes(), 0);
}

#[test]
fn short_lines_are_read_little_at_a_time_while_there_is_no_room() {
    let list = Gathered::new();
    let (_trigger, shared) = shared(&TCP, IngestAddr::Stdin, &list);
    let mut unfinished = Unfinished::new(shared);
    let mut next = |bytes, limit| {
        list.set_backlog(limit);
        unfinished.note(Kept { place: Place { line: 1, before: 0 }, bytes, held: bytes });
        unfinished.may_go_on(WhenFull::Wait).now_or_never()
    };
    assert_eq!(next(4096, 8194), Some(Allowed::Read(64 * 1024)), "there is room");
    assert_eq!(next(4096, 8191), Some(Allowed::Read(4096)));
    assert_eq!(next(0, 0), None, "the backlog is full");
}
