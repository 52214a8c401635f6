//! Scopes of a user's launch: what may be asked for, what the EHR is asked for, and what is granted of what it gave.
//!
//! granted = requested ∩ App ∩ Activation ∩ Gateway ∩ what the EHR granted. Who launches has a user before them, so
//! `system/` scopes are never among them.

use std::collections::BTreeSet;

use crate::snapshot::Activation;
use crate::snapshot::activation::User;
use crate::values::scope::{Context, ResourceScope, Scope, ScopeSet, Word};

/// The most that a user's token can hold today.
pub fn ceiling(activation: &Activation) -> ScopeSet {
    of_users(&activation.ceiling)
}

/// Those of some scopes that a user's token can hold.
pub fn of_users(scopes: &ScopeSet) -> ScopeSet {
    let is_users = |scope: &&Scope| !matches!(scope, Scope::Resource(scope) if scope.context == Context::System);
    scopes.iter().filter(is_users).cloned().collect()
}

/// What of a request may be granted at all. A word that is no SMART scope is one that nobody can grant; without a `scope`
/// parameter the whole ceiling is asked for.
pub fn requested(activation: &Activation, scope: Option<&str>) -> ScopeSet {
    let ceiling = ceiling(activation);
    match scope {
        None => ceiling,
        Some(text) => words(text).filter_map(|word| word.parse().ok()).collect::<ScopeSet>().intersect(&ceiling),
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').filter(|word| !word.is_empty())
}

/// What the EHR is asked for: the activation's own list, or what the app may have. `launch` goes along exactly when the
/// EHR has started the app, whoever left it out or put it in: EHRs refuse the one without the other.
pub fn asked_of_the_ehr(user: &User, requested: &ScopeSet, is_ehr_launch: bool) -> String {
    let requested = requested.iter().filter(|scope| **scope != Scope::PrivateApi).map(ToString::to_string);
    let mut asked: Vec<String> = match &user.scopes {
        Some(scopes) => words(scopes).map(str::to_owned).collect(),
        None => requested.collect(),
    };
    asked.retain(|word| word != Word::Launch.as_str());
    if is_ehr_launch {
        asked.push(Word::Launch.as_str().to_owned());
    }
    asked.join(" ")
}

/// What an EHR's token response says, as far as scopes depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given<'answer> {
    /// Its `scope`; absent, it granted what was asked for (RFC 6749 §5.1).
    pub scope: Option<&'answer str>,
    /// The user is known.
    pub has_id_token: bool,
    /// The session can be kept up without the user.
    pub has_refresh_token: bool,
    /// A patient is in context.
    pub has_patient: bool,
    /// An encounter is in context.
    pub has_encounter: bool,
    /// The EHR started the app.
    pub is_ehr_launch: bool,
}

/// What is granted of what was requested.
///
/// Whether a word holds is seen by what came rather than by the EHR's list, which leaves words out as it likes: `openid`
/// holds when there is an id_token, `launch/patient` when there is a patient. `patient/` scopes need one too.
pub fn granted(requested: &ScopeSet, given: &Given<'_>) -> ScopeSet {
    let offered = given.scope.map(offered);
    let listed = |word: Word| given.scope.is_none_or(|scope| words(scope).any(|listed| listed == word.as_str()));
    let resources: ScopeSet = requested.resources().cloned().map(Scope::Resource).collect();
    let mut granted = match &offered {
        None => resources,
        Some(offered) => resources.intersect(offered),
    };
    if !given.has_patient {
        let needs_none = |scope: &&Scope| !matches!(scope, Scope::Resource(scope) if scope.context == Context::Patient);
        granted = granted.iter().filter(needs_none).cloned().collect();
    }
    for scope in requested.iter() {
        let holds = match scope {
            Scope::Resource(_) => false,
            // The adapter's own credentials open those APIs; the EHR's token has no say in it.
            Scope::PrivateApi => true,
            Scope::Word(Word::OpenId | Word::FhirUser | Word::Profile) => given.has_id_token,
            Scope::Word(Word::Launch) => given.is_ehr_launch,
            Scope::Word(Word::LaunchPatient) => given.has_patient,
            Scope::Word(Word::LaunchEncounter) => given.has_encounter,
            Scope::Word(Word::OfflineAccess) => given.has_refresh_token,
            Scope::Word(Word::OnlineAccess) => given.has_refresh_token || listed(Word::OnlineAccess),
        };
        if holds {
            granted.insert(scope.clone());
        }
    }
    granted
}

