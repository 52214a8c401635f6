//! The client credentials grant (RFC 6749 §4.4; SMART Backend Services): may this app have a token here, and for what.

use std::sync::Arc;

use jiff::Timestamp;

use super::OAuthError;
use crate::api::ClientType;
use crate::snapshot::{Activation, App, EhrAuthentication, Gateway, Snapshot};
use crate::values::scope::{Scope, ScopeSet};

/// What is granted.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The activation that the token will name.
    pub activation: Arc<Activation>,
    /// The scopes, in the notation that was asked in.
    pub scopes: ScopeSet,
}

/// Decides for an authenticated app. `scope` is the request's parameter: absent, it asks for all that there is.
pub fn grant(
    snapshot: &Snapshot,
    gateway: &Gateway,
    app: &App,
    scope: Option<&str>,
    now: Timestamp,
) -> Result<Grant, OAuthError> {
    if app.client_type == ClientType::Public {
        return Err(OAuthError::PublicClient);
    }
    let activation = snapshot.activation_of(&gateway.key, &app.key).ok_or(OAuthError::NotActivated)?;
    activation.live_at(now).map_err(OAuthError::NotLive)?;
    if matches!(activation.ehr_authentication, EhrAuthentication::User(_)) {
        return Err(OAuthError::UserOnly);
    }
    let ceiling = activation.ceiling.without_user();
    let scopes = match scope {
        None => ceiling,
        // A word that is no SMART scope is one that nobody can grant; the answer's `scope` shows that it is missing.
        Some(requested) => {
            requested.split(' ').filter_map(|word| word.parse::<Scope>().ok()).collect::<ScopeSet>().intersect(&ceiling)
        }
    };
    if scopes.is_empty() {
        return Err(OAuthError::ScopeUnavailable);
    }
    Ok(Grant { activation: Arc::clone(activation), scopes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::test_support::World;
    use crate::snapshot::ObjectKey;
    use crate::values::code::Code;
    use rstest::rstest;
    use serde_json::json;

    fn world() -> World {
        World::before("http://127.0.0.1:9")
    }

    fn granted(world: &World, app: &str, gateway: &str, scope: Option<&str>) -> Result<String, Code> {
        let snapshot = world.compile();
        let gateway = &snapshot.gateways[&ObjectKey::new("default", gateway)];
        let app = &snapshot.apps[&ObjectKey::new("default", app)];
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        grant(&snapshot, gateway, app, scope, now).map(|grant| grant.scopes.to_string()).map_err(|error| error.code())
    }

    #[rstest]
    #[case(None, "system/Appointment.cruds system/Observation.read system/Patient.rs private-api")]
    #[case(Some("system/Patient.r"), "system/Patient.r")]
    #[case(Some("system/Patient.read"), "system/Patient.read")]
    #[case(Some("system/Observation.rs"), "system/Observation.rs")]
    #[case(Some("system/Patient.cruds system/Observation.*"), "system/Observation.read system/Patient.rs")]
    #[case(Some("system/*.read"), "system/Appointment.read system/Observation.read system/Patient.read")]
    #[case(Some("system/Patient.rs nonsense system/.x"), "system/Patient.rs")]
    #[case(Some("openid private-api"), "private-api")]
    fn what_was_asked_for_is_granted_within_the_ceiling(#[case] scope: Option<&str>, #[case] expected: &str) {
        assert_eq!(granted(&world(), "schedule-sync", "epic", scope), Ok(expected.into()));
    }

    #[rstest]
    #[case(Some("system/Encounter.r"))]
    #[case(Some("user/Patient.r patient/Patient.r openid"))]
    #[case(Some("nonsense"))]
    #[case(Some(" "))]
    fn where_nothing_is_left_the_scope_is_invalid(#[case] scope: Option<&str>) {
        assert_eq!(granted(&world(), "schedule-sync", "epic", scope), Err(Code::ScopeUnavailable));
    }

    #[test]
    fn who_is_not_activated_or_may_not_act_alone_is_unauthorized() {
        assert_eq!(granted(&world(), "stranger", "epic", None), Err(Code::ClientUnauthorized));
        assert_eq!(granted(&world(), "mobile", "epic", None), Err(Code::ClientUnauthorized));
        for (kind, name) in [("Activation", "sync-epic"), ("App", "schedule-sync"), ("Gateway", "epic")] {
            let suspended = world().set(kind, name, "suspend", true.into());
            assert_eq!(granted(&suspended, "schedule-sync", "epic", None), Err(Code::ActivationSuspended), "{kind}");
        }
        let later = world().set("Activation", "sync-epic", "notBefore", json!("2027-01-01T00:00:00Z"));
        assert_eq!(granted(&later, "schedule-sync", "epic", None), Err(Code::ActivationOutsideWindow));
    }
}
