//! The compiler's specification: `tests/compile/<rule>.in.yaml` compiles to `<rule>.out.yaml`.
//!
//! A new rule of the compiler begins with a pair. `UPDATE=1 cargo test --test compile` writes the out files; read the
//! difference before you commit it, since it is what changed for everybody.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says no by panicking, and its helpers are part of it"
)]

#[path = "support/compile_input.rs"]
mod compile_input;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use compile_input::{KeyNames, directory, read, show};
use hearthgate::keys::make::{make_gateway_keys, make_pair};
use hearthgate::snapshot::compile;
use hearthgate::values::code::{Code, Group};
use hearthgate::values::key::PairKind;

const UPDATE: &str = "UPDATE=1 cargo test --test compile";

/// The names of all pairs, sorted.
fn names() -> Vec<String> {
    let files = fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: BTreeSet<String> = files
        .filter_map(|file| Some(file.strip_suffix(".in.yaml").or_else(|| file.strip_suffix(".out.yaml"))?.to_owned()))
        .collect();
    names.into_iter().collect()
}

fn input(name: &str) -> PathBuf {
    directory().join(format!("{name}.in.yaml"))
}

fn output(name: &str) -> PathBuf {
    directory().join(format!("{name}.out.yaml"))
}

fn compiled(name: &str) -> String {
    let text = fs::read_to_string(input(name)).unwrap_or_else(|error| {
        panic!("tests/compile/{name}.in.yaml: {error}; an out file without its in file should be removed")
    });
    let input = read(&text);
    let (snapshot, reports) = compile(&input.resources, &input.platform);
    let shown = show(&snapshot, &reports, input.now, &input.included);
    serde_yaml::to_string(&KeyNames::read().to_names(&shown)).unwrap()
}

#[test]
fn every_in_file_compiles_to_its_out_file() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut differing = Vec::new();
    for name in names() {
        let compiled = compiled(&name);
        if update {
            fs::write(output(&name), compiled).unwrap();
            continue;
        }
        match fs::read_to_string(output(&name)) {
            Ok(expected) if expected == compiled => {}
            Ok(expected) => differing.push(format!("{name}.out.yaml is stale:\n{}", difference(&expected, &compiled))),
            Err(_) => differing.push(format!("{name}.out.yaml is missing")),
        }
    }
    assert!(
        differing.is_empty(),
        "tests/compile: the compiler gives something else than the out files say. If that is meant, run {UPDATE} and \
         read what changed.\n\n{}",
        differing.join("\n\n")
    );
}

/// The lines between the first and the last that differ.
fn difference(expected: &str, found: &str) -> String {
    let (expected, found): (Vec<_>, Vec<_>) = (expected.lines().collect(), found.lines().collect());
    let same = expected.iter().zip(&found).take_while(|(one, other)| one == other).count();
    let left = expected.len().min(found.len()) - same;
    let same_end =
        expected.iter().rev().zip(found.iter().rev()).take(left).take_while(|(one, other)| one == other).count();
    let show = |sign: char, lines: &[&str]| -> String {
        let differing = lines[same..lines.len() - same_end].iter();
        differing.flat_map(|line| [sign.to_string(), format!(" {line}\n")]).collect()
    };
    format!("from line {}:\n{}{}", same + 1, show('-', &expected), show('+', &found))
}

/// The codes that compile gives. `HG1008` and `HG1009` come from reading files, `HG5001` and `HG5004` from replicas,
/// `HG8005` and later from `check`.
fn is_the_compilers(code: Code) -> bool {
    let by_others = [Code::InvalidDocument, Code::DuplicateObject, Code::Pending, Code::NoReplicas];
    let warnings = [Code::LaunchUriIgnored, Code::ScopeNeverGranted, Code::PrivateApiUnrestricted, Code::UnusedSecret];
    match code.group() {
        Group::Accepted | Group::ResolvedRefs | Group::KeyReady | Group::Programmed => !by_others.contains(&code),
        Group::Warning => warnings.contains(&code),
        Group::EhrAuthenticated | Group::Probe | Group::Request => false,
    }
}

#[test]
fn every_code_of_the_compiler_has_a_pair() {
    let all: String = names().iter().map(|name| compiled(name)).collect();
    let without = Code::ALL.iter().filter(|code| is_the_compilers(**code)).filter(|code| {
        // Reasons of Programmed follow from the clock and stand in conditions alone.
        !all.contains(&format!("{code} at ")) && !all.contains(&format!("False, {}", code.reason()))
    });
    assert_eq!(without.collect::<Vec<_>>(), Vec::<&Code>::new(), "add a pair to tests/compile for each");
}

/// Run once (`cargo test --test compile -- --ignored`), and again when a pair needs another key: keys that are there
/// stay, since the out files are about them.
#[test]
#[ignore = "writes into tests/compile/keys"]
fn test_keys_that_are_missing_are_made() {
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let pairs = [
        ("rsa-1", PairKind::Rsa2048),
        ("rsa-2", PairKind::Rsa2048),
        ("rsa-3", PairKind::Rsa2048),
        ("rsa3072-1", PairKind::Rsa3072),
        ("ec-1", PairKind::P384),
    ];
    for (name, kind) in pairs {
        write_missing(name, || make_pair(kind, "Hearthgate test", now).unwrap().into_data());
    }
    for name in ["gateway-1", "gateway-2"] {
        write_missing(name, || make_gateway_keys().unwrap().into_data());
    }
}

fn write_missing(
    name: &str,
    make: impl Fn() -> std::collections::BTreeMap<String, hearthgate::values::secret::SecretBytes>,
) {
    let directory = directory().join("keys").join(name);
    if !directory.exists() {
        fs::create_dir_all(&directory).unwrap();
        for (file, content) in make() {
            fs::write(directory.join(file), content.expose()).unwrap();
        }
    }
}
