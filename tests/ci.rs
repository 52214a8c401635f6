//! The examples for continuous integration do what they say: their own scripts run here, with the built binary, in a
//! repository as they expect it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says no by panicking, and its helpers are part of it"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hearthgate::source::document;
use serde_json::Value;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_hearthgate");
/// A file of the quickstart with a word that the schema does not know.
const BROKEN: (&str, &str) = ("clientType: BackendService", "clientType: Backend");
/// A change that is valid, and that a reviewer wants to know of.
const NARROWED: (&str, &str) = ("    - system/Slot.rs\n", "");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One example, read as those read it who run it.
fn example(name: &str) -> Value {
    let text = fs::read_to_string(root().join("examples/ci").join(name)).unwrap();
    document::parse(&text).unwrap().remove(0).value.clone()
}

/// A machine that runs scripts: a directory to work in, and programs that stand in for those of others.
struct Runner {
    workspace: TempDir,
    programs: TempDir,
}

impl Runner {
    fn new() -> Self {
        let programs = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(BINARY, programs.path().join("hearthgate")).unwrap();
        Self { workspace: tempfile::tempdir().unwrap(), programs }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.workspace.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The quickstart as `<folder>/environments`, with one text in place of another.
    fn environments(&self, folder: &str, (from, to): (&str, &str)) {
        let target = self.path(folder).join("environments");
        fs::create_dir_all(&target).unwrap();
        for entry in fs::read_dir(root().join("examples/quickstart")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                let text = fs::read_to_string(&path).unwrap().replace(from, to);
                fs::write(target.join(path.file_name().unwrap()), text).unwrap();
            }
        }
    }

