use rstest::rstest;

use super::*;

const TOKEN_URL: &str = "https://ehr.example.org/oauth2/token";
const CLIENT_ID: &str = "7b0f6e0e-9d4d-4c55-8a4b-5f4f3b0c9a11";

fn now() -> Timestamp {
    "2026-06-01T12:00:00Z".parse().unwrap()
}

fn configuration() -> Discovered {
    Discovered {
        token_endpoint: TOKEN_URL.to_owned(),
        signing_algorithms: Some(vec!["RS384".to_owned(), "ES384".to_owned()]),
        auth_methods: Some(vec!["private_key_jwt".to_owned(), "client_secret_basic".to_owned()]),
    }
}

fn key(key_set: &KeySet) -> Key<'_> {
    Key {
        algorithm: Algorithm::Rs384,
        audience: TOKEN_URL,
        made_at: "2026-03-01T12:00:00Z".parse().ok(),
        accepted_elsewhere: false,
        jwks_url: "https://hearth.example.org/default/keys/sync/jwks.json",
        key_set,
    }
}

/// Epic's bare refusal of a key that was made long ago, where everything that can be seen is in order.
fn facts<'facts>(key: Key<'facts>, discovered: Option<&'facts Discovered>) -> Facts<'facts> {
    Facts {
        ehr: "North Hospital",
        vendor: DataSourceType::EpicR4External,
        error: Some("invalid_client"),
        accepted_before: false,
        client_id: CLIENT_ID,
        client_id_is_of_app: None,
        proof: Proof::Key(key),
        for_users: false,
        token_url: TOKEN_URL,
        discovered,
        clock_skew_seconds: Some(0),
        now: now(),
    }
}

fn ranked(facts: &Facts<'_>) -> Vec<(CauseKind, Likelihood)> {
    causes(facts).into_iter().map(|cause| (cause.cause, cause.likelihood)).collect()
}

