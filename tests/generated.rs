//! Whatever is generated and committed: each test fails when the committed copy is stale, and writes it anew with
//! `UPDATE=1`. (`tests/crds.rs` holds the same for `crds/`.)

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test says no by panicking, and its helpers are part of it"
)]

#[path = "support/reference.rs"]
mod reference;

use std::fs;
use std::path::Path;
use std::process::Command;

/// What the binary prints for these arguments.
fn printed(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_hearthgate")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Compares a committed file with what it should be.
fn assert_committed(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, text).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == text, "{file} is stale: run UPDATE=1 cargo test --test generated, and read the difference");
}

#[test]
fn the_table_of_codes_is_the_one_of_the_program() {
    let head = "# Codes\n\nEvery verdict has a code: in conditions, refusals, logs and the output of `check`. A code never changes its meaning.\n`hearthgate explain CODE` tells the same. This page is generated: `UPDATE=1 cargo test --test generated`.\n\n";
    assert_committed("docs/codes.md", &format!("{head}{}", printed(&["explain", "--all"])));
}

#[test]
fn the_crds_command_prints_what_the_folder_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    let mut held: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    held.sort();
    let printed = printed(&["crds"]);
    for path in held {
        let text = fs::read_to_string(&path).unwrap();
        let body = text.trim_start_matches("---\n").trim_end();
        assert!(printed.contains(body), "hearthgate crds does not print what {} holds", path.display());
    }
}

#[test]
fn the_reference_of_fields_is_the_one_of_the_crds() {
    assert_committed("docs/reference.md", &reference::page(&printed(&["crds"])));
}

#[test]
fn the_table_of_metrics_is_the_one_of_the_program() {
    const BEGIN: &str = "<!-- metrics: written by UPDATE=1 cargo test --test generated -->\n";
    const END: &str = "<!-- end of metrics -->";
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/observability.md")).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let mut table = String::from("| metric | kind | labels | tells |\n|---|---|---|---|\n");
    for metric in hearthgate::proxy::Metrics::default().described() {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let cells = [format!("`{}`", metric.name), metric.kind.into(), labels.join(", "), metric.help.into()];
        table.extend(["| ", &cells.join(" | "), " |\n"]);
    }
    assert_committed("docs/observability.md", &format!("{before}{BEGIN}{table}{END}{after}"));
}
