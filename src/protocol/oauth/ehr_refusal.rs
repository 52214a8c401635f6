//! Why an EHR refuses a client: from what can be seen from here to the likeliest causes, in order.
//!
//! RFC 6749 §5.2 has `invalid_client` for everything that may be wrong with a client, and Epic says nothing besides. What
//! is ruled out by a fact is not among the causes; what a fact speaks for comes first, and the rest in the order in which
//! it mostly turns out to be.

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::api::activation::{CauseKind, Likelihood, LikelyCause, TokenEndpointAuthMethod};
use crate::api::data_adapter::DataSourceType;
use crate::values::key::Algorithm;

/// EHRs take so long to see a new registration (Epic: an hour in the sandbox, half a day in production, now and then more).
const SYNC: SignedDuration = SignedDuration::from_hours(24);
/// Our assertions are good for that long after they are made, by a clock that is ahead of ours; seconds.
const FASTEST_CLOCK: i64 = 240;
/// They are dated back by that much, for a clock that is behind ours; seconds.
const SLOWEST_CLOCK: i64 = -30;

/// What can be seen from here when an EHR has refused a token request.
#[derive(Clone, Debug)]
pub struct Facts<'facts> {
    /// The EHR's name for people.
    pub ehr: &'facts str,
    /// The kind of EHR.
    pub vendor: DataSourceType,
    /// The OAuth error that it gave.
    pub error: Option<&'facts str>,
    /// It accepted these credentials, or earlier ones of this activation, before.
    pub accepted_before: bool,
    /// The client ID that was sent.
    pub client_id: &'facts str,
    /// The App of ours whose own client ID that is: the two are easily mixed up.
    pub client_id_is_of_app: Option<&'facts str>,
    /// How the client proved who it is.
    pub proof: Proof<'facts>,
    /// The token was asked for in exchange for what a user who had logged in brought back.
    pub for_users: bool,
    /// Where the token was asked for.
    pub token_url: &'facts str,
    /// What the EHR's SMART configuration says; `None`: it could not be read.
    pub discovered: Option<&'facts Discovered>,
    /// By how many seconds the EHR's clock is ahead of ours, where it tells.
    pub clock_skew_seconds: Option<i64>,
    /// This moment.
    pub now: Timestamp,
}

/// How the client proved who it is.
#[derive(Clone, Debug)]
pub enum Proof<'facts> {
    /// By an assertion, signed with a key that the EHR must know.
    Key(Key<'facts>),
    /// By a secret that the EHR gave.
    Secret(TokenEndpointAuthMethod),
    /// It did not: a public client, which proves by PKCE alone that it is the one that began.
    Nothing,
}

/// The key that signed, and how the EHR gets to know it.
#[derive(Clone, Debug)]
pub struct Key<'facts> {
    /// How it signs.
    pub algorithm: Algorithm,
    /// The `aud` of the assertion.
    pub audience: &'facts str,
    /// When the key was made, where its certificate tells.
    pub made_at: Option<Timestamp>,
    /// The EHR accepted this very key from another activation.
    pub accepted_elsewhere: bool,
    /// Where the EHR fetches the public half.
    pub jwks_url: &'facts str,
    /// What came of fetching it from here.
    pub key_set: &'facts KeySet,
}

/// What the EHR's SMART configuration says of token requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovered {
    /// `token_endpoint`.
    pub token_endpoint: String,
    /// `token_endpoint_auth_signing_alg_values_supported`; `None`: not told.
    pub signing_algorithms: Option<Vec<String>>,
    /// `token_endpoint_auth_methods_supported`; `None`: not told.
    pub auth_methods: Option<Vec<String>>,
}

/// Whether the published key set can be fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KeySet {
    /// Not looked at.
    #[default]
    Unknown,
    /// It was read from here, and holds the key.
    Holds,
    /// Its URL leads to an address that nobody else can reach, though the EHR is elsewhere.
    OutOfReach,
    /// It could not be reached from here, for this reason.
    Unreached(String),
    /// Something else is served there, as this says.
    Wrong(String),
}

