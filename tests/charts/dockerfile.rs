//! The Dockerfile, as far as it can be judged without building it.

use std::fs;
use std::path::Path;

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Instructions and their arguments.
fn instructions() -> Vec<(String, String)> {
    text("Dockerfile")
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(' ').unwrap_or_else(|| panic!("{line}")))
        .map(|(instruction, rest)| (instruction.to_owned(), rest.to_owned()))
        .collect()
}

#[test]
fn the_image_is_built_in_stages_and_holds_the_binary_alone() {
    let all = instructions();
    let stages: Vec<_> = all.iter().filter(|(name, _)| name == "FROM").map(|(_, image)| image.as_str()).collect();
    assert_eq!(stages, ["rust:1.95-slim-bookworm AS build", "gcr.io/distroless/cc-debian12:nonroot"]);
    let last: Vec<_> = all.rsplit(|(name, _)| name == "FROM").next().expect("a stage").to_vec();
    let expected = [
        ("COPY", "--from=build /source/target/release/hearthgate /usr/local/bin/hearthgate"),
        ("USER", "65532:65532"),
        ("EXPOSE", "8080 9090"),
        ("ENTRYPOINT", r#"["/usr/local/bin/hearthgate"]"#),
    ];
    assert_eq!(last, expected.map(|(name, rest)| (name.to_owned(), rest.to_owned())));
    assert!(all.iter().any(|(name, rest)| name == "RUN" && rest == "cargo build --release --locked --bin hearthgate"));
}

#[test]
fn the_builder_is_the_toolchain_that_the_package_asks_for() {
    let manifest = text("Cargo.toml");
    let version = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).expect("rust-version");
    assert!(text("Dockerfile").contains(&format!("FROM rust:{}-slim", version.trim_matches('"'))));
}

#[test]
fn the_build_context_is_what_the_build_reads() {
    let ignored = text(".dockerignore");
    let mut lines = ignored.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(lines.next(), Some("*"), "everything is left out first");
    let sent: Vec<_> = lines.map(|line| line.strip_prefix('!').unwrap_or_else(|| panic!("{line}"))).collect();
    for path in &sent {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists(), "{path} is not there");
    }
    for wanted in ["Cargo.toml", "Cargo.lock", "src"] {
        assert!(sent.contains(&wanted), "{wanted}");
    }
    for secret in [".git", "target", ".hearthgate"] {
        assert!(!sent.contains(&secret), "{secret}");
    }
}
