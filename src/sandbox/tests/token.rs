//! The token endpoint refuses what Epic refuses, and says as little.

use secrecy::SecretString;

use super::*;
use crate::sandbox::Verdict;

pub(super) const BARE: &str = r#"{"error":"invalid_client","error_description":null}"#;

fn ehr_with_pem() -> Ehr {
    let ehr = Ehr::new();
    ehr.register(Credential::Pem(RSA.pem()));
    ehr
}

fn ehr_with_key_set() -> Ehr {
    let ehr = Ehr::new();
    ehr.register(Credential::Jwks(RSA.jwks()));
    ehr
}

/// The draft is refused with Epic's bare answer, and the log has the reason.
pub(super) async fn refused(ehr: &Ehr, draft: &Draft, reason: &str) {
    let answered = ehr.assert_with(draft).await;
    assert_bare(ehr, &answered, reason);
}

fn assert_bare(ehr: &Ehr, answered: &Answered, reason: &str) {
    assert_eq!((answered.status, &answered.body[..]), (StatusCode::BAD_REQUEST, BARE.as_bytes()));
    let entry = ehr.last();
    assert_eq!((entry.verdict, entry.reason.as_deref()), (Verdict::Refused, Some(reason)));
}

#[tokio::test]
async fn a_valid_assertion_gets_a_token_that_reads_a_patient() {
    let ehr = ehr_with_key_set();
    let answered = ehr.assert_with(&Draft::new(&RSA)).await;
    assert_eq!(answered.status, StatusCode::OK);
    assert_eq!(answered.header("cache-control"), Some("no-store"));
    let token = answered.json();
    assert_eq!((&token["token_type"], &token["expires_in"]), (&json!("bearer"), &json!(3600)));
    let patient = ehr.fhir(token["access_token"].as_str().unwrap(), "/Patient/erXuFYUfucBZaryVksYEcMg3").await;
    assert_eq!((patient.status, &patient.json()["id"]), (StatusCode::OK, &json!("erXuFYUfucBZaryVksYEcMg3")));

    let [issue, read] = &ehr.log()[..] else { panic!("two requests arrived") };
    assert_eq!(issue.client_id.as_deref(), Some(CLIENT));
    assert_eq!(issue.issued_token_id.as_deref(), Some("token-1"));
    assert_eq!(issue.assertion.as_ref().unwrap()["header"]["kid"], "key-1");
    assert!(!serde_json::to_string(&ehr.log()).unwrap().contains(token["access_token"].as_str().unwrap()));
    let credential = read.credential.as_ref().unwrap();
    assert_eq!(credential.token_id.as_deref(), Some("token-1"));
    assert_eq!(read.headers["authorization"], "Bearer");
    assert_eq!((read.verdict, read.status), (Verdict::Accepted, Some(200)));
}

