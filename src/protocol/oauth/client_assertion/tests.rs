//! What is taken and what is not. Each refusal differs from a good assertion in one thing.

use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::protocol::test_support::{AppKey, CLIENT_ID, World, claims};

const OURSELVES: [&str; 2] =
    ["https://gate.example.org/default/epic/oauth2/token", "https://gate.example.org/default/epic"];

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// Why an assertion is no proof.
#[derive(Debug, PartialEq)]
enum Refused {
    ByItself(AssertionRefused),
    ByRegistration(Unproven),
}

/// The whole way that an assertion goes in front of an app with these keys inline.
fn proven_with(text: &str, keys: &Value) -> Result<(), Refused> {
    let world = World::before("http://127.0.0.1:9").set("App", "schedule-sync", "jwks", keys.clone());
    let assertion = ClientAssertion::parse(text, None).map_err(Refused::ByItself)?;
    assertion.judge(&OURSELVES, now()).map_err(Refused::ByItself)?;
    let snapshot = world.compile();
    let app = assertion.app(&snapshot).map_err(Refused::ByRegistration)?;
    assertion.verify(app.inline_keys.as_ref().unwrap()).map_err(Refused::ByRegistration)
}

fn set(mut value: Value, changes: &Value) -> Value {
    for (name, change) in changes.as_object().unwrap() {
        match change {
            Value::Null => drop(value.as_object_mut().unwrap().remove(name)),
            change => value[name] = change.clone(),
        }
    }
    value
}

/// A good assertion with changes to header and claims; `null` takes a member away.
fn with(header: &Value, changed: &Value) -> Result<(), Refused> {
    let key = AppKey::generate();
    let text = key.sign(&set(key.header(), header), &set(claims(CLIENT_ID, "jti-1", now()), changed));
    proven_with(&text, &key.jwks())
}

#[rstest]
#[case::as_inferno_sends_it(json!({}), json!({}))]
#[case::without_typ(json!({"typ": null}), json!({}))]
#[case::with_the_typ_of_rfc7523bis(json!({"typ": "client-authentication+jwt"}), json!({}))]
#[case::with_typ_in_lower_case(json!({"typ": "jwt"}), json!({}))]
#[case::without_kid_where_one_key_fits(json!({"kid": null}), json!({}))]
#[case::with_the_thumbprint_of_a_certificate(json!({"x5t": "AAAA"}), json!({}))]
#[case::for_the_issuer(json!({}), json!({"aud": "https://gate.example.org/default/epic"}))]
#[case::for_a_list_of_one(json!({}), json!({"aud": ["https://gate.example.org/default/epic"]}))]
#[case::for_both_of_our_names(json!({}), json!({"aud": OURSELVES}))]
#[case::with_a_fraction_of_a_second(json!({}), json!({"exp": 1_767_225_600.75 + 299.0}))]
#[case::with_claims_that_nobody_reads(json!({}), json!({"scope": "system/*.cruds", "nonce": [1, {"a": null}]}))]
#[case::from_a_clock_that_is_ahead(json!({}), json!({"iat": 1_767_225_630, "nbf": 1_767_225_630, "exp": 1_767_225_930}))]
#[case::from_a_clock_that_is_behind(json!({}), json!({"exp": 1_767_225_571}))]
fn a_good_assertion_proves_its_client(#[case] header: Value, #[case] changed: Value) {
    assert_eq!(with(&header, &changed), Ok(()));
}

