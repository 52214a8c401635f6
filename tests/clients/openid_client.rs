//! openid-client, JavaScript's certified OpenID library, on Node.js.

use std::path::Path;

use rstest::rstest;

use crate::launch::Launch;
use crate::support::clinic::Clinic;

#[rstest]
#[case("rsa-1")]
#[case("ec-1")]
#[tokio::test]
async fn a_backend_service_with_a_key_reads_a_patient(#[case] key: &str) {
    let clinic = Clinic::start().await;
    let launch = Launch::backend(&clinic, key);
    Launch::assert_found(&launch.run(Path::new("node"), "openid-client/client.mjs").await);
}
