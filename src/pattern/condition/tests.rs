//! Conditions as tables, and against a naive evaluation of random ones.

use super::*;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

fn holds(condition: &Condition, event: &Json) -> bool {
    let values: Vec<Value<'_>> = condition
        .paths()
        .iter()
        .map(|path| {
            let field = path.names().try_fold(event, |value, name| value.get(name));
            field.map_or(Value::Absent, Value::from_json)
        })
        .collect();
    condition.matches(|index| &values[index])
}

#[track_caller]
fn check(source: &str, event: &Json, expected: bool) {
    let condition = Condition::parse(source).unwrap_or_else(|error| panic!("{source}: {error:?}"));
    assert_eq!(holds(&condition, event), expected, "{source} on {event}");
}

/// Refused at the text between the two marks `‹` and `›`.
#[track_caller]
fn refused(marked: &str, message: &str, hint: &str) {
    let start = marked.find('‹').unwrap();
    let end = marked.find('›').unwrap() - '‹'.len_utf8();
    let source = marked.replace(['‹', '›'], "");
    let error = Condition::parse(&source).expect_err("not a condition");
    assert_eq!((error.start, error.end, error.message.as_str()), (start, end, message), "{source}");
    assert!(error.hint.as_deref().unwrap_or("").contains(hint), "{source}: {:?}", error.hint);
}

#[test]
fn comparisons() {
    let event = json!({"s": "busy", "n": 5, "f": 5.5, "b": true, "z": null, "o": {"i": "x"}, "a": ["busy"]});
    for source in [
        "s == \"busy\"",
        "s == 'busy'",
        "'busy' == s",
        "s != \"idle\"",
        "s > 'a' && s < 'c'",
        "n == 5.0",
        "n >= 5 && n <= 5",
        "n < f",
        "f > -1e3",
        "b",
        "b == true",
        "!(b == false)",
        "z == null",
        "o.i == 'x'",
        "o . i == 'x'",
        "`o`.`i` == 'x'",
        "s in ['idle', 'busy']",
        "n in [4, 5]",
        "!(s in [])",
        "s.startsWith('bu')",
        "startsWith(s, 'bu')",
        "o.i.startsWith('')",
        "has(s) && has(o) && has(o.i) && has(a)",
        "!has(z) && !has(missing) && !has(s.t)",
        "true || missing",
        "s == \"idle\" || n == 5 && b",
        "!!b",
    ] {
        check(source, &event, true);
    }
}

#[test]
fn what_does_not_compare() {
    let event = json!({"s": "5", "n": 5, "b": true, "z": null, "o": {}, "a": []});
    for comparison in
        ["s == n", "n == b", "b == 'true'", "z == 0", "z == ''", "o == o", "a == a", "x == null", "x == y"]
    {
        check(comparison, &event, false);
        check(&comparison.replace("==", "!="), &event, true);
        check(&comparison.replace("==", "<="), &event, false);
        check(&comparison.replace("==", ">="), &event, false);
    }
    for source in
        ["s", "n", "z", "x", "x in [null]", "n.startsWith('5')", "x.startsWith('')", "z <= null", "b > false"]
    {
        check(source, &event, false);
    }
}