    /// A program of somebody else's that writes its arguments into `<name>.calls`, and says something.
    fn stand_in(&self, name: &str, says: &str) {
        let path = self.programs.path().join(name);
        let calls = self.path(&format!("{name}.calls"));
        fs::write(&path, format!("#!/bin/sh\necho \"$@\" >> '{}'\nprintf %s '{says}'\n", calls.display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs a script as both services do (of the two, as GitLab does, which is stricter): it ends at the first command that
    /// fails.
    fn run(&self, script: &str, directory: &str, environment: &[(&str, &str)]) -> Output {
        let path = format!("{}:{}", self.programs.path().display(), std::env::var("PATH").unwrap());
        Command::new("bash")
            .args(["-e", "-o", "pipefail", "-c", script])
            .current_dir(self.path(directory))
            .env("PATH", path)
            .env("GITHUB_STEP_SUMMARY", self.path("summary.md"))
            .env("HEARTHGATE_PUBLIC_URL", "https://fhir.example.org")
            .envs(environment.iter().copied())
            .output()
            .unwrap()
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The script of a step of the workflow, and where it runs.
fn step<'workflow>(workflow: &'workflow Value, name: &str) -> (&'workflow str, &'workflow str) {
    let steps = workflow["jobs"]["review"]["steps"].as_array().unwrap();
    let step = steps.iter().find(|step| step["name"] == name).unwrap_or_else(|| panic!("no step {name}"));
    (step["run"].as_str().unwrap(), step["working-directory"].as_str().unwrap_or("."))
}

#[test]
fn the_github_workflow_checks_and_leaves_findings_for_lines_and_for_code_scanning() {
    let workflow = example("github-actions.yaml");
    let (script, directory) = step(&workflow, "Check");
    let uploaded = workflow["jobs"]["review"]["steps"]
        .as_array()
        .unwrap()
        .iter()
        .find_map(|step| step["with"]["sarif_file"].as_str())
        .unwrap();
    for (change, code, results) in [(NARROWED, 0, false), (BROKEN, 1, true)] {
        let runner = Runner::new();
        runner.environments("new", change);
        let checked = runner.run(script, directory, &[]);
        let printed = text(&checked);
        assert_eq!(checked.status.code(), Some(code), "{printed}");
        assert_eq!(printed.contains("::error file=environments/app.yaml,line=9,"), results, "{printed}");
        let sarif: Value = serde_json::from_str(&runner.read(uploaded)).unwrap();
        assert_eq!(sarif["version"], "2.1.0");
        let found = sarif["runs"][0]["results"].as_array().unwrap();
        assert_eq!(found.iter().any(|result| result["level"] == "error"), results, "{sarif:#}");
    }
}

#[test]
fn the_github_workflow_plans_and_keeps_one_comment() {
    let workflow = example("github-actions.yaml");
    let (plan, directory) = step(&workflow, "Plan");
    let runner = Runner::new();
    runner.environments("old", ("", ""));
    runner.environments("new", NARROWED);
    let planned = runner.run(plan, directory, &[]);
    assert!(planned.status.success(), "{}", text(&planned));
    let written = runner.read("plan.md");
    assert!(written.starts_with("<!-- hearthgate plan -->") && written.contains("system/Slot.rs"), "{written}");
    assert_eq!(runner.read("summary.md"), written);

    let (comment, directory) = step(&workflow, "Comment");
    let comments = [("COMMENTS", "repos/clinic/platform/issues/7/comments")];
    for (known, call) in [
        ("", "api --method POST repos/clinic/platform/issues/7/comments --field body=@plan.md"),
        (
            "https://api.example.org/comments/1",
            "api --method PATCH https://api.example.org/comments/1 --field body=@plan.md",
        ),
    ] {
        runner.stand_in("gh", known);
        let commented = runner.run(comment, directory, &comments);
        assert!(commented.status.success(), "{}", text(&commented));
        assert_eq!(runner.read("gh.calls").lines().last().unwrap(), call);
    }

    // A first environment has nothing to be compared with; what cannot be compared fails the step.
    fs::remove_dir_all(runner.path("old")).unwrap();
    assert!(runner.run(plan, ".", &[]).status.success());
    assert!(runner.read("plan.md").contains("gains access"), "{}", runner.read("plan.md"));
    fs::write(runner.path("new/environments/app.yaml"), "kind: [").unwrap();
    assert!(!runner.run(plan, ".", &[]).status.success());
}

/// The script of the job, its lines one after the other, as GitLab runs them.
fn gitlab_script() -> String {
    let job = &example("gitlab-ci.yaml")["hearthgate"];
    let lines: Vec<&str> = job["script"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    lines.join("\n")
}

#[test]
fn the_gitlab_job_reports_plans_and_fails_where_check_does() {
    let job = example("gitlab-ci.yaml")["hearthgate"].clone();
    let report = job["artifacts"]["reports"]["junit"].as_str().unwrap();
    for (change, code) in [(NARROWED, 0), (BROKEN, 1)] {
        let runner = Runner::new();
        runner.environments("project", ("", ""));
        let git = |script: &str| {
            let done = runner.run(script, "project", &[]);
            assert!(done.status.success(), "{}", text(&done));
            String::from_utf8(done.stdout).unwrap().trim().to_owned()
        };
        git(
            "git init -q && git config user.email ci@example.org && git config user.name CI && git add . && git commit -qm old",
        );
        let base = git("git rev-parse HEAD");
        runner.environments("project", change);
        git("git commit -qam new");
        runner.stand_in("curl", "");
        let environment = [
            ("CI_MERGE_REQUEST_DIFF_BASE_SHA", base.as_str()),
            ("CI_API_V4_URL", "https://gitlab.example.org/api/v4"),
            ("CI_PROJECT_ID", "7"),
            ("CI_MERGE_REQUEST_IID", "11"),
            ("HEARTHGATE_GITLAB_TOKEN", "a-token-for-tests"),
        ];
        let ran = runner.run(&gitlab_script(), "project", &environment);
        assert_eq!(ran.status.code(), Some(code), "{}", text(&ran));
        let xml = runner.read(&format!("project/{report}"));
        assert!(xml.contains("<testsuites"), "{xml}");
        assert_eq!(xml.contains("<failure"), code == 1, "{xml}");
        let plan = runner.read("project/plan.md");
        assert_eq!(plan.contains("system/Slot.rs"), code == 0, "what is refused changes nothing: {plan}");
        let calls = runner.read("curl.calls");
        assert!(
            calls.contains("body@plan.md https://gitlab.example.org/api/v4/projects/7/merge_requests/11/notes"),
            "{calls}"
        );
    }
}

#[test]
fn the_argo_cd_hook_ends_as_check_does() {
    let job = example("argocd-presync/job.yaml");
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    let mounted = container["volumeMounts"][0]["mountPath"].as_str().unwrap();
    let arguments: Vec<String> = serde_json::from_value(container["args"].clone()).unwrap();
    let environment = fs::read_to_string(root().join("examples/ci/argocd-presync/environment.yaml")).unwrap();
    for (text, code) in [(environment.clone(), 0), (environment.replace("EpicR4External", "Epic"), 1)] {
        // As a ConfigMap is mounted: the file is a link into a hidden directory.
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("..2026_11_25")).unwrap();
        fs::write(folder.path().join("..2026_11_25/environment.yaml"), text).unwrap();
        std::os::unix::fs::symlink("..2026_11_25", folder.path().join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/environment.yaml", folder.path().join("environment.yaml")).unwrap();
        let place = folder.path().to_str().unwrap();
        assert!(arguments.iter().any(|argument| argument == mounted), "what is mounted is what is checked");
        let arguments = arguments.iter().map(|argument| if argument == mounted { place } else { argument });
        let checked = Command::new(BINARY).args(arguments).output().unwrap();
        assert_eq!(
            checked.status.code(),
            Some(code),
            "{}{}",
            String::from_utf8_lossy(&checked.stdout),
            String::from_utf8_lossy(&checked.stderr)
        );
    }
}
