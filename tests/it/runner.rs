//! What `tests/run` makes of its suites.

use crate::harness::{DEADLINE, repository};
use std::process::{Command, Output};
use std::time::Instant;

fn bash(script: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let script = format!("set -u; . tests/suites.sh; logs={}; {script}", folder.path().display());
    Command::new("bash").args(["-c", &script]).current_dir(repository(".")).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn last_lines_name_what_was_skipped_and_what_failed() {
    let Output { status, stdout, .. } = bash(
        r"
        suite rust printf 'test a::b ... ok\ntest a::c ... FAILED\ntest result: FAILED. 1 passed; 1 failed; 0 ignored\n'
        suite node printf 'ok 1 - whole\n    not ok 2 - half: 1 of 2\n    not ok 3 - late\n# pass 7\n# fail 1\n# cancelled 1\n'
        suite absent echo 'official suites: skipped: the download failed'
        suite broken false
        suite silent true
        finish_all; report",
    );
    let stdout = text(&stdout);
    let (_, last) = stdout.split_once("\n\n").unwrap();
    let mut lines: Vec<&str> = last.lines().skip(5).collect();
    assert_eq!(lines.pop(), Some("9 passed, 4 failed, 1 skipped"));
    lines.sort_unstable();
    assert!(lines[0].starts_with("failed: a::c (rust)"), "{stdout}");
    assert!(
        lines[1].starts_with("failed: exit status 1, see ") && lines[1].ends_with("/broken.log (broken)"),
        "{stdout}"
    );
    assert_eq!(
        lines[2..],
        [
            "failed: half: 1 of 2 (node)",
            "failed: late (node)",
            "skipped: official suites: the download failed (absent)"
        ]
    );
    assert_eq!(status.code(), Some(1));
}

#[test]
fn suites_run_side_by_side_and_their_output_does_not_mix() {
    // Each ends once the other has begun.
    let meet = "mkfifo $logs/there; suite one sh -c \"echo one; echo >$logs/there; echo one\"; \
        suite two sh -c \"echo two; read line <$logs/there; echo two\"; finish_all; report";
    let Output { status, stdout, .. } = bash(&format!("at_once=2; {meet}"));
    let stdout = text(&stdout);
    assert!(
        status.success() && stdout.contains("\none\none\n") && stdout.contains("\ntwo\ntwo\n"),
        "{stdout}"
    );
    assert!(stdout.ends_with("2 passed, 0 failed, 0 skipped\n"), "{stdout}");
}

#[test]
fn suite_that_hangs_is_a_failure() {
    let Output { status, stdout, .. } = bash("limit=0.1; suite stuck sleep 1000; finish_all; report");
    let stdout = text(&stdout);
    assert!(
        stdout.contains("failed: no end within 0.1, see ")
            && stdout.ends_with("0 passed, 1 failed, 0 skipped\n"),
        "{stdout}"
    );
    assert_eq!(status.code(), Some(1));
}

#[test]
fn interrupted_run_ends_its_suites() {
    let script = "mkfifo $logs/there; suite stuck sh -c \"echo \\$\\$ >$logs/there; exec sleep 1000\"; \
        read process <$logs/there; echo $process; kill $$; finish_all; echo never";
    let Output { status, stdout, .. } = bash(script);
    let stdout = text(&stdout);
    assert_eq!(status.code(), Some(130), "{stdout}");
    let process = stdout.lines().last().unwrap();
    let ended = || !std::path::Path::new(&format!("/proc/{process}")).exists();
    let until = Instant::now() + DEADLINE;
    while !ended() {
        assert!(Instant::now() < until, "{process} still runs");
        std::thread::yield_now();
    }
}

#[test]
fn help_names_the_long_campaigns_and_other_words_are_refused() {
    let run = |argument| Command::new(repository("tests/run")).arg(argument).output().unwrap();
    let help = run("--help");
    assert!(help.status.success() && text(&help.stdout).contains("--long"));
    let refused = run("--fast");
    assert_eq!((refused.status.code(), text(&refused.stderr)), (Some(64), text(&help.stdout)));
}