/// The causes that are left, likeliest first.
pub fn causes(facts: &Facts<'_>) -> Vec<LikelyCause> {
    let found = match &facts.proof {
        Proof::Key(key) => vec![
            rejected_request(facts),
            unknown_key(facts, key),
            client_id(facts),
            audience(facts, key),
            clock(facts),
            algorithm(facts, key),
            key_form(facts, key),
            user(facts),
        ],
        Proof::Secret(method) => {
            vec![rejected_request(facts), secret(facts), client_id(facts), auth_method(facts, *method)]
        }
        Proof::Nothing => vec![rejected_request(facts), no_proof(facts), client_id(facts)],
    };
    let mut causes: Vec<LikelyCause> = found.into_iter().flatten().collect();
    // Stable: among equals the order above stays.
    causes.sort_by_key(|cause| cause.likelihood);
    causes
}

#[expect(clippy::unnecessary_wraps, reason = "what looks for a cause answers with it where it finds one")]
fn cause(kind: CauseKind, likelihood: Likelihood, hint: impl Into<String>) -> Option<LikelyCause> {
    Some(LikelyCause { cause: kind, likelihood, hint: hint.into() })
}

/// Errors other than `invalid_client` name their cause themselves (RFC 6749 §5.2).
fn rejected_request(facts: &Facts<'_>) -> Option<LikelyCause> {
    let ehr = facts.ehr;
    match facts.error? {
        "invalid_scope" => cause(
            CauseKind::Scopes,
            Likelihood::Evident,
            format!(
                "{ehr} does not know the scopes: ask for those that the app is registered with there, in the same notation (spec.ehrAuthentication)."
            ),
        ),
        "unauthorized_client" | "unsupported_grant_type" => cause(
            CauseKind::Grant,
            Likelihood::Evident,
            format!(
                "{ehr} knows the client and does not let it have tokens this way: have the app registered {}.",
                if facts.for_users {
                    "for users (grants authorization_code and, for long sessions, refresh_token)"
                } else {
                    "as a backend service (grant client_credentials)"
                }
            ),
        ),
        _ => None,
    }
}

fn unknown_key(facts: &Facts<'_>, key: &Key<'_>) -> Option<LikelyCause> {
    let Facts { ehr, accepted_before, now, .. } = facts;
    let url = key.jwks_url;
    match key.key_set {
        KeySet::OutOfReach => {
            return cause(
                CauseKind::KeyUnknown,
                Likelihood::Evident,
                format!(
                    "{ehr} cannot fetch the key set: {url} leads to an address that only this network reaches. Set --public-url to what the EHR can reach, or register the PEM."
                ),
            );
        }
        KeySet::Wrong(what) => {
            return cause(
                CauseKind::KeyUnknown,
                Likelihood::Evident,
                format!("{ehr} cannot find the key: {what}. Mend that, or register the PEM."),
            );
        }
        KeySet::Unreached(reason) if !key.accepted_elsewhere => {
            return cause(
                CauseKind::KeyUnknown,
                Likelihood::Likely,
                format!(
                    "{ehr} may not reach the key set, as it is not reached from here either ({reason}), or the key is not registered there yet."
                ),
            );
        }
        KeySet::Unknown | KeySet::Holds | KeySet::Unreached(_) => {}
    }
    if key.accepted_elsewhere {
        return None;
    }
    let is_new = key.made_at.is_some_and(|made| now.duration_since(made) < SYNC);
    match (accepted_before, is_new) {
        (_, true) => cause(
            CauseKind::KeyUnknown,
            Likelihood::Likely,
            format!("The key is less than a day old: {ehr} has not got it yet, or it is not registered there."),
        ),
        (false, false) => cause(
            CauseKind::KeyUnknown,
            Likelihood::Likely,
            format!(
                "The key is not registered at {ehr}, or not for this client ID: have its people compare the thumbprint (hearthgate handoff)."
            ),
        ),
        (true, false) => cause(
            CauseKind::KeyUnknown,
            Likelihood::Likely,
            format!("{ehr} accepted the app before: its registration, or the key in it, was changed or removed there."),
        ),
    }
}

