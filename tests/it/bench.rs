//! `broadcastd bench` against the daemon, briefly.

use crate::harness::{ROOMS, Server};
use crate::tool::{Ended, Tool};
use serde_json::Value;

fn bench(server: &Server, arguments: &[&str]) -> Ended {
    let to = ["bench", "--url", &server.clients[0], "--to", &server.ingest[0], "--duration", "300ms"];
    Tool::run(server, &[&to, arguments].concat())
}

#[test]
fn everything_comes_once_and_in_order() {
    let server = Server::start(ROOMS);
    let ended =
        bench(&server, &["--clients", "6", "--rooms", "3", "--producers", "2", "--rate", "2000/s", "--json"]);
    assert_eq!((ended.code, &*ended.err), (0, ""), "{}", ended.out);
    let json: Value = serde_json::from_str(&ended.out).unwrap();
    let published = json["published"].as_u64().unwrap();
    // Two clients are in each room.
    assert_eq!(json["delivered"], published * 2, "{json}");
    assert!((2..=600).contains(&published), "{json}");
    for none in ["lost", "doubled", "reordered", "gaps", "disconnected", "rejected"] {
        assert_eq!(json[none], 0, "{json}");
    }
    let latency = |name: &str| json["latency_us"][name].as_u64().unwrap();
    assert!(
        latency("min") <= latency("p50")
            && latency("p50") <= latency("p99.9")
            && latency("p99.9") <= latency("max")
    );
    assert_eq!(
        server.metric("broadcastd_ingest_events_total"),
        (published + 1) as f64,
        "and the one that tries"
    );
    // As fast as the daemon reads, a client of a slow machine may miss some; then that is told, with what it had.
    let ended = bench(&server, &["--rate", "max", "--room", "all", "--clients", "2", "--json"]);
    let json: Value = serde_json::from_str(&ended.out).unwrap();
    let number = |name: &str| json[name].as_u64().unwrap();
    assert_eq!(number("delivered") + number("lost"), 2 * number("published"), "{json}");
    assert_eq!(ended.code, i32::from(number("lost") > 0 || number("gaps") > 0), "{json}");
}

/// A configuration with rooms of many kinds, beside the daemon's own.
const KINDS: &str = "[rooms.agent_states]\ntypes = [\"agent_state\"]\n[rooms.critical]\ntypes = [\"system_alert\"]\nwhere = 'severity == \"critical\"'\n\
                     [rooms.\"run:{runId}\"]\ntypes = [\"RUN_*\"]\n[rooms.steps]\ntypes = [\"step\"]\n[types.step]\nrequired = { n = \"number\", of = [\"a\", \"b\"] }\n\
                     [rooms.all]\ntypes = [\"*\"]\n";

#[test]
fn what_a_room_needs_is_explained_before_anything_is_published() {
    let server = Server::start(KINDS);
    let file = server.dir().join("kinds.toml");
    std::fs::write(&file, KINDS).unwrap();
    let config = file.to_str().unwrap();
    for (arguments, code, says) in [
        (&["--room", "agent_states"][..], 65, "takes agent_state, and the events have the type bench"),
        (&["--room", "agent_states", "--type", "agent_state"], 65, "`agentId`"),
        (
            &["--room", "critical", "--type", "system_alert", "severity=info", "component=c", "message=m"],
            65,
            "only takes events where severity == \"critical\"",
        ),
        (
            &["--room", "run:7", "--type", "RUN_X"],
            65,
            "comes from run:{runId}, whose fields the events do not have",
        ),
        (&["--room", "steps", "--type", "step"], 65, "n:=1 of=a"),
        (&["--room", "nothing"], 66, "--room names one of agent_states, critical, run:{runId}, steps, all"),
    ] {
        let ended = bench(&server, &[&["--config", config][..], arguments].concat());
        assert_eq!((ended.code, &*ended.out), (code, ""), "{arguments:?}: {}", ended.err);
        assert!(ended.err.contains(says) && ended.err.contains("hint: "), "{arguments:?}: {}", ended.err);
    }
    assert_eq!(server.metric("broadcastd_ingest_events_total"), 0.0);
    // The command of a hint works as it stands.
    for room in ["agent_states", "run:{runId}", "steps"] {
        let ended = bench(&server, &["--config", config, "--room", room]);
        let (_, command) = ended.err.split_once("for example: broadcastd bench ").unwrap();
        let addresses = format!("--url {} --to {} -c {config}", server.clients[0], server.ingest[0]);
        let command = format!("{} bench {addresses} --duration 100ms {command}", crate::harness::binary());
        let output = std::process::Command::new("sh").args(["-c", &command]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
    // Without a configuration, the figures say so.
    let ended = bench(&server, &["--room", "agent_states", "--clients", "1"]);
    assert_eq!(ended.code, 1);
    assert!(
        ended.err.contains("no event reached agent_states") && ended.err.contains("--type"),
        "{}",
        ended.err
    );
}

#[test]
fn what_is_lost_is_counted() {
    // Events go to another room than the clients'.
    let server = Server::start("[rooms.here]\ntypes = [\"t\"]\n[rooms.there]\ntypes = [\"bench\"]\n");
    let ended = bench(&server, &["--room", "there", "--clients", "1", "--rate", "100/s", "--json"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    let ended = bench(&server, &["--room", "there", "--rooms", "2"]);
    assert_eq!(ended.code, 64);
    for (arguments, code, says) in [
        (&["--room", "nowhere"][..], 66, "nowhere: no room has this name"),
        (&["--type", "other", "--room", "here"], 65, "unrouted"),
        (&["--clients", "0"], 64, "0 is not in"),
        (&["--clients", "100000"], 64, "100000 is not in"),
        (&["--rate", "2000000/s"], 64, "at most"),
        (&["--room", "here", "pad=1"], 64, "own field"),
        (&["--to", "unix:/nonexistent/x", "--config", "x"], 64, "cannot be used multiple times"),
    ] {
        let ended = bench(&server, arguments);
        assert_eq!((ended.code, &*ended.out), (code, ""), "{arguments:?}: {}", ended.err);
        assert!(ended.err.contains(says), "{arguments:?}: {}", ended.err);
    }
    // It never takes a daemon that was not named.
    let ended = Tool::run(&server, &["bench"]);
    assert_eq!(ended.code, 64);
    assert!(ended.err.contains("--config"), "{}", ended.err);
}