#[rstest]
#[case::none(json!({"alg": "none"}), AssertionRefused::Algorithm)]
#[case::symmetric(json!({"alg": "HS256"}), AssertionRefused::Algorithm)]
#[case::unknown(json!({"alg": "ES512"}), AssertionRefused::Algorithm)]
#[case::in_lower_case(json!({"alg": "es384"}), AssertionRefused::Algorithm)]
#[case::a_number(json!({"alg": 384}), AssertionRefused::Algorithm)]
#[case::left_out(json!({"alg": null}), AssertionRefused::Algorithm)]
#[case::an_access_token(json!({"typ": "at+jwt"}), AssertionRefused::JwtType)]
#[case::no_text(json!({"typ": 1}), AssertionRefused::HeaderParameter("typ"))]
#[case::kid_no_text(json!({"kid": 1}), AssertionRefused::HeaderParameter("kid"))]
#[case::jku_no_text(json!({"jku": ["https://a.example"]}), AssertionRefused::HeaderParameter("jku"))]
#[case::brings_a_key(json!({"jwk": {"kty": "EC"}}), AssertionRefused::HeaderParameter("jwk"))]
#[case::brings_a_certificate(json!({"x5u": "https://evil.example/x"}), AssertionRefused::HeaderParameter("x5u"))]
#[case::critical(json!({"crit": ["exp"]}), AssertionRefused::HeaderParameter("crit"))]
#[case::unencoded(json!({"b64": false}), AssertionRefused::HeaderParameter("b64"))]
fn a_header_that_cannot_be_taken_is_refused(#[case] header: Value, #[case] refused: AssertionRefused) {
    assert_eq!(with(&header, &json!({})), Err(Refused::ByItself(refused)));
}

#[rstest]
#[case(json!({"iss": "another"}), AssertionRefused::ClientId)]
#[case(json!({"sub": "another"}), AssertionRefused::ClientId)]
#[case(json!({"iss": null}), AssertionRefused::Claim("iss"))]
#[case(json!({"sub": null}), AssertionRefused::Claim("sub"))]
#[case(json!({"sub": [CLIENT_ID]}), AssertionRefused::Claim("sub"))]
#[case(json!({"aud": null}), AssertionRefused::Claim("aud"))]
#[case(json!({"aud": []}), AssertionRefused::Claim("aud"))]
#[case(json!({"aud": [[OURSELVES[0]]]}), AssertionRefused::Claim("aud"))]
#[case(json!({"aud": {"a": OURSELVES[0]}}), AssertionRefused::Claim("aud"))]
#[case(json!({"aud": "https://gate.example.org/default/plain/oauth2/token"}), AssertionRefused::Audience)]
#[case(json!({"aud": "https://gate.example.org/default/epic/"}), AssertionRefused::Audience)]
#[case(json!({"aud": "https://gate.example.org/default/epic/oauth2/token?a"}), AssertionRefused::Audience)]
#[case(json!({"aud": [OURSELVES[0], "https://another.example/token"]}), AssertionRefused::Audience)]
#[case(json!({"exp": null}), AssertionRefused::Claim("exp"))]
#[case(json!({"exp": "1767225900"}), AssertionRefused::Claim("exp"))]
#[case(json!({"exp": true}), AssertionRefused::Claim("exp"))]
#[case(json!({"exp": -1}), AssertionRefused::Claim("exp"))]
#[case(json!({"exp": 1e300}), AssertionRefused::Claim("exp"))]
#[case(json!({"exp": u64::MAX}), AssertionRefused::Claim("exp"))]
#[case(json!({"exp": 1_767_225_570}), AssertionRefused::Expired)]
#[case(json!({"exp": 0}), AssertionRefused::Expired)]
#[case(json!({"exp": 1_767_225_931}), AssertionRefused::TooFarAhead)]
#[case(json!({"exp": 4_000_000_000_i64}), AssertionRefused::TooFarAhead)]
#[case(json!({"nbf": 1_767_225_631}), AssertionRefused::NotYet)]
#[case(json!({"iat": 1_767_225_631}), AssertionRefused::NotYet)]
#[case(json!({"iat": "now"}), AssertionRefused::Claim("iat"))]
#[case(json!({"nbf": "now"}), AssertionRefused::Claim("nbf"))]
#[case(json!({"jti": null}), AssertionRefused::Claim("jti"))]
#[case(json!({"jti": ""}), AssertionRefused::Claim("jti"))]
#[case(json!({"jti": 1}), AssertionRefused::Claim("jti"))]
#[case(json!({"jti": "x".repeat(257)}), AssertionRefused::Claim("jti"))]
fn claims_that_do_not_hold_are_refused(#[case] changed: Value, #[case] refused: AssertionRefused) {
    assert_eq!(with(&json!({}), &changed), Err(Refused::ByItself(refused)));
}

