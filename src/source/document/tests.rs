use std::fmt::Write as _;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Place, Position, Reason, Unreadable, parse, scalar};

fn value(text: &str) -> Value {
    let mut documents = parse(text).unwrap();
    assert_eq!(documents.len(), 1, "{text}");
    documents.remove(0).value
}

fn refusal(text: &str) -> Unreadable {
    parse(text).unwrap_err()
}

fn at(line: u32, column: u32) -> Position {
    Position { line, column }
}

#[test]
fn documents_of_a_stream_are_told_apart() {
    let documents = parse("# head\na: 1\n# between\n---\n---\nb: [x, 'no', no]\n...\n# tail\n").unwrap();
    let values: Vec<_> = documents.iter().map(|document| document.value.clone()).collect();
    assert_eq!(values, [json!({"a": 1}), json!(null), json!({"b": ["x", "no", false]})]);
}

#[test]
fn the_bytes_of_a_document_reach_to_the_next_one() {
    let text = "a: 1\n# of a\n---\nb: 2\n# of b\n";
    let parts: Vec<_> = parse(text).unwrap().into_iter().map(|document| &text[document.bytes]).collect();
    assert_eq!(parts, ["a: 1\n# of a\n", "---\nb: 2\n# of b\n"]);
}

#[test]
fn json_is_read_as_well() {
    let text = "{\n\t\"a\": [1, 2.5, true, null, \"\\u00e4\\ud83d\\ude00\\/\"],\n\t\"b\": {}\n}";
    assert_eq!(value(text), json!({"a": [1, 2.5, true, null, "ä😀/"], "b": {}}));
}

#[test]
fn a_path_leads_to_the_exact_place() {
    let text = "apiVersion: v1\nspec:\n  scopes:\n    - system/Patient.rs\n    - 'x'\n  labels: {hearthgate.dev/use: key}\n  deep:\n    er: 1\n";
    let spans = parse(text).unwrap().remove(0).spans;
    let table = [
        ("", Place::Value, at(1, 1)),
        ("apiVersion", Place::Value, at(1, 13)),
        ("apiVersion", Place::Key, at(1, 1)),
        ("spec.scopes", Place::Value, at(3, 3)),
        ("spec.scopes[1]", Place::Value, at(5, 7)),
        ("spec.labels.hearthgate.dev/use", Place::Value, at(6, 32)),
        ("spec.labels.hearthgate.dev/use", Place::Key, at(6, 12)),
        ("spec.deep.missing", Place::Value, at(7, 3)),
        ("spec.missing.further", Place::Value, at(2, 1)),
        ("spec.scopes[7]", Place::Value, at(3, 3)),
        ("missing", Place::Value, at(1, 1)),
    ];
    for (path, place, expected) in table {
        assert_eq!(spans.locate(path, place), expected, "{path} {place:?}");
    }
}

#[test]
fn columns_count_characters() {
    let spans = parse("{ä: 'öü', b: 1}").unwrap().remove(0).spans;
    assert_eq!(spans.locate("b", Place::Value), at(1, 14));
}

#[test]
fn a_key_that_stands_twice_is_refused_where_it_stands_again() {
    assert_eq!(
        refusal("spec:\n  a: 1\n  b: 2\n  a: 3\n"),
        Unreadable { position: at(4, 3), reason: Reason::DuplicateKey { key: "a".into(), first: 2 } }
    );
    assert_eq!(refusal("true: 1\nyes: 2\n").reason, Reason::DuplicateKey { key: "true".into(), first: 1 });
}

#[test]
fn aliases_and_merge_keys_are_followed() {
    assert_eq!(value("a: &x {k: [1]}\nb: *x\n"), json!({"a": {"k": [1]}, "b": {"k": [1]}}));
    assert_eq!(
        value("base: &base {a: 1, b: 2}\nother: &other {b: 9, c: 3}\nuse:\n  <<: [*base, *other]\n  a: 5\n"),
        json!({"base": {"a": 1, "b": 2}, "other": {"b": 9, "c": 3}, "use": {"a": 5, "b": 2, "c": 3}})
    );
    assert_eq!(value("'<<': 1\n"), json!({"<<": 1}));
    assert_eq!(refusal("a: 1\n<<: {a: 2}\n").reason, Reason::MergeNotFirst);
    assert_eq!(refusal("<<: [1]\n").reason, Reason::MergeNeedsMapping);
    assert_eq!(refusal("a: &a [*a]\n").reason, Reason::EndlessAlias);
}

