//! Every problem of a configuration, as a person sees it. The reports are the product: they are kept as snapshots.

use broadcastd::config::{Config, Dirs, Input, Loaded, Problems, Unrouted};
use std::path::PathBuf;
use std::time::Duration;

/// Loads a text as a file named `broadcast.toml`, in an environment of the test's own.
fn load(text: &str, set: &[&str]) -> Result<Loaded, Problems> {
    let environment = |name: &str| match name {
        "EVENTS" => Some("7".to_owned()),
        "WORDS" => Some("many".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
    let dirs =
        Dirs { runtime: PathBuf::from("/run/broadcastd"), state: PathBuf::from("/var/lib/broadcastd") };
    let set = set.iter().map(|text| (*text).to_owned()).collect();
    let input = Input { file: None, defaults: false, set, environment: &environment, dirs };
    // As a file that has nothing is refused, no text stands for no file.
    let file = (!text.is_empty()).then(|| PathBuf::from("broadcast.toml"));
    input.load_text(file, text.to_owned())
}

fn problems(text: &str) -> String {
    load(text, &[]).expect_err("the text has problems").to_string()
}

#[track_caller]
fn config(text: &str) -> Config {
    load(text, &[]).unwrap_or_else(|problems| panic!("{problems}")).config
}

macro_rules! refused {
    ($($name:ident: $text:expr;)*) => {
        $(#[test]
        fn $name() {
            insta::assert_snapshot!(stringify!($name), problems($text));
        })*
    };
}

refused! {
    an_unknown_key: "[server]\nheartbeet = \"10s\"\n";
    a_key_of_another_section: "[server]\nclients = 5\n";
    an_unquoted_room_template: "[rooms.agent:{agentId}]\ntypes = [\"*\"]\n";
    a_mode_with_a_leading_zero: "[ingest]\nlisten = [{ unix = \"x.sock\", mode = 0660 }]\n";
    a_mode_as_a_number: "[ingest]\nlisten = [{ unix = \"x.sock\", mode = 660 }]\n";
    a_duration_in_words: "[server]\ndrain_timeout = \"10 minutes\"\n";
    a_duration_without_a_unit: "[server]\nheartbeat = 25\n";
    a_size_without_a_unit: "[limits]\nhistory_memory = 512\n";
    a_rate_without_a_unit: "[limits.client]\nmessages = { rate = \"20\", burst = 5 }\n";
    room_for_rooms: "[room.x]\ntypes = [\"*\"]\n";
    events_for_types: "[rooms.x]\nevents = [\"agent_state\"]\n";
    a_room_that_takes_nothing: "[rooms.x]\nhistory = { events = 5 }\n";
    two_rooms_for_what_no_other_takes: "[rooms.a]\ntypes = \"unrouted\"\n[rooms.b]\ntypes = \"unrouted\"\n";
    a_template_for_what_no_room_takes: "[rooms.\"agent:{agentId}\"]\ntypes = \"unrouted\"\n";
    a_condition_on_what_no_room_takes: "[rooms.a]\ntypes = \"unrouted\"\nwhere = 'a == 1'\n";
    a_condition_with_one_equals_sign: "[rooms.x]\ntypes = [\"*\"]\nwhere = 'severity = \"error\"'\n";
    a_template_that_is_not_closed: "[rooms.\"agent:{agentId\"]\ntypes = [\"*\"]\n";
    a_star_in_the_middle_of_a_type: "[rooms.x]\ntypes = [\"RUN_*_END\"]\n";
    the_newest_without_a_key: "[rooms.x]\ntypes = [\"*\"]\nbuffer = { flush_interval = \"1s\", keep = \"newest\" }\n";
    a_buffer_without_an_interval: "[rooms.x]\ntypes = [\"*\"]\nbuffer = { events = 5 }\n";
    urgent_without_a_buffer: "[rooms.x]\ntypes = [\"*\"]\nurgent = 'a == 1'\n";
    a_listener_for_everybody: "[server]\nlisten = [\"0.0.0.0:9999\"]\n[admin]\nlisten = [\"[::]:9997\"]\n[ingest]\nlisten = [\"10.0.0.1:9998\"]\n";
    two_listeners_at_one_place: "[server]\nlisten = [\"127.0.0.1:9999\"]\n[ingest]\nlisten = [\"127.0.0.1:9999\"]\n";
    an_address_without_a_host: "[server]\nlisten = [\":9999\", \"9999\", \"example.org:80\"]\n";
    an_origin_without_a_scheme: "[server]\nallowed_origins = [\"example.org\", \"https://a.org/app\", \"https://*.org\"]\n";
    a_host_with_a_port: "[ingest]\nhosts = [\"broadcastd:9998\"]\n";
    a_room_that_there_is_not: "[ingest]\nunrouted = { room = \"othr\" }\n[rooms.other]\ntypes = [\"*\"]\n";
    what_is_not_for_clients: "[server]\nexpose = [\"page\", \"config\"]\n";
    a_process_that_is_not_named: "[sources.system]\nevery = \"50ms\"\nprocesses = [{ names = \"x\" }, { name = \"x\", unit = \"y\" }]\n";
    no_shards: "[server]\nshards = 0\n";
    a_variable_that_is_not_set: "[limits]\nclients = \"${CLIENTS}\"\n";
    a_variable_that_is_no_number: "[limits]\nclients = \"${WORDS}\"\n";
    a_built_in_type: "[types.agent_state]\nrequired = { a = \"string\" }\n";
    a_field_of_no_kind: "[types.x]\nrequired = { a = \"text\" }\n";
    many_at_once: "[server]\nlisten = \"127.0.0.1:9999\"\nwatch = \"yes\"\n[limits]\nclients = 0\n[rooms.x]\ntypes = []\nslow_client = \"replya\"\n[[test]]\nrooms = [\"x\"]\n";
    a_list_that_is_not_closed: "[server]\nlisten = [\"127.0.0.1:1\",\n  \"127.0.0.1:2\" # a ]\n\nheartbeat = \"1s\"\n[admin]\nlisten = [\"127.0.0.1:3\"]\n";
    a_string_that_is_not_closed: "[rooms.a]\ntypes = [\"x, \"y\"]\nwhere = 'a == 1'\n";
    a_header_that_is_not_closed: "[server\nheartbeat = \"1s\"\n";
    keys_and_tables_that_stand_twice: "[server]\nheartbeat = \"1s\"\nheartbeat = \"2s\"\n[admin]\nlisten = []\n[server]\nheartbeat = \"3s\"\n[rooms.a]\ntypes = [\"x\"]\nhistory = { events = 1, events = 2 }\n";
    more_rooms_than_the_limit: "[limits]\nrooms = 1\n[rooms.a]\ntypes = [\"*\"]\n[rooms.b]\ntypes = [\"*\"]\n";
}

#[test]
fn one_mistake_of_syntax_is_one_problem() {
    for (text, place, says) in [
        (
            "[server]\nlisten = [\"127.0.0.1:1\"\nheartbeat = \"1s\"\n[admin]\nlisten = [\"a\"]\n",
            "2:24",
            "expected `]`",
        ),
        ("[server]\nlisten = [\n  \"127.0.0.1:1\",\n\n[admin]\nlisten = []\n", "3:17", "expected `]`"),
        ("[server]\nlisten = [\"127.0.0.1:1\"", "2:24", "expected `]`"),
        ("[rooms.a]\ntypes = [[\"x\"]\n", "2:15", "expected `]`"),
        ("[rooms.a]\nhistory = { events = 1\nslow_client = \"skip\"\n[rooms.b]\n", "2:23", "expected `}`"),
        ("[server\nheartbeat = \"1s\"\n", "1:8", "expected `]`"),
        ("[[test]\nline = \"x\"\n", "1:8", "expected `]`"),
        ("[server]\nheartbeat = \"1s\nwatch = true\n", "2:16", "expected `\"`"),
        ("[server]\nheartbeat = 1s\"\nwatch = true\n", "2:13", "a quote is missing"),
        ("[server]\nheartbeat = '1s\nwatch = true\n", "2:16", "a quote is missing"),
        ("[rooms.a]\ntypes = [\"x, \"y\"]\nwhere = \"a == 1\"\n", "2:15", "a quote is missing"),
        ("[server]\nwatch\nheartbeat = \"1s\"\n", "2:6", "expected `=`"),
        ("[server]\nwatch = true\n[admin]\n[server]\nwatch = false\n", "4:2", "[server] is defined twice"),
        ("[server]\nwatch = true\nwatch = true\n", "3:1", "`server.watch` is set twice"),
        (
            "[[test]]\nline = \"a\"\n[[test]]\nline = \"b\"\nline = \"c\"\n",
            "5:1",
            "`test[1].line` is set twice",
        ),
        ("[rooms.a]\n[rooms]\na.types = [\"*\"]\n", "3:1", "`rooms.a` is set twice"),
        ("server.watch = true\nserver.watch.x = 1\n", "2:8", "is set twice"),
    ] {
        let problems = load(text, &[]).expect_err(text);
        assert_eq!(problems.list.len(), 1, "{problems}");
        let report = problems.to_string();
        assert!(report.contains(&format!("broadcast.toml:{place}\n")) && report.contains(says), "{report}");
    }
}

#[test]
fn what_stands_twice_is_shown_with_both_places() {
    for (text, first) in [
        ("[server]\nwatch = true\n[admin]\n[server]\n", (1, 2)),
        ("[limits]\nclients = 1\nrooms = 2\nclients = 3\n", (2, 1)),
        ("[server]\nlisten = [\"127.0.0.1:1\"]\n[admin]\nlisten = [\"127.0.0.1:1\"]\n", (2, 11)),
        ("[a.b]\nc = 1\n[a]\nb.c = 2\n", (1, 4)),
    ] {
        let problems = load(text, &[]).expect_err(text);
        let twice: Vec<_> =
            problems.json().into_iter().filter(|problem| problem["code"] == "duplicate").collect();
        assert_eq!(twice.len(), 1, "{problems}");
        let related = &twice[0]["related"];
        assert_eq!((&related["line"], &related["column"]), (&first.0.into(), &first.1.into()), "{problems}");
    }
}

#[test]
fn a_problem_of_an_argument_is_shown_there() {
    let refused = |set: &[&str]| load("", set).expect_err("the argument is wrong").to_string();
    insta::assert_snapshot!("set_unknown", refused(&["server.hearbeat=\"1s\""]));
    insta::assert_snapshot!("set_without_a_value", refused(&["server.heartbeat"]));
    insta::assert_snapshot!("set_of_a_wrong_kind", refused(&["limits.clients=\"x\""]));
}

#[test]
fn arguments_win_over_the_file() {
    let loaded =
        load("[limits]\nclients = 5\nrooms = 6\n", &["limits.clients=7", "server.heartbeat=2s"]).unwrap();
    assert_eq!((loaded.config.limits.clients, loaded.config.limits.rooms), (7, 6));
    assert_eq!(loaded.config.server.heartbeat, Duration::from_secs(2), "a value that is no TOML is a string");
    assert_eq!(loaded.origins["limits.clients"], "--set limits.clients=7");
    assert_eq!(loaded.origins["limits.rooms"], "broadcast.toml:3");
}

#[test]
fn the_environment_fills_numbers_and_lists() {
    let config = config(
        "[server]\nallowed_origins = [\"local\", \"${NOBODY:-}\", \"${EMPTY:-}\"]\n\
         [limits]\nclients = \"${EVENTS}\"\nrooms = \"${NOBODY:-12}\"\n\
         [rooms.\"x\"]\ntypes = [\"${NOBODY:-a}\"]\nwhere = 'a == \"$${b}\"'\n",
    );
    assert_eq!((config.limits.clients, config.limits.rooms), (7, 12));
    assert_eq!(config.server.allowed_origins.len(), 1);
    assert_eq!(config.rooms[0].types[0].to_string(), "a");
    assert_eq!(config.rooms[0].condition.as_ref().unwrap().source(), "a == \"${b}\"");
}

#[test]
fn a_file_with_rooms_has_exactly_those() {
    let own = config(
        "[room_defaults]\nhistory = { events = 3 }\n[rooms.b]\ntypes = [\"*\"]\n[rooms.a]\ntypes = [\"*\"]\nhistory = { age = \"1s\" }\n",
    );
    let names: Vec<&str> = own.rooms.iter().map(|room| room.name.source()).collect();
    assert_eq!(names, ["b", "a"], "in the file's order");
    let history = own.rooms[1].history;
    assert_eq!(
        (history.events, history.age, history.bytes),
        (3, Duration::from_secs(1), 4 << 20),
        "key by key"
    );
    let without = config("[limits]\nclients = 5\n");
    assert_eq!(without.rooms, Config::default().rooms);
    let defaults = config("[room_defaults]\nslow_client = \"skip\"\n");
    assert!(defaults.rooms.iter().all(|room| room.slow_client == broadcastd::config::SlowClient::Skip));
}

#[test]
fn spoken_out_a_listener_may_be_for_everybody() {
    let config = config("[server]\nlisten = [\"0.0.0.0:9999\", \"unix:clients.sock\"]\nauth = \"none\"\n");
    assert_eq!(config.server.listen.len(), 2);
}

#[test]
fn what_is_effective_reads_back_as_the_same() {
    let config = Config::built_in(&PathBuf::from("/run/broadcastd"));
    let text: String = config.effective().iter().flat_map(|(key, value)| [key, " = ", value, "\n"]).collect();
    let read = load(&text, &[]).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(read.config, config);
}

#[test]
fn a_room_is_not_given_a_name_that_socketio_or_the_daemon_emits_itself() {
    for name in ["gap", "closing", "error", "subscription_confirmed", "pong", "connect"] {
        let text = format!("[rooms.all]\ntypes = [\"*\"]\n[socketio.names]\nall = \"{name}\"\n");
        let problems = problems(&text);
        assert!(problems.contains("neither Socket.IO nor the daemon uses itself"), "{problems}");
        assert!(problems.contains("broadcast.toml:4:7"), "{problems}");
    }
    config("[rooms.all]\ntypes = [\"*\"]\n[socketio.names]\nall = \"gaps\"\n");
}

#[test]
fn a_value_that_is_not_encoded_is_answered_with_the_name_that_its_room_has() {
    let text = "[rooms.\"agent:{id}\"]\ntypes = [\"*\"]\n[socketio]\nauto_join = [\"agent:a/b\"]\n";
    assert!(problems(text).contains("did you mean \"agent:a%2Fb\"?"), "{}", problems(text));
}

#[test]
fn unrouted_events_go_to_the_room_for_them_unless_the_file_says_otherwise() {
    let rest = "[rooms.a]\ntypes = [\"a\"]\n[rooms.rest]\ntypes = \"unrouted\"\n";
    let to = |room: &str| Unrouted::Room(room.to_owned());
    for (text, unrouted) in [
        ("", to("events")),
        ("[limits]\nclients = 5\n", to("events")),
        ("[ingest]\nunrouted = \"reject\"\n", Unrouted::Reject),
        ("[rooms.events]\ntypes = [\"*\"]\n", Unrouted::Reject),
        (rest, to("rest")),
        (&format!("[ingest]\nunrouted = \"count\"\n{rest}"), Unrouted::Count),
        (&format!("[ingest]\nunrouted = {{ room = \"a\" }}\n{rest}"), to("a")),
    ] {
        assert_eq!(config(text).ingest.unrouted, unrouted, "{text}");
    }
}
