//! Apps that run on servers, made with OAuth libraries: Authlib (Python), and openid-client (JavaScript's certified one).

use rstest::rstest;

use crate::launch::{App, Launch, Library};
use crate::support::clinic::Clinic;

#[rstest]
#[case::public_with_pkce(App::Public)]
#[case::confidential_with_a_secret_in_the_header(App::WithSecret("client_secret_basic"))]
#[case::confidential_with_a_secret_in_the_form(App::WithSecret("client_secret_post"))]
#[case::confidential_with_an_rsa_key(App::WithKey("rsa-1"))]
#[case::confidential_with_an_ec_key(App::WithKey("ec-1"))]
#[case::backend_service_with_an_rsa_key(App::Backend("rsa-1"))]
#[case::backend_service_with_an_ec_key(App::Backend("ec-1"))]
#[tokio::test]
async fn every_kind_of_app_reads_a_patient(
    #[case] app: App,
    #[values(Library::Authlib, Library::OpenidClient)] library: Library,
) {
    let clinic = Clinic::shared().await;
    let launch = Launch::of(&clinic, app);
    launch.assert_found(&clinic, &launch.run(library).await);
}
