//! The API server away, leaders gone, and nothing to do.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::StatusCode;

use super::installation::{Installation, PATIENCE, eventually};
use crate::support::control_plane::ControlPlane;

/// How long the API server is away.
const OUTAGE: Duration = Duration::from_secs(60);
/// Apps that call all the while.
const CALLERS: usize = 4;

#[tokio::test]
async fn a_converged_operator_writes_nothing() {
    let plane = ControlPlane::shared().await;
    let (installation, _operator) = Installation::start(plane, 2).await;
    installation.climb().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = installation.writes();
    tokio::time::sleep(Duration::from_secs(120)).await;
    let after = installation.writes();
    assert_eq!(after.len(), before.len(), "{:?}", &after[before.len()..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_api_server_everything_is_served_and_with_it_again_edits_are_within_five_seconds() {
    let plane = ControlPlane::start().await;
    plane.install_crds().await;
    let (installation, mut operator) = Installation::start(&plane, 1).await;
    installation.climb().await;
    let proxy = &installation.proxies[0];
    let app = installation.get("smartapp", "schedule-sync").await.unwrap();
    let client_id = app["status"]["clientId"].as_str().unwrap();

    plane.stop_apiserver();
    let start = Instant::now();
    let caller = async || {
        let mut served = 0_u32;
        while start.elapsed() < OUTAGE {
            let (status, text) = installation.call_as(proxy, client_id).await;
            assert_eq!(status, StatusCode::OK, "{text}");
            served += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        served
    };
    let served: u32 = join_all((0..CALLERS).map(|_| caller())).await.into_iter().sum();
    eprintln!("{served} tokens and as many reads were served in {OUTAGE:?} without an API server");
    assert!(served > 1000, "{served}");
    assert!(proxy.is_ready(&installation.client).await);
    // Its Lease is lost after 10 s, and it ends; whoever started it starts it again.
    assert!(operator.has_ended());
    plane.start_apiserver().await;
    let back = Instant::now();
    let suspend = r#"{"spec":{"suspend":true}}"#;
    installation.kubectl(&["patch", "fhirgateway/epic", "--type=merge", "-p", suspend]).await;
    eventually(Duration::from_secs(6), "the edit is served", || async {
        installation.call_as(proxy, client_id).await.0 != StatusCode::OK
    })
    .await;
    eprintln!("an edit was served {:?} after the API server's return", back.elapsed());
    operator.restart();
    installation.wait_for("Programmed", "False", "Suspended").await;
}

#[tokio::test]
async fn a_standby_takes_over_within_20_seconds_and_at_once_from_a_leader_that_ends() {
    let plane = ControlPlane::shared().await;
    let (installation, mut leader) = Installation::start(plane, 1).await;
    installation.climb().await;
    let standby = installation.operator().await;
    eventually(PATIENCE, "it stands by", || async { standby.log().contains("standing by") }).await;
    // A rollout must not wait for it to lead.
    eventually(PATIENCE, "it is ready", || standby.is_ready(&installation.client)).await;

    leader.kill();
    let took = eventually(Duration::from_secs(20), "the standby leads", || async { standby.leads() }).await;
    eprintln!("the standby led {took:?} after the leader was killed");
    let third = installation.operator().await;
    eventually(PATIENCE, "it stands by", || async { third.log().contains("standing by") }).await;
    let mut standby = standby;
    assert!(standby.terminate().success());
    let took = eventually(Duration::from_secs(4), "the third leads", || async { third.leads() }).await;
    eprintln!("the third led {took:?} after the second had ended");
    let writes = installation.writes().len();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(installation.writes().len(), writes, "a new leader writes what is there already");
}

#[tokio::test]
async fn a_replica_that_ends_is_told_only_when_it_stays_away() {
    let plane = ControlPlane::shared().await;
    let (mut installation, _operator) = Installation::start(plane, 2).await;
    installation.climb().await;
    assert_eq!(installation.activation().await["status"]["served"], "2/2");
    let writes = installation.writes().len();
    let mut proxy = installation.proxies.remove(1);
    assert!(proxy.terminate().success());
    proxy.restart();
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(installation.writes().len(), writes, "{:?}", &installation.writes()[writes..]);
    proxy.kill();
    installation.wait_for("Programmed", "False", "Pending").await;
    assert_eq!(installation.activation().await["status"]["served"], "1/2");
    proxy.restart();
    installation.wait_ready().await;
}