/// Whether the EHR granted `openid`, and so owes an id_token.
pub fn owes_id_token(asked: &str, given: Option<&str>) -> bool {
    let holds = |text: &str| words(text).any(|word| word == Word::OpenId.as_str());
    holds(asked) && given.is_none_or(holds)
}

/// An EHR's list, read as leniently as EHRs write it: `Patient.read` without a context (Epic), `.Read`, words of their
/// own. What a user may do may be done for one patient, so `user/` stands for `patient/` too.
fn offered(text: &str) -> ScopeSet {
    let mut offered = BTreeSet::new();
    for word in words(text) {
        let readings = match word.split_once('/') {
            Some(_) => vec![word.to_owned()],
            None => vec![format!("user/{word}")],
        };
        for reading in readings {
            let Some(scope) = resource_scope(&reading) else { continue };
            if scope.context == Context::User {
                offered.insert(Scope::Resource(ResourceScope { context: Context::Patient, ..scope.clone() }));
            }
            offered.insert(Scope::Resource(scope));
        }
    }
    offered.into_iter().collect()
}

fn resource_scope(text: &str) -> Option<ResourceScope> {
    text.parse().ok().or_else(|| {
        let (target, permissions) = text.rsplit_once('.')?;
        format!("{target}.{}", permissions.to_ascii_lowercase()).parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn set(text: &str) -> ScopeSet {
        ScopeSet::parse(text).unwrap()
    }

    fn all(scope: Option<&str>) -> Given<'_> {
        Given {
            scope,
            has_id_token: true,
            has_refresh_token: true,
            has_patient: true,
            has_encounter: true,
            is_ehr_launch: true,
        }
    }

    #[rstest]
    #[case("patient/Patient.rs", Some("patient/Patient.rs"), "patient/Patient.rs")]
    #[case("patient/Patient.read", Some("patient/*.rs"), "patient/Patient.read")]
    #[case("patient/Patient.rs", None, "patient/Patient.rs")]
    #[case("patient/Patient.cruds", Some("Patient.Read Patient.Search"), "patient/Patient.rs")]
    #[case("patient/Patient.rs", Some("user/Patient.rs"), "patient/Patient.rs")]
    #[case("user/Patient.rs", Some("patient/Patient.rs"), "")]
    #[case("patient/Patient.rs", Some("epic.scanning.dmsweb"), "")]
    #[case("patient/Patient.rs", Some("system/Patient.rs"), "")]
    #[case("private-api openid", Some(""), "private-api openid")]
    fn the_ehrs_list_is_read_leniently(#[case] asked: &str, #[case] said: Option<&str>, #[case] expected: &str) {
        assert_eq!(granted(&set(asked), &all(said)), set(expected));
    }

    #[test]
    fn words_hold_by_what_came() {
        let asked =
            set("openid fhirUser launch launch/patient launch/encounter offline_access online_access patient/*.rs");
        assert_eq!(granted(&asked, &all(None)), asked);
        let nothing = Given {
            scope: Some("patient/*.rs"),
            has_id_token: false,
            has_refresh_token: false,
            has_patient: false,
            has_encounter: false,
            is_ehr_launch: false,
        };
        assert_eq!(granted(&asked, &nothing), set(""));
        let online = Given { scope: Some("online_access"), ..nothing };
        assert_eq!(granted(&asked, &online), set("online_access"));
    }

    #[test]
    fn the_ehr_owes_an_id_token_where_it_granted_openid() {
        assert!(owes_id_token("openid launch", None));
        assert!(owes_id_token("openid launch", Some("launch openid")));
        assert!(!owes_id_token("openid launch", Some("launch")));
        assert!(!owes_id_token("launch", Some("openid")));
    }
}
