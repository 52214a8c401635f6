//! The arrows of `src/lib.rs`'s map, held: a module imports only what stands left of it, and the pure ones name nothing
//! that acts on the world.

#![expect(clippy::unwrap_used, reason = "a test says no by panicking, and its helpers are part of it")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every module of the crate, and the modules that it may import.
const ARROWS: &[(&str, &[&str])] = &[
    ("values", &[]),
    ("api", &["values"]),
    ("snapshot", &["values", "api"]),
    ("protocol", &["values", "api", "snapshot"]),
    ("store", &["values"]),
    ("keys", &["values"]),
    ("source", &["values", "api", "snapshot"]),
    ("outbound", &["values", "api", "snapshot", "protocol", "store", "keys"]),
    ("control", &["values", "api", "snapshot", "protocol", "store", "keys", "outbound"]),
    ("proxy", &["values", "api", "snapshot", "protocol", "store", "keys", "outbound"]),
    ("console", &["values", "api", "snapshot", "protocol", "store", "keys", "outbound"]),
    ("sandbox", &[]),
    (
        "cli",
        &[
            "values", "api", "snapshot", "protocol", "store", "keys", "outbound", "source", "control", "proxy",
            "console", "sandbox",
        ],
    ),
];

/// Pure modules take time and randomness as arguments and do no I/O.
const PURE: &[&str] = &["values", "api", "snapshot", "protocol"];

/// What a pure module must not name.
const IMPURE: &[&str] = &[
    "tokio",
    "reqwest",
    "std::fs",
    "std::net::TcpStream",
    "std::env",
    "kube::Client",
    "SystemTime::now",
    "Timestamp::now",
    "Instant::now",
    "Zoned::now",
    "Uuid::new_v4",
    "SystemRandom",
    "aws_lc_rs::rand",
    "rand::",
];

/// The modules, as the crate has them now.
fn modules() -> BTreeMap<String, Vec<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut modules = BTreeMap::new();
    for entry in fs::read_dir(&root).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            modules.insert(name, rust_files(&path));
        } else if !matches!(name.as_str(), "lib" | "main") {
            modules.insert(name, vec![path]);
        }
    }
    modules
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// Whether a file is tests only: those may look anywhere.
fn is_test(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests")
        || path.file_stem().is_some_and(|stem| stem == "tests" || stem == "test_support")
}

/// The code of a file without comments and without its test module.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let without_tests = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    without_tests.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The modules of the crate that a piece of code names, in whichever form of `use`.
fn imports(code: &str, names: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (start, _) in code.match_indices("crate::") {
        let rest = &code[start + "crate::".len()..];
        let imported = match rest.strip_prefix('{') {
            Some(group) => top_level_names(group),
            None => vec![identifier(rest)],
        };
        found.extend(imported.into_iter().filter(|name| names.contains(&name.as_str())));
    }
    found
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
}

/// The first names inside `{a::b, c::{d, e}}`.
fn top_level_names(group: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut depth = 0_i32;
    let mut at_start = true;
    for (index, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            _ if at_start && !character.is_whitespace() => {
                names.push(identifier(&group[index..]));
                at_start = false;
            }
            _ => {}
        }
    }
    names
}

#[test]
fn a_module_imports_only_what_stands_left_of_it() {
    let names: Vec<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    let mut faults = Vec::new();
    for (module, files) in modules() {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == module) else {
            faults.push(format!("src/{module} is not on the map: add it to ARROWS and to src/lib.rs"));
            continue;
        };
        for file in files.iter().filter(|file| !is_test(file)) {
            for import in imports(&code(file), &names) {
                if import != module && !allowed.contains(&import.as_str()) {
                    faults.push(format!("{}: {module} must not import {import}", file.display()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "the arrows of the map are broken:\n{}", faults.join("\n"));
}

#[test]
fn pure_modules_name_nothing_that_acts_on_the_world() {
    let mut faults = Vec::new();
    for (module, files) in modules().into_iter().filter(|(module, _)| PURE.contains(&module.as_str())) {
        for file in files.iter().filter(|file| !is_test(file)) {
            let code = code(file);
            for word in IMPURE.iter().filter(|word| code.contains(**word)) {
                faults.push(format!("{}: {module} is pure, but names {word}", file.display()));
            }
        }
    }
    assert!(faults.is_empty(), "pure modules take time and randomness as arguments:\n{}", faults.join("\n"));
}

#[test]
fn no_file_is_longer_than_500_lines_without_its_tests() {
    let long: Vec<String> = modules()
        .into_values()
        .flatten()
        .filter(|file| !is_test(file))
        .filter_map(|file| {
            let lines = code(&file).lines().count();
            (lines > 500).then(|| format!("{} has {lines} lines", file.display()))
        })
        .collect();
    assert!(long.is_empty(), "split by responsibility:\n{}", long.join("\n"));
}

#[test]
fn the_map_in_lib_rs_is_the_one_that_is_held() {
    let map = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    for line in [
        "values ◄─ api ◄─ snapshot ◄─ protocol ◄─ outbound ◄─ { control, proxy, console }",
        "values ◄─ { store, keys }            (used from outbound upward)",
        "          snapshot ◄─ source",
        "sandbox (imports nothing of ours)",
        "{ source, control, proxy, console, sandbox } ◄─ cli ◄─ main",
    ] {
        assert!(map.contains(line), "src/lib.rs lost the line {line:?} of its map");
    }
}

#[test]
fn an_arrow_that_points_the_wrong_way_is_seen() {
    let names = ["values", "proxy", "control"];
    assert_eq!(imports("use crate::proxy::Proxy;", &names), ["proxy"]);
    assert_eq!(imports("use crate::{values::{url, code}, control};", &names), ["values", "control"]);
    assert_eq!(imports("let x = crate::control::run();", &names), ["control"]);
    assert!(imports("use std::net;", &names).is_empty());
}