#[tokio::test]
async fn rs256_rs384_and_rs512_are_accepted_with_a_pem_whatever_the_kid() {
    let ehr = ehr_with_pem();
    for algorithm in ["RS256", "RS384", "RS512"] {
        let draft = Draft::new(&RSA).header("alg", algorithm).header("kid", "anything");
        assert_eq!(ehr.assert_with(&draft).await.status, StatusCode::OK, "{algorithm}");
    }
    assert_eq!(ehr.assert_with(&Draft::new(&RSA).without("kid").without("typ")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_certificate_is_as_good_as_a_public_key() {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    let ehr = Ehr::new();
    ehr.register(Credential::Pem(parameters.self_signed(&pair).unwrap().pem()));
    let own = RsaKeyPair::from_pkcs8(&pair.serialize_der()).unwrap();
    let draft = Draft::new(&RSA);
    let assertion = signed(&Key::Rsa(own), &draft.header.to_string(), &draft.claims.to_string());
    assert_eq!(ehr.assert_raw(&assertion).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_assertion_without_iat_that_ends_in_exactly_five_minutes_is_accepted() {
    let ehr = ehr_with_pem();
    assert_eq!(ehr.assert_with(&Draft::new(&RSA).without("iat").time("exp", 300)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn another_audience_than_the_exact_token_url_is_refused() {
    let ehr = ehr_with_pem();
    let reason = |aud: &str| format!("aud is {aud}, it must be exactly the token URL \"{BASE}{TOKEN_PATH}\"");
    for aud in [format!("{BASE}{TOKEN_PATH}/"), BASE.to_owned(), format!("HTTP://ehr.test{TOKEN_PATH}")] {
        refused(&ehr, &Draft::new(&RSA).claim("aud", aud.as_str()), &reason(&format!("\"{aud}\""))).await;
    }
    let array = json!([format!("{BASE}{TOKEN_PATH}")]);
    refused(&ehr, &Draft::new(&RSA).claim("aud", array.clone()), &reason(&array.to_string())).await;
    refused(&ehr, &Draft::new(&RSA).without("aud"), &reason("null")).await;
}

#[tokio::test]
async fn an_expired_assertion_is_refused() {
    let ehr = ehr_with_pem();
    let draft = Draft::new(&RSA).time("iat", -240).time("exp", -10);
    let answered = ehr.assert_with(&draft).await;
    assert_eq!(&answered.body[..], BARE.as_bytes());
    assert!(ehr.last().reason.unwrap().starts_with("exp is past: 1"));
}

#[tokio::test]
async fn an_assertion_that_ends_in_more_than_five_minutes_is_refused() {
    let ehr = ehr_with_pem();
    let answered = ehr.assert_with(&Draft::new(&RSA).without("iat").time("exp", 400)).await;
    assert_eq!(&answered.body[..], BARE.as_bytes());
    assert!(ehr.last().reason.unwrap().ends_with("seconds ahead, at most 300 are allowed"));
}

#[tokio::test]
async fn an_assertion_that_lives_longer_than_five_minutes_is_refused() {
    let ehr = ehr_with_pem();
    for claim in ["iat", "nbf"] {
        let now = Timestamp::now().as_second();
        let draft = Draft::new(&RSA).claim(claim, now - 200).claim("exp", now + 101);
        refused(&ehr, &draft, &format!("exp is 301 seconds after {claim}, at most 300 are allowed")).await;
    }
}

#[tokio::test]
async fn an_assertion_of_the_future_is_refused() {
    let ehr = ehr_with_pem();
    for claim in ["iat", "nbf"] {
        let answered = ehr.assert_with(&Draft::new(&RSA).time(claim, 60)).await;
        assert_eq!(&answered.body[..], BARE.as_bytes());
        assert!(ehr.last().reason.unwrap().starts_with(&format!("{claim} lies ")));
    }
}

#[tokio::test]
async fn times_that_are_not_integers_are_refused() {
    let ehr = ehr_with_pem();
    for (claim, value) in
        [("exp", json!("1999999999")), ("exp", json!(1.5)), ("iat", json!("now")), ("nbf", json!(null))]
    {
        let reason = format!("{claim} is missing or is not an integer of seconds");
        refused(&ehr, &Draft::new(&RSA).claim(claim, value), &reason).await;
    }
    refused(&ehr, &Draft::new(&RSA).without("exp"), "exp is missing or is not an integer of seconds").await;
}

#[tokio::test]
async fn a_replayed_assertion_is_refused() {
    let ehr = ehr_with_pem();
    let draft = Draft::new(&RSA).claim("jti", "once");
    assert_eq!(ehr.assert_with(&draft).await.status, StatusCode::OK);
    refused(&ehr, &draft, "the jti \"once\" has been used before").await;
    refused(&ehr, &Draft::new(&RSA).claim("jti", "once"), "the jti \"once\" has been used before").await;
}

#[tokio::test]
async fn a_refused_assertion_does_not_use_its_jti_up() {
    let ehr = ehr_with_pem();
    let forged = Draft { key: &OTHER_RSA, ..Draft::new(&RSA).claim("jti", "mine") };
    refused(&ehr, &forged, "the signature does not verify with the registered key").await;
    assert_eq!(ehr.assert_with(&Draft::new(&RSA).claim("jti", "mine")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn of_many_copies_at_once_exactly_one_is_accepted() {
    let ehr = ehr_with_pem();
    let draft = Draft::new(&RSA);
    let answers = futures_util::future::join_all((0..8).map(|_| ehr.assert_with(&draft))).await;
    assert_eq!(answers.iter().filter(|answered| answered.status == StatusCode::OK).count(), 1);
}

#[tokio::test]
async fn a_jti_that_is_missing_too_long_or_no_text_is_refused() {
    let ehr = ehr_with_pem();
    let longest = "é".repeat(151);
    assert_eq!(ehr.assert_with(&Draft::new(&RSA).claim("jti", longest)).await.status, StatusCode::OK);
    let too_long = "jti has 152 characters, at most 151 are allowed";
    refused(&ehr, &Draft::new(&RSA).claim("jti", "x".repeat(152)), too_long).await;
    for draft in [Draft::new(&RSA).without("jti"), Draft::new(&RSA).claim("jti", 7), Draft::new(&RSA).claim("jti", "")]
    {
        refused(&ehr, &draft, "jti is missing, empty or not a string").await;
    }
}

#[tokio::test]
async fn issuer_and_subject_must_be_the_registered_client() {
    let ehr = ehr_with_pem();
    let differs = format!("sub \"other\" is not the same as iss {CLIENT:?}");
    refused(&ehr, &Draft::new(&RSA).claim("sub", "other"), &differs).await;
    refused(&ehr, &Draft::new(&RSA).without("iss"), "iss is missing or is not a string").await;
    let unknown = Draft::new(&RSA).claim("iss", "nobody").claim("sub", "nobody");
    refused(&ehr, &unknown, "no client is registered with the ID \"nobody\"").await;
}

#[tokio::test]
async fn a_client_id_parameter_must_be_the_issuer() {
    let ehr = ehr_with_pem();
    let assertion = Draft::new(&RSA).signed();
    let form = |client_id| {
        [
            ("grant_type", "client_credentials"),
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", assertion.as_str()),
            ("client_id", client_id),
        ]
    };
    let answered = ehr.token_request(&form("other")).await;
    assert_bare(&ehr, &answered, &format!("the client_id parameter \"other\" is not the iss {CLIENT:?}"));
    assert_eq!(ehr.token_request(&form(CLIENT)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn algorithms_that_epic_does_not_name_are_refused() {
    let ehr = ehr_with_pem();
    for algorithm in ["none", "HS256", "PS384", "EdDSA", "rs384"] {
        let reason = format!("alg is {algorithm:?}; Epic takes RS256, RS384, RS512, ES256 and ES384");
        refused(&ehr, &Draft::new(&RSA).header("alg", algorithm), &reason).await;
    }
    let reason = "alg is null; Epic takes RS256, RS384, RS512, ES256 and ES384";
    refused(&ehr, &Draft::new(&RSA).without("alg"), reason).await;
}

#[tokio::test]
async fn elliptic_curves_are_refused_where_no_key_set_url_is_registered() {
    let ehr = Ehr::new();
    ehr.register(Credential::Jwks(P384.jwks()));
    let reason = "alg is ES384, which Epic takes only from clients registered with a JWK Set URL";
    refused(&ehr, &Draft::new(&P384), reason).await;
}

#[tokio::test]
async fn headers_that_epic_does_not_take_are_refused() {
    let ehr = ehr_with_pem();
    refused(&ehr, &Draft::new(&RSA).header("typ", "at+jwt"), "typ is \"at+jwt\", it must be JWT where it is given")
        .await;
    let critical = Draft::new(&RSA).header("crit", json!(["b64"]));
    refused(&ehr, &critical, "the header has crit: no extension is understood").await;
    let jku = Draft::new(&RSA).header("jku", "https://evil.test/jwks.json");
    refused(&ehr, &jku, "jku is not the registered JWK Set URL").await;
}

#[tokio::test]
async fn the_kid_must_name_exactly_one_key_of_the_set() {
    let ehr = ehr_with_key_set();
    let unknown = "the registered JWK Set: it has no RSA key with the kid \"key-2\"";
    refused(&ehr, &Draft::new(&RSA).header("kid", "key-2"), unknown).await;
    let missing = "kid is missing, and the client is registered with a JWK Set";
    refused(&ehr, &Draft::new(&RSA).without("kid"), missing).await;
    refused(&ehr, &Draft::new(&RSA).header("kid", 1), "kid is not a string").await;
    ehr.register(Credential::Jwks(json!({ "keys": [RSA.jwk("key-1"), OTHER_RSA.jwk("key-1")] })));
    let several = "the registered JWK Set: it has 2 keys with the kid \"key-1\", exactly one must match";
    refused(&ehr, &Draft::new(&RSA), several).await;
}

#[tokio::test]
async fn a_key_that_is_not_for_this_signature_is_refused() {
    let ehr = Ehr::new();
    let with = |name: &str, value: Value| {
        let mut jwk = RSA.jwk("key-1");
        jwk[name] = value;
        ehr.register(Credential::Jwks(json!({ "keys": [jwk] })));
    };
    with("use", json!("enc"));
    refused(
        &ehr,
        &Draft::new(&RSA),
        "the registered JWK Set: the key \"key-1\" is not for signatures (use is \"enc\")",
    )
    .await;
    with("key_ops", json!(["encrypt"]));
    refused(&ehr, &Draft::new(&RSA), "the registered JWK Set: the key \"key-1\" is not for verifying (key_ops)").await;
    with("alg", json!("RS512"));
    let wrong = "the registered JWK Set: the key \"key-1\" is for the algorithm RS512, the assertion says RS384";
    refused(&ehr, &Draft::new(&RSA), wrong).await;
    with("n", json!(URL_SAFE_NO_PAD.encode([0xff; 128])));
    let small = "the registered JWK Set: the key \"key-1\" cannot be used: the RSA key has 1024 bits, at least 2048 are \
                 needed";
    refused(&ehr, &Draft::new(&RSA), small).await;
}

#[tokio::test]
async fn a_changed_assertion_is_refused() {
    let ehr = ehr_with_pem();
    let assertion = Draft::new(&RSA).signed();
    let (message, signature) = assertion.rsplit_once('.').unwrap();
    let swap = if signature.starts_with('A') { "B" } else { "A" };
    let answered = ehr.assert_raw(&format!("{message}.{swap}{}", &signature[1..])).await;
    assert_bare(&ehr, &answered, "the signature does not verify with the registered key");
    let not_compact = "the client_assertion is not a compact JWS: header.claims.signature in base64url without padding";
    for broken in [message.to_owned(), format!("{assertion}="), format!("{assertion}.x"), "...".to_owned()] {
        let answered = ehr.assert_raw(&broken).await;
        assert_eq!(&answered.body[..], BARE.as_bytes());
        let reason = ehr.last().reason.unwrap();
        assert!(
            reason == not_compact || reason.starts_with("the header of the client_assertion"),
            "{broken}: {reason}"
        );
    }
    let answered = ehr.assert_raw(&"x".repeat(20_000)).await;
    assert_bare(&ehr, &answered, "the client_assertion is longer than 16 KiB");
}

#[tokio::test]
async fn a_claim_given_twice_is_refused() {
    let ehr = ehr_with_pem();
    let draft = Draft::new(&RSA);
    let claims = draft.claims.to_string().replacen('{', r#"{"aud":"elsewhere","#, 1);
    let assertion = signed(&RSA, &draft.header.to_string(), &claims);
    let answered = ehr.assert_raw(&assertion).await;
    assert_bare(&ehr, &answered, "the claims of the client_assertion is not a JSON object with unique members");
}

#[tokio::test]
async fn another_assertion_type_is_refused() {
    let ehr = ehr_with_pem();
    let assertion = Draft::new(&RSA).signed();
    let form = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"),
        ("client_assertion", assertion.as_str()),
    ];
    let reason = format!(
        "client_assertion_type is \"urn:ietf:params:oauth:client-assertion-type:saml2-bearer\", it must be \
         {ASSERTION_TYPE}"
    );
    let answered = ehr.token_request(&form).await;
    assert_bare(&ehr, &answered, &reason);
}

#[tokio::test]
async fn a_malformed_request_is_told_apart_from_a_failed_authentication() {
    let ehr = ehr_with_pem();
    let assertion = Draft::new(&RSA).signed();
    let whole = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", assertion.as_str()),
    ];
    let error = |answered: &Answered| (answered.status.as_u16(), answered.json()["error"].clone());
    let invalid = (400, json!("invalid_request"));

    assert_eq!(error(&ehr.token_request(&whole[1..]).await), invalid);
    let unsupported = ehr.token_request(&[("grant_type", "password")]).await;
    assert_eq!(error(&unsupported), (400, json!("unsupported_grant_type")));
    let twice: Vec<_> = whole.iter().chain(&whole[..1]).copied().collect();
    assert_eq!(error(&ehr.token_request(&twice).await), invalid);
    let both: Vec<_> = whole.iter().copied().chain([("client_secret", "x")]).collect();
    assert_eq!(error(&ehr.token_request(&both).await), invalid);
    let with_basic = ehr.token_request_with(&whole, &[("authorization", "Basic eDp5")]).await;
    assert_eq!(error(&with_basic), invalid);
    let json_body = ehr.post_json(TOKEN_PATH, &json!({ "grant_type": "client_credentials" })).await;
    assert_eq!(error(&json_body), invalid);
    assert_eq!(ehr.get(TOKEN_PATH).await.status, StatusCode::METHOD_NOT_ALLOWED);
    let nothing = ehr.token_request(&whole[..1]).await;
    assert_bare(&ehr, &nothing, "no client authentication: neither an assertion, nor a secret");
}

#[tokio::test]
async fn a_body_above_64_kib_is_refused() {
    let ehr = ehr_with_pem();
    let answered = ehr.token_request(&[("grant_type", &"x".repeat(70_000))]).await;
    assert_eq!(answered.status, StatusCode::PAYLOAD_TOO_LARGE);
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

#[tokio::test]
async fn a_client_secret_is_accepted_by_basic_and_by_post_in_its_urlencoded_form() {
    let ehr = Ehr::new();
    ehr.register(Credential::ClientSecret(SecretString::from("a+b/c%2F== 16 chars")));
    let form = [("grant_type", "client_credentials")];
    let encoded = basic(CLIENT, "a%2Bb%2Fc%252F%3D%3D+16+chars");
    assert_eq!(ehr.token_request_with(&form, &[("authorization", &encoded)]).await.status, StatusCode::OK);
    let post = [("grant_type", "client_credentials"), ("client_id", CLIENT), ("client_secret", "a+b/c%2F== 16 chars")];
    assert_eq!(ehr.token_request(&post).await.status, StatusCode::OK);
    assert_eq!(ehr.last().parameters.unwrap().get("client_secret"), None);
}

#[tokio::test]
async fn a_wrong_secret_and_an_unknown_client_get_the_same_bytes() {
    let ehr = Ehr::new();
    ehr.register(Credential::ClientSecret(SecretString::from("right")));
    let form = [("grant_type", "client_credentials")];
    let mut answers = Vec::new();
    for (id, secret, reason) in [
        (CLIENT, "wrong", "the client secret is wrong".to_owned()),
        ("nobody", "right", "no client is registered with the ID \"nobody\"".to_owned()),
    ] {
        let header = basic(id, secret);
        let by_header = ehr.token_request_with(&form, &[("authorization", &header)]).await;
        assert_eq!(ehr.last().reason, Some(reason.clone()));
        let post = [form[0], ("client_id", id), ("client_secret", secret)];
        let by_post = ehr.token_request(&post).await;
        assert_bare(&ehr, &by_post, &reason);
        answers.push((by_header.status, by_header.headers, by_header.body));
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!((answers[0].0, &answers[0].2[..]), (StatusCode::UNAUTHORIZED, BARE.as_bytes()));
}

#[tokio::test]
async fn a_client_must_use_the_sort_of_credential_that_it_registered() {
    let ehr = Ehr::new();
    ehr.register(Credential::ClientSecret(SecretString::from("right")));
    refused(&ehr, &Draft::new(&RSA), "the client is registered with a secret, not with a key").await;
    ehr.register(Credential::Pem(RSA.pem()));
    let post = [("grant_type", "client_credentials"), ("client_id", CLIENT), ("client_secret", "right")];
    let answered = ehr.token_request(&post).await;
    assert_bare(&ehr, &answered, "the client is registered with a key, not with a secret");
}