#[test]
fn strings_and_names() {
    let event = json!({"s": "it's \"é\"\n", "user-id": 1, "a": {"b.c": 2, "in": 3}});
    check(r#"s == "it's \"\u00e9\"\n""#, &event, true);
    check(r#"s == 'it\'s "é"\n'"#, &event, true);
    check("`user-id` == 1 && a.`b.c` == 2 && a.`in` == 3", &event, true);
}

#[test]
fn errors_point_into_the_text() {
    refused("‹›", "an empty text is no condition", "status");
    refused("  a ‹=› 1", "`=` is not an operator", "`==`");
    refused("a ‹===› 1", "`===` is not an operator", "`==`");
    refused("a ‹<>› 1", "`<>` is not an operator", "`!=`");
    refused("a ‹&› b", "`&` is not an operator", "`&&`");
    refused("a ‹and› b", "expected `&&`, `||` or the end, found `and`", "`&&`");
    refused("a ‹OR› b", "expected `&&`, `||` or the end, found `OR`", "`||`");
    refused("‹not›(a)", "there is no function `not`", "`!`");
    refused("a ‹contains› 'x'", "expected `&&`, `||` or the end, found `contains`", "startsWith");
    refused("a.‹contains›('x')", "there is no function `contains`", "startsWith");
    refused("‹size›(a)", "there is no function `size`", "has(path)");
    refused("a == ‹'x›", "a string does not end", "close it with '");
    refused("a == ‹\"x\\\"›", "a string does not end", "close it with \"");
    refused("a == ‹'\\x'›", "a string has an escape or a control character that JSON does not know", "\\n");
    refused("a == ‹1.›", "`1.` is not a number", "JSON");
    refused("a == ‹01›", "`01` is not a number", "JSON");
    refused("‹-›", "`-` is not a number", "JSON");
    refused("‹`a›", "a name in backticks does not end", "backtick");
    refused("a ‹?› b", "`?` means nothing here", "backticks");
    refused("a == ‹›", "expected a field or a value, found the end", "");
    refused("(a == 1‹›", "expected `)`, found the end", "");
    refused("a == 1‹)›", "expected `&&`, `||` or the end, found `)`", "");
    refused("1 < a ‹<› 3", "expected `&&`, `||` or the end, found `<`", "`1 < a && a < 9`");
    refused("‹!›a == 1", "`!` does not stand before a comparison", "!(a == b)");
    refused("‹'a'›", "a value alone is no condition", "compare");
    refused("a in ‹b›", "expected a list, found `b`", "list of values");
}

#[test]
fn everything_is_bounded() {
    let long = format!("a == '{}'", "x".repeat(MAX_SOURCE_BYTES));
    assert!(Condition::parse(&long).unwrap_err().message.contains("4096 bytes"));
    let deep = |depth: usize| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Condition::parse(&deep(31)).is_ok());
    assert!(Condition::parse(&deep(32)).unwrap_err().message.contains("deeper than 32"));
    assert!(Condition::parse(&"!".repeat(4000)).unwrap_err().message.contains("deeper than 32"));
    let list = |len: usize| format!("a in [{}]", vec!["1"; len].join(","));
    assert!(Condition::parse(&list(256)).is_ok());
    assert!(Condition::parse(&list(257)).unwrap_err().message.contains("256 values"));
    let fields = |len: usize| (0..len).map(|field| format!("f{field}")).collect::<Vec<_>>().join("||");
    assert_eq!(Condition::parse(&fields(64)).unwrap().paths().len(), 64);
    assert!(Condition::parse(&fields(65)).unwrap_err().message.contains("64 fields"));
}

#[track_caller]
fn object(value: &Json, expected: &str) {
    let condition = Condition::from_object(value.as_object().unwrap()).unwrap();
    assert_eq!(condition.source(), expected);
}

#[test]
fn the_object_form_is_canonical() {
    object(&json!({"agentId": ["b", "a", "b"]}), r#"agentId in ["a","b"]"#);
    object(&json!({"agentId": ["a"]}), r#"agentId == "a""#);
    object(&json!({"b": 1, "a": null}), "a == null && b == 1");
    object(&json!({"user-id": "x\"y", "o.in": true}), r#"o.`in` == true && `user-id` == "x\"y""#);
    object(&json!({"a": []}), "a in []");
    for bad in [json!({}), json!({"a": {"b": 1}}), json!({"a": [[1]]}), json!({"": 1}), json!({"a`": 1})] {
        assert!(Condition::from_object(bad.as_object().unwrap()).is_err(), "{bad}");
    }
}

#[test]
fn what_is_said_of_a_mistake_is_short_however_long_that_is() {
    let long = "\u{301}".repeat(1000);
    let sources = [
        format!("a == `{long}`("),
        format!("a \"{long}\""),
        format!("{}(a)", "a".repeat(4000)),
        format!("a == 1{}", "0x".repeat(1000)),
    ];
    for source in sources {
        let error = Condition::parse(&source).unwrap_err();
        assert!(error.message.len() < 500, "{error}");
    }
    for (key, value) in [(format!("{long}`"), json!(1)), (long.clone(), json!({}))] {
        let error = Condition::from_object(json!({ (key): value }).as_object().unwrap()).unwrap_err();
        assert!(error.message.len() < 500, "{error}");
    }
}

/// A condition as a tree of its own, to be written out and evaluated naively.
#[derive(Clone, Debug)]
enum Tree {
    Compare(&'static str, &'static str, Json),
    In(&'static str, Vec<Json>),
    Has(&'static str),
    StartsWith(&'static str, String),
    Not(Box<Tree>),
    All(Vec<Tree>),
    Any(Vec<Tree>),
}

impl Tree {
    fn text(&self) -> String {
        let join = |parts: &[Tree], operator: &str| {
            format!("({})", parts.iter().map(Tree::text).collect::<Vec<_>>().join(operator))
        };
        match self {
            Tree::Compare(field, operator, value) => format!("{field}{operator}{value}"),
            Tree::In(field, list) => format!("{field} in {}", Json::from(list.clone())),
            Tree::Has(field) => format!("has({field})"),
            Tree::StartsWith(field, prefix) => format!("{field}.startsWith({})", json!(prefix)),
            Tree::Not(inner) => format!("!({})", inner.text()),
            Tree::All(parts) => join(parts, " && "),
            Tree::Any(parts) => join(parts, "||"),
        }
    }

    fn holds(&self, event: &Json) -> bool {
        let field = |path: &str| path.split('.').try_fold(event, |value, name| value.get(name));
        match self {
            Tree::Compare(path, operator, value) => match *operator {
                "==" => field(path).is_some_and(|found| naive_equal(found, value)),
                "!=" => !field(path).is_some_and(|found| naive_equal(found, value)),
                _ => field(path).is_some_and(|found| naive_order(found, operator, value)),
            },
            Tree::In(path, list) => {
                field(path).is_some_and(|found| list.iter().any(|item| naive_equal(found, item)))
            }
            Tree::Has(path) => field(path).is_some_and(|found| !found.is_null()),
            Tree::StartsWith(path, prefix) => {
                field(path).and_then(Json::as_str).is_some_and(|found| found.starts_with(prefix.as_str()))
            }
            Tree::Not(inner) => !inner.holds(event),
            Tree::All(parts) => parts.iter().all(|part| part.holds(event)),
            Tree::Any(parts) => parts.iter().any(|part| part.holds(event)),
        }
    }
}

/// The random numbers are small, so that floats compare them exactly.
fn naive_equal(left: &Json, right: &Json) -> bool {
    match (left.as_f64(), right.as_f64()) {
        (Some(left), Some(right)) => left.total_cmp(&right).is_eq(),
        _ => left == right && !left.is_object() && !left.is_array(),
    }
}

fn naive_order(left: &Json, operator: &str, right: &Json) -> bool {
    let order = match (left.as_f64(), right.as_f64(), left.as_str(), right.as_str()) {
        (Some(left), Some(right), _, _) => left.total_cmp(&right),
        (_, _, Some(left), Some(right)) => left.cmp(right),
        _ => return false,
    };
    match operator {
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    }
}

fn scalar() -> impl Strategy<Value = Json> {
    prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        (-3..4_i64).prop_map(Json::from),
        (-3..4_i64).prop_map(|number| Json::from(number as f64 / 2.0 + 0.25)),
        "[ab\"'\\\\é]{0,2}".prop_map(Json::from),
    ]
}

fn path() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "o.a", "o.b", "o", "missing"])
}

fn tree() -> impl Strategy<Value = Tree> {
    let operators = prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]);
    let leaf = prop_oneof![
        (path(), operators, scalar())
            .prop_map(|(path, operator, value)| Tree::Compare(path, operator, value)),
        (path(), prop::collection::vec(scalar(), 0..4)).prop_map(|(path, list)| Tree::In(path, list)),
        path().prop_map(Tree::Has),
        (path(), "[ab]{0,1}").prop_map(|(path, prefix)| Tree::StartsWith(path, prefix)),
    ];
    leaf.prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| Tree::Not(Box::new(inner))),
            prop::collection::vec(inner.clone(), 1..4).prop_map(Tree::All),
            prop::collection::vec(inner, 1..4).prop_map(Tree::Any),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn evaluation_agrees_with_a_naive_one(
        tree in tree(), a in scalar(), b in scalar(), inner in scalar(), with_object in any::<bool>(),
    ) {
        let mut event = json!({"a": a, "b": b});
        if with_object {
            event["o"] = json!({"a": inner});
        }
        let text = tree.text();
        let condition = Condition::parse(&text).unwrap();
        prop_assert_eq!(holds(&condition, &event), tree.holds(&event), "{} on {}", text, event);
    }

    #[test]
    fn no_text_makes_it_panic(text in "[a-z0-9 =!<>&|()\\[\\],.\"'`\\\\-é]{0,40}") {
        if let Err(error) = Condition::parse(&text) {
            prop_assert!(error.start <= error.end && error.end <= text.len(), "{:?}", error);
            prop_assert!(text.is_char_boundary(error.start) && text.is_char_boundary(error.end));
        }
    }
}