fn client_id(facts: &Facts<'_>) -> Option<LikelyCause> {
    let Facts { ehr, client_id, .. } = facts;
    if facts.for_users {
        // Or there would be nothing to exchange.
        return cause(
            CauseKind::ClientId,
            Likelihood::Possible,
            format!(
                "Users log in for client ID {client_id}, so {ehr} knows it: see that tokenUrl is of the same environment as the page where they log in."
            ),
        );
    }
    if let Some(app) = facts.client_id_is_of_app {
        return cause(
            CauseKind::ClientId,
            Likelihood::Evident,
            format!(
                "{client_id} is the client ID of App {app} at this gateway: {ehr} gives another one, which belongs into spec.ehrAuthentication."
            ),
        );
    }
    let gives_uuids = matches!(facts.vendor, DataSourceType::EpicR4External | DataSourceType::OracleHealthR4);
    if gives_uuids && Uuid::try_parse(client_id).is_err() {
        return cause(
            CauseKind::ClientId,
            Likelihood::Evident,
            format!(
                "The client ID {client_id} is none of {ehr}'s: theirs are UUIDs. Copy it again from the app's registration."
            ),
        );
    }
    let other = match facts.vendor {
        DataSourceType::EpicR4External => "production and non-production have different ones",
        DataSourceType::AthenaR4 => "preview and production, and apps with and without users, have different ones",
        DataSourceType::OracleHealthR4 => "each tenant and environment has its own",
        DataSourceType::MeditechR4 | DataSourceType::FhirR4 => "test and production mostly have different ones",
    };
    let is_key_known = matches!(&facts.proof, Proof::Key(key) if key.accepted_elsewhere);
    let likelihood = if is_key_known { Likelihood::Likely } else { Likelihood::Possible };
    cause(
        CauseKind::ClientId,
        likelihood,
        format!(
            "The client ID {client_id} may be that of another environment of {ehr}: {other}. Or the key is not registered for it."
        ),
    )
}

fn audience(facts: &Facts<'_>, key: &Key<'_>) -> Option<LikelyCause> {
    let Facts { ehr, token_url, .. } = facts;
    let audience = key.audience;
    let expected = facts.discovered.map(|discovered| discovered.token_endpoint.as_str());
    match expected {
        Some(expected) if expected != audience => cause(
            CauseKind::Audience,
            Likelihood::Evident,
            format!(
                "The assertion's audience is {audience}, and {ehr}'s SMART configuration names the token endpoint {expected}: correct tokenUrl{}.",
                if facts.for_users { "" } else { " or audience" }
            ),
        ),
        // Users' assertions have no audience of their own that could be set.
        Some(_) | None if facts.for_users => None,
        None if audience != *token_url => cause(
            CauseKind::Audience,
            Likelihood::Likely,
            format!(
                "The assertion's audience is {audience}, and the token is asked for at {token_url}: most EHRs want the two to be equal."
            ),
        ),
        Some(_) | None => cause(
            CauseKind::Audience,
            Likelihood::Possible,
            format!(
                "{ehr} may stand behind a proxy and expect its inner token URL as the audience: ask its people, and set audience."
            ),
        ),
    }
}

fn clock(facts: &Facts<'_>) -> Option<LikelyCause> {
    let ehr = facts.ehr;
    match facts.clock_skew_seconds {
        Some(skew) if skew > FASTEST_CLOCK => cause(
            CauseKind::Clock,
            Likelihood::Evident,
            format!(
                "{ehr}'s clock is more than four minutes ahead of ours, so that assertions are over when they arrive: set this machine's clock (NTP)."
            ),
        ),
        Some(skew) if skew < SLOWEST_CLOCK => cause(
            CauseKind::Clock,
            Likelihood::Evident,
            format!(
                "{ehr}'s clock is more than half a minute behind ours, so that assertions come from its future: set this machine's clock (NTP)."
            ),
        ),
        Some(_) => None,
        None => cause(
            CauseKind::Clock,
            Likelihood::Possible,
            format!("{ehr} did not tell its time: see that this machine's clock is right (NTP)."),
        ),
    }
}