#[test]
fn tags_say_what_they_say_or_are_refused() {
    assert_eq!(value("[!!str 5, ! 5, !!int '5', !!bool 'yes', !!null '']"), json!(["5", "5", 5, true, null]));
    assert_eq!(refusal("!!int x").reason, Reason::TagMismatch("!!int".into()));
    assert_eq!(refusal("!custom x").reason, Reason::UnknownTag("!custom".into()));
    assert_eq!(refusal("!!binary aGk=").reason, Reason::UnknownTag("!!binary".into()));
    assert_eq!(refusal("!!seq {}").reason, Reason::TagMismatch("!!seq".into()));
}

#[test]
fn a_syntax_error_says_where() {
    let error = refusal("a: 1\nb: [1, 2\nc: 3\n");
    assert!(matches!(error.reason, Reason::Syntax(_)), "{error}");
    assert!(error.position.line >= 2, "{error:?}");
    assert_eq!(refusal("? [a]\n: 1\n").reason, Reason::KeyNotString);
    assert_eq!(refusal("~: 1\n").reason, Reason::KeyNotString);
    assert_eq!(refusal("a: .nan\n").reason, Reason::NotFinite);
}

/// A hundred ways to make a reader choke.
fn bombs() -> Vec<(String, String)> {
    let mut bombs = Vec::new();
    for width in [2, 5, 9, 10, 20, 50, 100] {
        for levels in [20, 30, 60, 90] {
            let mut laughs = "a0: &a0 [x, x]\n".to_owned();
            for level in 1..levels {
                let aliases = vec![format!("*a{}", level - 1); width].join(", ");
                let _ = writeln!(laughs, "a{level}: &a{level} [{aliases}]");
            }
            bombs.push((format!("{levels} levels of {width} aliases"), laughs));
        }
    }
    for width in [10, 30, 100] {
        for levels in [10, 30, 90] {
            let mut laughs = "a0: &a0 {x: 1}\n".to_owned();
            for level in 1..levels {
                let entries: Vec<_> = (0..width).map(|key| format!("k{key}: *a{}", level - 1)).collect();
                let _ = writeln!(laughs, "a{level}: &a{level} {{{}}}", entries.join(", "));
            }
            bombs.push((format!("{levels} levels of mappings of {width} aliases"), laughs));
        }
    }
    for kilobytes in [10, 100, 300] {
        let long = "x".repeat(kilobytes * 1024);
        bombs.push((format!("{kilobytes} KiB repeated"), format!("a: &a {long}\nb: [{}]", vec!["*a"; 400].join(", "))));
        bombs.push((format!("a key of {kilobytes} KiB"), format!("? {long}\n: &a 1\nb: {{{long}: 1}}\n{long}: [")));
    }
    for depth in [101, 500, 5_000, 50_000, 500_000] {
        bombs.push((format!("{depth} brackets"), "[".repeat(depth)));
        bombs.push((format!("{depth} pairs of brackets"), format!("{}{}", "[".repeat(depth), "]".repeat(depth))));
        bombs.push((format!("{depth} braces"), "{a: ".repeat(depth.min(250_000))));
        bombs.push((format!("{depth} dashes"), "- ".repeat(depth.min(500_000))));
        bombs.push((format!("{depth} question marks"), "? ".repeat(depth.min(500_000))));
        bombs.push((format!("{depth} explicit flow keys"), "[? ".repeat(depth.min(300_000))));
        bombs.push((format!("{depth} anchors"), "&a [".repeat(depth.min(250_000))));
        bombs.push((format!("{depth} tags"), "!!seq [".repeat(depth.min(140_000))));
    }
    for count in [20_001, 100_000, 250_000] {
        bombs.push((format!("{count} documents"), "---\n".repeat(count)));
    }
    for count in [60_000, 200_000, 500_000] {
        bombs.push((format!("{count} scalars"), format!("[{}]", "0,".repeat(count))));
        bombs.push((format!("{count} empty values"), format!("[{}]", "[],".repeat(count.min(340_000)))));
        bombs.push((format!("{count} items"), "-\n".repeat(count)));
    }
    let alias_list = format!("a: &a x\nb: [{}]", vec!["*a"; 501].join(", "));
    bombs.push(("501 aliases".into(), alias_list));
    for depth in [60, 99] {
        let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        bombs.push((
            format!("depth through aliases, {depth}"),
            format!("a: &a {nested}\nb: &b {}*a{}\nc: [[[[*b]]]]", "[".repeat(50), "]".repeat(50)),
        ));
    }
    bombs.push(("an alias in itself".into(), "a: &a {b: [*a, *a]}".into()));
    bombs.push(("merges of merges".into(), {
        let mut text = "a0: &a0 {k: 1}\n".to_owned();
        for level in 1..60 {
            let previous = level - 1;
            let _ = writeln!(text, "a{level}: &a{level} {{<<: [*a{previous}, *a{previous}], k{level}: *a{previous}}}");
        }
        text
    }));
    let many_keys: Vec<_> = (0..60_000).map(|key| format!("k{key}: 1\n")).collect();
    bombs.push(("60000 keys".into(), many_keys.concat()));
    for (name, text) in [
        ("an open quote", format!("a: \"{}", "x ".repeat(500_000))),
        ("an open single quote", format!("a: '{}", "x\n ".repeat(300_000))),
        ("tabs", "\t".repeat(1_000_000) + "x: ["),
        ("percent signs", "%".repeat(1_000_000)),
        ("unknown aliases", "*a ".repeat(300_000)),
        ("a tag without end", format!("!<{}", "a".repeat(1_000_000))),
        ("a directive without end", format!("%TAG ! {}", "a".repeat(1_000_000))),
        ("colons", ": ".repeat(500_000)),
        ("closing brackets", "]".repeat(1_000_000)),
        ("a flow key without end", format!("{{{}", "a ".repeat(500_000))),
    ] {
        bombs.push((name.into(), text));
    }
    bombs
}

