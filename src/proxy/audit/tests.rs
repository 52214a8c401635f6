use std::collections::BTreeSet;
use std::fs;
use std::io::BufReader;
use std::path::Path;

use serde_json::{Value, json};

use super::*;

fn entry(number: u16) -> Entry {
    Entry {
        time: "2026-06-10T12:00:00.5Z".parse().unwrap(),
        request_id: format!("request-{number}"),
        app: Some("default/app".into()),
        client_id: Some("client".into()),
        user: None,
        gateway: Some("default/gate".into()),
        activation: Some("default/act".into()),
        activation_generation: Some(3),
        git_revision: Some("0123abc".into()),
        endpoint: "fhir",
        interaction: Some("read"),
        resource_type: Some("Patient".into()),
        decision: "permit",
        code: None,
        status: 200,
    }
}

struct Log {
    log: AuditLog,
    finished: Finished,
    metrics: Arc<Metrics>,
}

impl Log {
    fn open(path: &Path, longest: u64) -> Self {
        let metrics = Arc::new(Metrics::default());
        let destination = Destination::File { path: path.to_path_buf(), longest };
        let (log, finished) = AuditLog::open(destination, Arc::clone(&metrics)).unwrap();
        Self { log, finished, metrics }
    }

    async fn write(&self, numbers: std::ops::Range<u16>) {
        for number in numbers {
            self.log.queue.send(Order::Write(Box::new(entry(number)))).await.unwrap();
        }
    }

    async fn close(self) {
        drop(self.log);
        self.finished.await.unwrap();
    }
}

fn verified(path: &Path, after: Option<&str>) -> Result<Verified, Broken> {
    verify(BufReader::new(fs::File::open(path).unwrap()), after)
}

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_line_says_who_did_what_and_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let log = Log::open(&path, u64::MAX);
    log.write(0..1).await;
    log.close().await;
    assert_eq!(
        lines(&path),
        [json!({
            "time": "2026-06-10T12:00:00.5Z", "requestId": "request-0", "app": "default/app", "clientId": "client",
            "gateway": "default/gate", "activation": "default/act", "activationGeneration": 3, "gitRevision": "0123abc",
            "endpoint": "fhir", "interaction": "read", "resourceType": "Patient", "decision": "permit", "status": 200,
            "previous": verify::BEGINNING,
        })]
    );
}

#[tokio::test]
async fn the_chain_goes_on_after_a_restart_and_shows_every_change() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    for part in [0..5, 5..10] {
        let log = Log::open(&path, u64::MAX);
        log.write(part).await;
        log.close().await;
    }
    let whole = verified(&path, Some(verify::BEGINNING)).unwrap();
    assert_eq!((whole.lines, whole.lost), (10, 0));
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let without_fourth: String =
        [&lines[..3], &lines[4..]].concat().into_iter().flat_map(|line| [line, "\n"]).collect();
    for (changed, line) in [
        (text.replacen("request-3", "request-X", 1), 5),
        (without_fourth, 4),
        (format!("{}\n{text}", lines[9]), 2),
        (text.trim_end().to_owned(), 10),
    ] {
        let broken = verify(changed.as_bytes(), None).unwrap_err();
        assert!(matches!(broken, Broken::NotChained(at) | Broken::NoLine(at) if at == line), "{line}: {broken}");
    }
}

#[tokio::test]
async fn files_are_put_aside_by_size_and_nothing_is_lost_between_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let log = Log::open(&path, 1500);
    log.write(0..20).await;
    log.close().await;
    let files: BTreeSet<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() > 3, "{files:?}");
    // `audit.log.<time>` sorts behind `audit.log`, which is the newest.
    let order = files.iter().filter(|file| **file != path).chain([&path]);
    let (mut after, mut requests) = (verify::BEGINNING.to_owned(), Vec::new());
    for file in order {
        assert!(fs::metadata(file).unwrap().len() <= 1500);
        after = verified(file, Some(&after)).unwrap_or_else(|broken| panic!("{}: {broken}", file.display())).last;
        requests.extend(lines(file).into_iter().map(|line| line["requestId"].as_str().unwrap().to_owned()));
    }
    assert_eq!(requests, (0..20).map(|number| format!("request-{number}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_file_that_somebody_else_renames_is_begun_anew_when_told() {
    let directory = tempfile::tempdir().unwrap();
    let (path, aside) = (directory.path().join("audit.log"), directory.path().join("audit.log.1"));
    let log = Log::open(&path, u64::MAX);
    log.write(0..5).await;
    while log.metrics.audit_records.get() < 5 {
        tokio::task::yield_now().await;
    }
    fs::rename(&path, &aside).unwrap();
    log.write(5..7).await;
    log.log.reopen().await;
    log.write(7..10).await;
    log.close().await;
    let first = verified(&aside, Some(verify::BEGINNING)).unwrap();
    let second = verified(&path, Some(&first.last)).unwrap();
    assert_eq!((first.lines, second.lines), (7, 3));
}

#[tokio::test]
async fn a_full_disk_loses_lines_loudly_and_the_next_line_tells_how_many() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let log = Log::open(&path, u64::MAX);
    log.write(0..3).await;
    while log.metrics.audit_lost.get() < 3 {
        tokio::task::yield_now().await;
    }
    fs::remove_file(&path).unwrap();
    log.log.reopen().await;
    log.write(3..5).await;
    let metrics = Arc::clone(&log.metrics);
    log.close().await;
    assert_eq!((metrics.audit_records.get(), metrics.audit_lost.get()), (2, 3));
    let lines = lines(&path);
    assert_eq!((lines[0]["lost"].as_u64(), lines[1].get("lost")), (Some(3), None));
    assert_eq!(verified(&path, None).unwrap().lost, 3);
}
