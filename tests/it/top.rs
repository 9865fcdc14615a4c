//! `broadcastd top` on a pseudo-terminal.

use crate::harness::{ROOMS, Server, binary};
use crate::tool::Tool;
use std::process::Command;

/// Runs it on a terminal of a size, types what each step says once the screen shows what it waits for, and prints what came and how
/// it ended. Python's `pty` is the terminal; what is drawn again is only what has changed, so that the screen is kept.
const TERMINAL: &str = r#"
import codecs, fcntl, os, pty, re, select, struct, sys, termios, time
width, height = int(sys.argv[1]), int(sys.argv[2])
pid, fd = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm"
    os.execv(sys.argv[4], sys.argv[4:])
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
decoder, token = codecs.getincrementaldecoder("utf-8")(), re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|\x1b[^\[]|[^\x1b]", re.S)
cells, row, column, rest = {}, 1, 1, ""
def take(piece):
    global row, column, rest
    rest += decoder.decode(piece)
    while found := token.match(rest):
        rest = rest[found.end():]
        if found[2] == "H": row, column = map(int, (found[1] or "1;1").split(";"))
        elif found[2] == "J": cells.clear()
        elif not found[0].startswith("\x1b"): cells[row, column], column = found[0], column + 1
def shows(text):
    return any(text in "".join(cells.get((y, x), " ") for x in range(1, 200)) for y in range(1, height + 1))
seen, steps, until = b"", [step.split("=>") for step in sys.argv[3].split(";")], time.time() + 120
for wanted, keys in steps:
    while not shows(wanted):
        if time.time() > until: sys.exit(f"{wanted!r} was not shown: {seen!r}")
        if select.select([fd], [], [], 0.1)[0]:
            piece = os.read(fd, 65536)
            take(piece)
            seen += piece
    os.write(fd, keys.encode())
while True:
    try: piece = os.read(fd, 65536)
    except OSError: break
    if not piece: break
    seen += piece
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.stdout.buffer.write(seen)
sys.exit(status)
"#;

fn terminal(width: u32, steps: &str, arguments: &[&str]) -> (i32, String) {
    on_terminal(Command::new("python3"), width, steps, arguments)
}

fn on_terminal(mut command: Command, width: u32, steps: &str, arguments: &[&str]) -> (i32, String) {
    command.env_remove("NO_COLOR");
    command.args(["-c", TERMINAL, &width.to_string(), "12", steps, binary()]).args(arguments);
    let output = command.output().unwrap();
    let seen = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), seen + &said)
}

#[test]
fn rooms_and_clients_are_shown_and_keys_work() {
    let server = Server::start(ROOMS);
    server.publish("42", 1, 5);
    let top = ["top", "--admin", &server.admin[0], "--every", "50ms"];
    for width in [100, 30] {
        // The clients' table, then the rooms that the filter lets pass, then the end.
        let steps = "agent:42=>;/s, own =>\t;CLIENT=>\t;SUBS=>/42\r;filter: 42=>q";
        let (code, seen) = terminal(width, steps, &top);
        assert_eq!(code, 0, "{seen}");
        assert!(seen.contains("healthy"), "{seen}");
        assert_eq!(seen.contains("OWN/S") && seen.contains("TRANSPORT"), width == 100, "{seen}");
        assert_eq!(seen.contains("BUFFERED"), width == 100, "columns that do not fit are left out: {seen}");
        assert!(seen.trim_end().ends_with("\u{1b}[?1049l"), "the terminal is as it was: {seen:?}");
    }
    let (code, seen) = terminal(80, "agent:42=>\u{3}", &top);
    assert_eq!(code, 0, "Ctrl-C: {seen}");
    std::fs::write(server.config(), "[rooms.all\n").unwrap();
    assert_eq!(server.reload("").0, 422);
    let (code, seen) = terminal(200, "refused: /=>;broadcast.toml:1:=>q", &top);
    assert!(code == 0 && seen.contains("degraded"), "{seen}");
}

#[test]
fn colours_and_the_list_of_keys_are_shown() {
    let server = Server::start(ROOMS);
    server.publish("42", 1, 5);
    let top = ["top", "--admin", &server.admin[0], "--every", "50ms"];
    // The table, the keys in its place, the table again.
    let steps = "agent:42=>?;sort by the next column=>?;agent:42=>q";
    let (code, seen) = terminal(80, steps, &top);
    assert_eq!(code, 0, "{seen}");
    assert!(seen.contains("\u{1b}[38;5;"), "there is a colour: {seen:?}");
    let mut python = Command::new("env");
    python.args(["NO_COLOR=1", "python3"]);
    let (code, seen) = on_terminal(python, 80, steps, &top);
    assert_eq!(code, 0, "{seen}");
    assert!(!seen.contains("\u{1b}[38;5;"), "NO_COLOR: {seen:?}");
}

#[test]
fn how_it_ends_is_in_its_exit_code() {
    let server = Server::start(ROOMS);
    let ended = Tool::run(&server, &["top", "--admin", &server.admin[0]]);
    assert_eq!((ended.code, &*ended.out), (64, ""));
    assert!(ended.err.contains("needs a terminal") && ended.err.contains("status --json"), "{}", ended.err);
    let (code, seen) = terminal(80, "reach=>", &["top", "--admin", "unix:/nonexistent/admin.sock"]);
    assert_eq!(code, 69, "{seen}");
}