#[test]
fn a_hundred_bombs_are_refused_at_once() {
    // What is promised is 50 ms; an unoptimised build on a machine that runs other tests needs many times that.
    let allowed = Duration::from_millis(if cfg!(debug_assertions) { 2000 } else { 50 });
    let bombs = bombs();
    assert!(bombs.len() >= 100, "only {} bombs", bombs.len());
    let mut slowest = (Duration::ZERO, "");
    for (name, text) in &bombs {
        assert!(text.len() <= 1 << 20, "{name} would be stopped by its size alone: {}", text.len());
        let mut took = Duration::MAX;
        // A machine busy with something else may take longer once; a bomb takes longer always.
        for _ in 0..3 {
            let began = Instant::now();
            assert!(parse(text).is_err(), "{name} was read");
            took = took.min(began.elapsed());
            if took < allowed {
                break;
            }
        }
        if took > slowest.0 {
            slowest = (took, name);
        }
        assert!(took < allowed, "{name} took {took:?}");
    }
    println!("{} bombs; the slowest, {}, took {:?}", bombs.len(), slowest.1, slowest.0);
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ -~äß\\n😀]{0,12}".prop_map(Value::from),
        "(yes|no|on|off|null|~|0x1f|1_0|1e3|<<|---|#|- |: )".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z0-9./ :#-]{0,8}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in ".{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn text_of_yaml_characters_never_panics(text in "[\\[\\]{}:,&*!|>'\"%@`#? \\n\\ta-c0-9<~.-]{0,120}") {
        for document in parse(&text).unwrap_or_default() {
            prop_assert!(document.bytes.end <= text.len());
            let _ = document.spans.locate("a.b[0].c", Place::Value);
        }
    }

    #[test]
    fn the_yaml_and_the_json_form_of_a_value_are_read_alike(expected in json_value()) {
        let yaml = serde_yaml::to_string(&expected).unwrap();
        let json = serde_json::to_string(&expected).unwrap();
        let pretty = serde_json::to_string_pretty(&expected).unwrap();
        prop_assert_eq!(&value(&json), &expected, "{}", json);
        prop_assert_eq!(&value(&pretty), &expected, "{}", pretty);
        prop_assume!(means_the_same_in_yaml_1_1(&expected));
        prop_assert_eq!(&value(&yaml), &expected, "{}", yaml);
    }
}

/// The writer follows YAML 1.2, in which `yes` needs no quotes.
fn means_the_same_in_yaml_1_1(value: &Value) -> bool {
    let text = |text: &str| scalar::value(text, true, None) == Ok(Value::String(text.to_owned())) || text.is_empty();
    match value {
        Value::String(string) => text(string),
        Value::Array(items) => items.iter().all(means_the_same_in_yaml_1_1),
        Value::Object(entries) => entries.iter().all(|(key, value)| text(key) && means_the_same_in_yaml_1_1(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}