#[test]
fn where_nothing_can_be_seen_from_here_they_come_as_it_mostly_is() {
    let configuration = configuration();
    let expected = [
        (CauseKind::KeyUnknown, Likelihood::Likely),
        (CauseKind::ClientId, Likelihood::Possible),
        (CauseKind::Audience, Likelihood::Possible),
        (CauseKind::KeyForm, Likelihood::Possible),
        (CauseKind::UserMissing, Likelihood::Possible),
    ];
    assert_eq!(
        ranked(&facts(key(&KeySet::Holds), Some(&configuration))),
        expected,
        "clock and algorithm are ruled out"
    );
    let blind = Facts { clock_skew_seconds: None, ..facts(key(&KeySet::Unknown), None) };
    let kinds: Vec<CauseKind> = ranked(&blind).into_iter().map(|(kind, _)| kind).collect();
    let expected = [
        CauseKind::KeyUnknown,
        CauseKind::ClientId,
        CauseKind::Audience,
        CauseKind::Clock,
        CauseKind::KeyForm,
        CauseKind::UserMissing,
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn what_a_fact_speaks_for_comes_first() {
    let configuration = configuration();
    let usual = || facts(key(&KeySet::Holds), Some(&configuration));
    let elsewhere = Discovered { token_endpoint: "https://ehr.example.org/other".to_owned(), ..configuration.clone() };
    let elliptic = Discovered { signing_algorithms: Some(vec!["ES384".to_owned()]), ..configuration.clone() };
    let wrong = KeySet::Wrong("it answers 404 from here".to_owned());
    for (told, facts, expected) in [
        ("a clock far ahead", Facts { clock_skew_seconds: Some(241), ..usual() }, CauseKind::Clock),
        ("a clock behind", Facts { clock_skew_seconds: Some(-31), ..usual() }, CauseKind::Clock),
        ("no UUID", Facts { client_id: "sync", ..usual() }, CauseKind::ClientId),
        ("an app's own client ID", Facts { client_id_is_of_app: Some("sync"), ..usual() }, CauseKind::ClientId),
        ("another token endpoint", Facts { discovered: Some(&elsewhere), ..usual() }, CauseKind::Audience),
        (
            "another audience",
            facts(Key { audience: "https://x", ..key(&KeySet::Holds) }, Some(&configuration)),
            CauseKind::Audience,
        ),
        ("another algorithm", Facts { discovered: Some(&elliptic), ..usual() }, CauseKind::Algorithm),
        ("a key set that nobody reaches", facts(key(&KeySet::OutOfReach), Some(&configuration)), CauseKind::KeyUnknown),
        ("a key set without the key", facts(key(&wrong), Some(&configuration)), CauseKind::KeyUnknown),
        ("a scope", Facts { error: Some("invalid_scope"), ..usual() }, CauseKind::Scopes),
        ("a grant", Facts { error: Some("unauthorized_client"), ..usual() }, CauseKind::Grant),
    ] {
        let first = ranked(&facts).into_iter().next();
        assert_eq!(first, Some((expected, Likelihood::Evident)), "{told}");
    }
}

#[rstest]
#[case::ahead_within_the_life_of_an_assertion(240)]
#[case::behind_within_what_it_is_dated_back(-30)]
fn a_clock_that_differs_a_little_is_no_cause(#[case] skew: i64) {
    let configuration = configuration();
    let facts = Facts { clock_skew_seconds: Some(skew), ..facts(key(&KeySet::Holds), Some(&configuration)) };
    assert!(!ranked(&facts).iter().any(|(kind, _)| *kind == CauseKind::Clock));
}

#[test]
fn a_key_that_another_activation_uses_there_points_at_client_id_and_user() {
    let configuration = configuration();
    let known = Key { accepted_elsewhere: true, ..key(&KeySet::Holds) };
    let expected = [
        (CauseKind::ClientId, Likelihood::Likely),
        (CauseKind::UserMissing, Likelihood::Likely),
        (CauseKind::Audience, Likelihood::Possible),
    ];
    assert_eq!(ranked(&facts(known, Some(&configuration))), expected);
}

#[rstest]
#[case::new("2026-06-01T11:00:00Z", false, "less than a day old")]
#[case::old("2026-05-01T11:00:00Z", false, "not registered")]
#[case::accepted_before("2026-05-01T11:00:00Z", true, "accepted the app before")]
fn the_age_of_a_key_tells_whether_to_wait(#[case] made_at: &str, #[case] accepted_before: bool, #[case] words: &str) {
    let configuration = configuration();
    let key = Key { made_at: made_at.parse().ok(), ..key(&KeySet::Holds) };
    let facts = Facts { accepted_before, ..facts(key, Some(&configuration)) };
    let first = causes(&facts).remove(0);
    assert_eq!((first.cause, first.likelihood), (CauseKind::KeyUnknown, Likelihood::Likely));
    assert!(first.hint.contains(words), "{}", first.hint);
}

#[test]
fn a_secret_has_causes_of_its_own() {
    let configuration = configuration();
    let of = |method, vendor| Facts {
        proof: Proof::Secret(method),
        vendor,
        ..facts(key(&KeySet::Unknown), Some(&configuration))
    };
    let basic = of(TokenEndpointAuthMethod::ClientSecretBasic, DataSourceType::FhirR4);
    let expected = [(CauseKind::ClientSecret, Likelihood::Likely), (CauseKind::ClientId, Likelihood::Possible)];
    assert_eq!(ranked(&basic), expected);
    let post = of(TokenEndpointAuthMethod::ClientSecretPost, DataSourceType::FhirR4);
    assert_eq!(ranked(&post).first(), Some(&(CauseKind::AuthMethod, Likelihood::Evident)));
}

#[test]
fn a_client_that_users_have_logged_in_for_is_known_and_lacks_its_proof() {
    let configuration = configuration();
    let of_users = |proof| Facts { proof, for_users: true, ..facts(key(&KeySet::Unknown), Some(&configuration)) };
    let environment = (CauseKind::ClientId, Likelihood::Possible);
    let secret = of_users(Proof::Secret(TokenEndpointAuthMethod::ClientSecretBasic));
    assert_eq!(ranked(&secret), [(CauseKind::ClientSecret, Likelihood::Likely), environment]);
    let public = of_users(Proof::Nothing);
    assert_eq!(ranked(&public), [(CauseKind::AuthMethod, Likelihood::Likely), environment]);
    let with_key = of_users(Proof::Key(key(&KeySet::Holds)));
    let expected =
        [(CauseKind::KeyUnknown, Likelihood::Likely), environment, (CauseKind::KeyForm, Likelihood::Possible)];
    assert_eq!(ranked(&with_key), expected, "no user of the EHR stands for them, and no audience can be set");
    let grant = Facts { error: Some("unauthorized_client"), ..of_users(Proof::Nothing) };
    assert!(causes(&grant).remove(0).hint.contains("for users"), "{:?}", causes(&grant));
}

#[test]
fn epic_takes_elliptic_keys_by_url_alone() {
    let configuration = configuration();
    let elliptic = Key { algorithm: Algorithm::Es384, ..key(&KeySet::Holds) };
    let found = ranked(&facts(elliptic, Some(&configuration)));
    assert!(found.contains(&(CauseKind::Algorithm, Likelihood::Possible)), "{found:?}");
}
