//! Authlib, Python's OAuth library.

use rstest::rstest;

use crate::launch::{Launch, libraries};
use crate::support::clinic::Clinic;

#[rstest]
#[case("rsa-1")]
#[case("ec-1")]
#[tokio::test]
async fn a_backend_service_with_a_key_reads_a_patient(#[case] key: &str) {
    let clinic = Clinic::start().await;
    let launch = Launch::backend(&clinic, key);
    Launch::assert_found(&launch.run(&libraries().join("python/bin/python"), "authlib/client.py").await);
}
