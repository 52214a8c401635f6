//! The command line as people meet it: what it prints, and with which exit code it ends.

#![expect(clippy::unwrap_used, reason = "a test says no by panicking, and its helpers are part of it")]

use std::path::Path;
use std::process::{Command, Output};

fn hearthgate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hearthgate"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn every_example_passes_check() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut checked = 0;
    for entry in std::fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        // What is put together by kustomize is checked as it comes out, in the tests of the cluster.
        if path.join("base").exists() {
            continue;
        }
        let output = hearthgate(&["check", path.to_str().unwrap()]);
        assert!(output.status.success(), "{}\n{}", path.display(), text(&output.stdout));
        assert!(text(&output.stdout).contains("no issues"), "{}\n{}", path.display(), text(&output.stdout));
        checked += 1;
    }
    assert!(checked >= 5, "only {checked} examples were found");
}

#[test]
fn check_names_file_line_column_object_and_field() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.yaml");
    let example =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/quickstart/app.yaml")).unwrap();
    std::fs::write(&file, example.replace("BackendService", "Backend")).unwrap();

    let output = hearthgate(&["check", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let printed = text(&output.stdout);
    for part in [
        "error[HG1001 InvalidSpec]",
        "App default/schedule-sync",
        "spec.clientType",
        "app.yaml:9:15",
        "clientType: Backend",
    ] {
        assert!(printed.contains(part), "{part:?} is missing in\n{printed}");
    }

    let output = hearthgate(&["check", file.to_str().unwrap(), "-o", "json"]);
    assert_eq!(output.status.code(), Some(1), "the exit code does not depend on the format");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let problem = &document["problems"][0];
    assert_eq!(problem["code"], "HG1001");
    assert_eq!((problem["line"].as_u64(), problem["column"].as_u64()), (Some(9), Some(15)));
    assert_eq!((problem["kind"].as_str(), problem["name"].as_str()), (Some("App"), Some("schedule-sync")));
}

#[test]
fn check_never_shows_what_a_secret_holds() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret.yaml");
    std::fs::write(
        &file,
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: unused\n  labels: {hearthgate.dev/use: credential}\nstringData:\n  password: hunter2-hunter2-hunter2\n",
    )
    .unwrap();
    for format in ["text", "json"] {
        let output = hearthgate(&["check", file.to_str().unwrap(), "-o", format]);
        assert!(output.status.success(), "warnings never change the exit code");
        let printed = text(&output.stdout);
        assert!(printed.contains("HG8004"), "{printed}");
        assert!(!printed.contains("hunter2"), "{printed}");
    }
}

#[test]
fn what_cannot_be_run_ends_with_2_and_a_sentence() {
    for (arguments, sentence) in [
        (vec!["check", "no/such/path"], "cannot read no/such/path"),
        (vec!["status", "--server", "http://127.0.0.1:1"], "is `hearthgate serve` running?"),
        (vec!["explain", "HG9999"], "codes look like HG4001"),
        (vec!["serve", "no/such/directory"], "cannot serve no/such/directory"),
    ] {
        let output = hearthgate(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(sentence), "{arguments:?}: {}", text(&output.stderr));
    }
}

#[test]
fn explain_tells_the_same_by_number_and_by_reason() {
    let by_number = text(&hearthgate(&["explain", "HG4001"]).stdout);
    assert!(by_number.contains("AwaitingRegistration") && by_number.contains("What to do:"), "{by_number}");
    assert_eq!(text(&hearthgate(&["explain", "AwaitingRegistration"]).stdout), by_number);
}

#[test]
fn every_command_has_help_with_an_example() {
    let command = hearthgate::cli::command();
    for subcommand in command.get_subcommands().filter(|subcommand| subcommand.get_name() != "help") {
        let help = text(&hearthgate(&[subcommand.get_name(), "--help"]).stdout);
        assert!(help.contains("Example"), "hearthgate {} --help has no example", subcommand.get_name());
    }
}