#[test]
fn the_parameter_client_id_must_agree() {
    let key = AppKey::generate();
    let text = key.sign(&key.header(), &claims(CLIENT_ID, "jti-1", now()));
    assert!(ClientAssertion::parse(&text, Some(CLIENT_ID)).is_ok());
    assert_eq!(ClientAssertion::parse(&text, Some("another")).unwrap_err(), AssertionRefused::ClientId);
}

#[test]
fn a_member_that_stands_there_twice_is_refused() {
    let key = AppKey::generate();
    let (header, claims) = (key.header().to_string(), claims(CLIENT_ID, "jti-1", now()).to_string());
    for (header, claims) in [
        (header.replacen('{', r#"{"alg":"none","#, 1), claims.clone()),
        (header.replacen('{', r#"{"kid":"key-2","#, 1), claims.clone()),
        (header.clone(), claims.replacen('{', r#"{"aud":"https://another.example","#, 1)),
        (header.clone(), claims.replacen('{', r#"{"a":1,"a":1,"#, 1)),
    ] {
        let refused = ClientAssertion::parse(&key.sign_text(&header, &claims), None).unwrap_err();
        assert_eq!(refused, AssertionRefused::MemberRepeated, "{header} {claims}");
    }
}

#[test]
fn what_is_no_compact_jwt_is_refused() {
    let key = AppKey::generate();
    let good = key.sign(&key.header(), &claims(CLIENT_ID, "jti-1", now()));
    let object = claims(CLIENT_ID, "jti-1", now()).to_string();
    for text in [
        String::new(),
        "..".into(),
        good.replace('.', ""),
        good.replacen('.', "..", 1),
        format!("{good}="),
        format!("{good}\n"),
        format!("{good}.{good}"),
        key.sign_text("[]", &object),
        key.sign_text("null", &object),
        key.sign_text(&key.header().to_string(), "[]"),
        key.sign_text(&key.header().to_string(), &format!("{object}{object}")),
        key.sign_text(&key.header().to_string(), &object.replace(':', "")),
    ] {
        assert_eq!(ClientAssertion::parse(&text, None).unwrap_err(), AssertionRefused::NotAJwt, "{text}");
    }
    let long = key.sign(&key.header(), &set(claims(CLIENT_ID, "jti-1", now()), &json!({"x": "y".repeat(20_000)})));
    assert_eq!(ClientAssertion::parse(&long, None).unwrap_err(), AssertionRefused::TooLong);
}

#[test]
fn only_the_one_registered_key_that_fits_is_taken() {
    let (key, other) = (AppKey::generate(), AppKey::generate());
    let good = claims(CLIENT_ID, "jti-1", now());
    let refused = |text: &str, keys: &[Value]| match proven_with(text, &json!({ "keys": keys })) {
        Err(Refused::ByRegistration(cause)) => Some(cause),
        Err(Refused::ByItself(refused)) => panic!("{refused}"),
        Ok(()) => None,
    };
    let both = [key.jwk("key-1"), other.jwk("key-2")];
    assert_eq!(refused(&key.sign(&key.header(), &good), &both), None);
    // The other registered key, under the first one's name.
    assert_eq!(refused(&other.sign(&key.header(), &good), &both), Some(Unproven::Signature));
    let unknown = set(key.header(), &json!({"kid": "key-3"}));
    assert_eq!(refused(&key.sign(&unknown, &good), &both), Some(Unproven::Key(KeyNotFound::Unknown)));
    let nameless = set(key.header(), &json!({"kid": null}));
    assert_eq!(refused(&key.sign(&nameless, &good), &both), Some(Unproven::Key(KeyNotFound::Several)));
    // Where one of two is of another kind, a signature without kid fits one key alone.
    let rsa = AppKey::rsa(&[Algorithm::Rs384]);
    assert_eq!(refused(&key.sign(&nameless, &good), &[key.jwk("key-1"), rsa.jwk("key-1")]), None);
    // A key that is registered for RS384 is not used for RS256, though it could be.
    let rs256 = AppKey::rsa(&[Algorithm::Rs256]);
    let signed = rs256.sign(&rs256.header(), &good);
    assert_eq!(refused(&signed, &[rsa.jwk("key-1")]), Some(Unproven::Key(KeyNotFound::Unknown)));
    assert_eq!(refused(&signed, &[rs256.jwk("key-1")]), None);
}

#[test]
fn an_assertion_of_nobody_or_of_an_app_without_keys_proves_nothing() {
    let key = AppKey::generate();
    let snapshot = World::before("http://127.0.0.1:9").compile();
    for (client_id, cause) in [
        ("nobody", Unproven::ClientUnknown),
        (CLIENT_ID, Unproven::WithoutKeys),
        ("mobile-client", Unproven::WithoutKeys),
    ] {
        let text = key.sign(&key.header(), &claims(client_id, "jti-1", now()));
        let assertion = ClientAssertion::parse(&text, None).unwrap();
        assert_eq!(assertion.app(&snapshot).unwrap_err(), cause, "{client_id}");
    }
}

#[rstest]
#[case(Some("https://app.example.org/jwks.json"), Ok(()))]
#[case(None, Ok(()))]
#[case(Some("https://app.example.org/jwks.json?"), Err(Unproven::KeySetUrl))]
#[case(Some("https://evil.example/jwks.json"), Err(Unproven::KeySetUrl))]
fn jku_is_the_registered_url_or_is_left_out(#[case] jku: Option<&str>, #[case] expected: Result<(), Unproven>) {
    let key = AppKey::generate();
    let registered = |field: &str, value: Value| {
        World::before("http://127.0.0.1:9").set("App", "schedule-sync", field, value).compile()
    };
    let text = key.sign(&set(key.header(), &json!({"jku": jku})), &claims(CLIENT_ID, "jti-1", now()));
    let assertion = ClientAssertion::parse(&text, None).unwrap();
    let snapshot = registered("jwksUri", "https://app.example.org/jwks.json".into());
    assert_eq!(assertion.app(&snapshot).map(drop), expected);
    // With keys inline no URL is registered.
    let inline = if jku.is_some() { Err(Unproven::KeySetUrl) } else { Ok(()) };
    assert_eq!(assertion.app(&registered("jwks", key.jwks())).map(drop), inline);
}

#[test]
fn a_jti_is_remembered_as_long_as_its_assertion_would_be_taken() {
    let key = AppKey::generate();
    let text = key.sign(&key.header(), &claims(CLIENT_ID, "jti-1", now()));
    let assertion = ClientAssertion::parse(&text, None).unwrap();
    let second = jiff::SignedDuration::from_secs(1);
    assert_eq!(assertion.judge(&OURSELVES, assertion.until() - second), Ok(()));
    assert_eq!(assertion.judge(&OURSELVES, assertion.until()), Err(AssertionRefused::Expired));
    assert_eq!(assertion.once(), format!("{CLIENT_ID} jti-1"));
    assert!(!format!("{assertion:?}").contains("jti-1"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn no_changed_assertion_is_accepted(position in 0_usize..1000, replacement in "[A-Za-z0-9_.=-]") {
        let key = AppKey::generate();
        let good = key.sign(&key.header(), &claims(CLIENT_ID, "jti-1", now()));
        let position = position % good.len();
        let mut changed = good.clone();
        changed.replace_range(position..=position, &replacement);
        prop_assume!(changed != good);
        let proven = ClientAssertion::parse(&changed, None).is_ok_and(|assertion| {
            assertion.judge(&OURSELVES, now()).is_ok() && assertion.verify(&JwkSet::of(&key.jwks())).is_ok()
        });
        prop_assert!(!proven);
    }

    #[test]
    fn any_text_is_read_without_panic(text in "\\PC{0,60}|[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,80}") {
        let _ = ClientAssertion::parse(&text, None);
    }
}