fn algorithm(facts: &Facts<'_>, key: &Key<'_>) -> Option<LikelyCause> {
    let (ehr, ours) = (facts.ehr, key.algorithm);
    let told = facts.discovered.and_then(|discovered| discovered.signing_algorithms.as_ref());
    if let Some(algorithms) = told.filter(|algorithms| !algorithms.iter().any(|one| one == ours.as_str())) {
        return cause(
            CauseKind::Algorithm,
            Likelihood::Evident,
            format!(
                "We sign with {ours}, and {ehr} takes {}: make a key pair of another name and keyPair.algorithm.",
                algorithms.join(", ")
            ),
        );
    }
    let is_elliptic = matches!(ours, Algorithm::Es384 | Algorithm::Es256);
    match (facts.vendor, is_elliptic, told) {
        (DataSourceType::EpicR4External, true, _) => cause(
            CauseKind::Algorithm,
            Likelihood::Possible,
            format!("Epic takes {ours} with a JWK Set URL only: register the URL, or use RS384 with a file."),
        ),
        (_, _, Some(_)) | (_, false, None) => None,
        (_, true, None) => cause(
            CauseKind::Algorithm,
            Likelihood::Possible,
            format!("{ehr} does not say whether it takes {ours}: RS384 is what most take."),
        ),
    }
}

fn key_form(facts: &Facts<'_>, key: &Key<'_>) -> Option<LikelyCause> {
    (!key.accepted_elsewhere).then(|| LikelyCause {
        cause: CauseKind::KeyForm,
        likelihood: Likelihood::Possible,
        hint: format!(
            "The key may have been registered at {} in another form: a file must be the certificate that hearthgate pem prints, a URL must be {} to the letter.",
            facts.ehr, key.jwks_url
        ),
    })
}

/// The EHR wants to be shown something that a public client has not got.
fn no_proof(facts: &Facts<'_>) -> Option<LikelyCause> {
    let ehr = facts.ehr;
    cause(
        CauseKind::AuthMethod,
        Likelihood::Likely,
        format!(
            "{ehr} has the app as a confidential client, and we show neither secret nor key: give user.clientSecretRef or user.keyPair, or have it registered as a public client (PKCE)."
        ),
    )
}

/// Epic gives no token before the client ID stands for one of its users.
fn user(facts: &Facts<'_>) -> Option<LikelyCause> {
    if facts.for_users || facts.vendor != DataSourceType::EpicR4External {
        return None;
    }
    let likelihood = match &facts.proof {
        Proof::Key(key) if key.accepted_elsewhere => Likelihood::Likely,
        Proof::Key(_) | Proof::Secret(_) | Proof::Nothing => Likelihood::Possible,
    };
    cause(
        CauseKind::UserMissing,
        likelihood,
        format!(
            "At {} the client ID may not be mapped to an Epic user yet, or that user is inactive: its people do that at the site.",
            facts.ehr
        ),
    )
}

fn secret(facts: &Facts<'_>) -> Option<LikelyCause> {
    let ehr = facts.ehr;
    let hint = if facts.accepted_before {
        format!("{ehr} accepted the app before: its secret was replaced there, or has ended.")
    } else {
        format!(
            "The client secret is not the one that {ehr} gave for this client ID: look for a cut or added character in its Secret."
        )
    };
    cause(CauseKind::ClientSecret, Likelihood::Likely, hint)
}

fn auth_method(facts: &Facts<'_>, method: TokenEndpointAuthMethod) -> Option<LikelyCause> {
    let (ours, other) = match method {
        TokenEndpointAuthMethod::ClientSecretBasic => ("client_secret_basic", "client_secret_post"),
        TokenEndpointAuthMethod::ClientSecretPost => ("client_secret_post", "client_secret_basic"),
    };
    let ehr = facts.ehr;
    match facts.discovered.and_then(|discovered| discovered.auth_methods.as_ref()) {
        Some(methods) if methods.iter().any(|one| one == ours) => None,
        Some(methods) => cause(
            CauseKind::AuthMethod,
            Likelihood::Evident,
            format!(
                "We send the secret by {ours}, and {ehr} takes {}: change tokenEndpointAuthMethod.",
                methods.join(", ")
            ),
        ),
        None => cause(
            CauseKind::AuthMethod,
            Likelihood::Possible,
            format!("{ehr} may want the secret by {other} instead of {ours}: try the other tokenEndpointAuthMethod."),
        ),
    }
}

#[cfg(test)]
mod tests;
