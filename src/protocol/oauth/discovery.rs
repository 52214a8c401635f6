//! The discovery documents: what some app can really do at this gateway, nothing else. What no activation uses is not
//! announced, so a client never finds out by an error; when an activation comes that does, so does the announcement.

use serde_json::{Map, Value, json};

use super::{client_assertion, user_scopes};
use crate::api::ClientType;
use crate::snapshot::{EhrAuthentication, Gateway, Snapshot};
use crate::values::scope::{Context, Scope, ScopeSet, Word};

/// What the activations of a gateway use, all together. Suspended ones don't count: they can do nothing.
#[derive(Debug, Default)]
struct Offer {
    /// Some app acts by itself.
    system: bool,
    /// Some app is used by people.
    user: bool,
    /// Some EHR may start such an app.
    ehr_launch: bool,
    secrets: bool,
    keys: bool,
    public: bool,
    scopes: ScopeSet,
}

impl Offer {
    fn of(snapshot: &Snapshot, gateway: &Gateway) -> Self {
        let mut offer = Self::default();
        let activations = snapshot.activations_at(&gateway.key).filter(|activation| activation.suspended_by.is_none());
        for activation in activations {
            let app = &activation.app;
            let is_public = app.client_type == ClientType::Public;
            let user = matches!(activation.ehr_authentication, EhrAuthentication::User(_));
            if is_public && !user {
                // It can prove nothing, and has no user to ask: there is no grant for it.
                continue;
            }
            offer.user |= user;
            offer.system |= !user;
            offer.ehr_launch |= user && app.launch_uri.is_some();
            offer.public |= is_public;
            offer.secrets |= !app.client_secrets.is_empty();
            offer.keys |= app.inline_keys.is_some() || app.jwks_uri.is_some();
            let own = if user { user_scopes::ceiling(activation) } else { activation.ceiling.without_user() };
            own.iter().for_each(|scope| offer.scopes.insert(scope.clone()));
        }
        offer
    }

    fn has(&self, word: Word) -> bool {
        self.user && self.scopes.covers(&Scope::Word(word))
    }

    fn signs_on(&self) -> bool {
        self.has(Word::OpenId)
    }

    fn has_context(&self, context: Context) -> bool {
        self.scopes.resources().any(|scope| scope.context == context)
    }

    fn grant_types(&self) -> Vec<&'static str> {
        let refreshed = self.has(Word::OfflineAccess) || self.has(Word::OnlineAccess);
        let all =
            [(self.user, "authorization_code"), (refreshed, "refresh_token"), (self.system, "client_credentials")];
        chosen(all)
    }

    /// How clients prove who they are, and those that prove nothing where they may.
    fn authentication_methods(&self, with_public: bool) -> Vec<&'static str> {
        chosen([
            (self.keys, "private_key_jwt"),
            (self.secrets, "client_secret_basic"),
            (self.secrets, "client_secret_post"),
            (self.public && with_public, "none"),
        ])
    }

    /// SMART App Launch 2.2, "Capability Sets". What an EHR may or may not tell (banner, style) is passed on and not
    /// promised.
    fn capabilities(&self) -> Vec<&'static str> {
        chosen([
            (self.ehr_launch, "launch-ehr"),
            (self.user, "launch-standalone"),
            (self.user, "authorize-post"),
            (self.public, "client-public"),
            (self.secrets, "client-confidential-symmetric"),
            (self.keys, "client-confidential-asymmetric"),
            (self.signs_on(), "sso-openid-connect"),
            (self.ehr_launch && self.has(Word::Launch), "context-ehr-patient"),
            (self.ehr_launch && self.has(Word::Launch), "context-ehr-encounter"),
            (self.has(Word::LaunchPatient), "context-standalone-patient"),
            (self.has(Word::LaunchEncounter), "context-standalone-encounter"),
            (self.has(Word::OfflineAccess), "permission-offline"),
            (self.has(Word::OnlineAccess), "permission-online"),
            (self.has_context(Context::Patient), "permission-patient"),
            (self.has_context(Context::User), "permission-user"),
            (true, "permission-v1"),
            (true, "permission-v2"),
        ])
    }

    /// What all three documents say.
    fn common(&self, gateway: &Gateway) -> Map<String, Value> {
        let algorithms = client_assertion::ALGORITHMS.map(crate::values::key::Algorithm::as_str);
        let mut document = Map::new();
        let mut say = |name: &str, value: Value| document.insert(name.to_owned(), value);
        if self.user {
            say("authorization_endpoint", format!("{}/oauth2/authorize", gateway.issuer).into());
        }
        say("token_endpoint", gateway.token_endpoint.clone().into());
        say("token_endpoint_auth_methods_supported", self.authentication_methods(true).into());
        say("introspection_endpoint", gateway.introspection_endpoint().into());
        say("introspection_endpoint_auth_methods_supported", self.authentication_methods(false).into());
        say("revocation_endpoint", gateway.revocation_endpoint().into());
        say("revocation_endpoint_auth_methods_supported", self.authentication_methods(true).into());
        if self.keys {
            for endpoint in ["token", "introspection", "revocation"] {
                let name = format!("{endpoint}_endpoint_auth_signing_alg_values_supported");
                say(&name, algorithms.to_vec().into());
            }
        }
        say("grant_types_supported", self.grant_types().into());
        say("response_types_supported", chosen([(self.user, "code")]).into());
        say("code_challenge_methods_supported", json!(["S256"]));
        say("scopes_supported", self.scopes.iter().map(ToString::to_string).collect::<Vec<_>>().into());
        document
    }
}

fn chosen<const COUNT: usize>(all: [(bool, &'static str); COUNT]) -> Vec<&'static str> {
    all.into_iter().filter_map(|(is_so, word)| is_so.then_some(word)).collect()
}

/// `B/fhir/.well-known/smart-configuration` (SMART App Launch 2.2 "Conformance"). `issuer` and `jwks_uri` are there
/// exactly where users sign on, as it asks. `code_challenge_methods_supported` is required in any case: it says that
/// `plain` will never do.
pub fn smart_configuration(snapshot: &Snapshot, gateway: &Gateway) -> Value {
    let offer = Offer::of(snapshot, gateway);
    let mut document = Map::new();
    if offer.signs_on() {
        document.insert("issuer".to_owned(), gateway.issuer.clone().into());
        document.insert("jwks_uri".to_owned(), jwks_uri(gateway).into());
    }
    document.extend(offer.common(gateway));
    document.insert("capabilities".to_owned(), offer.capabilities().into());
    document.into()
}

/// `/.well-known/oauth-authorization-server<path of B>` (RFC 8414 §2).
pub fn authorization_server(snapshot: &Snapshot, gateway: &Gateway) -> Value {
    server_document(&Offer::of(snapshot, gateway), gateway).into()
}

/// `B/.well-known/openid-configuration` (OpenID Connect Discovery 1.0 §3). Without users it is for resource servers,
/// which look for `jwks_uri` here.
pub fn openid_configuration(snapshot: &Snapshot, gateway: &Gateway) -> Value {
    let offer = Offer::of(snapshot, gateway);
    let mut document = server_document(&offer, gateway);
    document.insert("subject_types_supported".to_owned(), json!(["public"]));
    document.insert("id_token_signing_alg_values_supported".to_owned(), json!(["RS256"]));
    document.into()
}

fn server_document(offer: &Offer, gateway: &Gateway) -> Map<String, Value> {
    let mut document = Map::new();
    document.insert("issuer".to_owned(), gateway.issuer.clone().into());
    document.insert("jwks_uri".to_owned(), jwks_uri(gateway).into());
    document.extend(offer.common(gateway));
    if offer.user {
        document.insert("response_modes_supported".to_owned(), json!(["query"]));
        document.insert("authorization_response_iss_parameter_supported".to_owned(), true.into());
    }
    document
}

/// `B/oauth2/jwks`
pub fn jwks_uri(gateway: &Gateway) -> String {
    format!("{}/oauth2/jwks", gateway.issuer)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::protocol::test_support::{AppKey, World};
    use crate::snapshot::ObjectKey;

    fn world() -> World {
        World::before("http://127.0.0.1:9")
    }

    /// The gateway where nobody is activated.
    fn nobody() -> World {
        ["sync-epic", "mobile-epic"].into_iter().fold(world(), |world, name| world.without("Activation", name))
    }

    /// `mobile` with users behind it.
    fn with_users() -> World {
        let user = json!({"type": "User", "user": {"clientId": "at-the-ehr",
            "authorizationUrl": "https://ehr.example.org/authorize", "tokenUrl": "https://ehr.example.org/token"}});
        let scopes = json!([
            "launch",
            "launch/patient",
            "openid",
            "fhirUser",
            "offline_access",
            "patient/Patient.rs",
            "user/Observation.read"
        ]);
        world().set("Activation", "mobile-epic", "ehrAuthentication", user).set("App", "mobile", "scopes", scopes).set(
            "App",
            "mobile",
            "launchUri",
            json!("https://mobile.example.org/launch"),
        )
    }

    fn with_keys() -> World {
        // Not told: which keys they are.
        world().set("App", "schedule-sync", "jwks", AppKey::generate().jwks())
    }

    fn suspended() -> World {
        world().set("App", "schedule-sync", "suspend", true.into())
    }

    #[rstest]
    #[case("nobody", nobody())]
    #[case("secrets", world())]
    #[case("keys", with_keys())]
    #[case("users", with_users())]
    #[case("suspended", suspended())]
    fn the_documents_announce_what_somebody_can_use(#[case] name: &str, #[case] world: World) {
        let snapshot = world.compile();
        let gateway = &snapshot.gateways[&ObjectKey::new("default", "epic")];
        let documents = json!({
            "smart-configuration": smart_configuration(&snapshot, gateway),
            "oauth-authorization-server": authorization_server(&snapshot, gateway),
            "openid-configuration": openid_configuration(&snapshot, gateway),
        });
        insta::with_settings!({ prepend_module_to_snapshot => false, snapshot_path => "discovery" }, {
            insta::assert_json_snapshot!(name, documents);
        });
    }

    #[test]
    fn what_smart_requires_is_always_there() {
        for world in [nobody(), world(), with_keys(), with_users()] {
            let snapshot = world.compile();
            let gateway = &snapshot.gateways[&ObjectKey::new("default", "epic")];
            let document = smart_configuration(&snapshot, gateway);
            for member in
                ["token_endpoint", "grant_types_supported", "capabilities", "code_challenge_methods_supported"]
            {
                assert!(document.get(member).is_some(), "{member}: {document}");
            }
            let has = |member: &str| document.get(member).is_some();
            let capabilities = document["capabilities"].as_array().unwrap();
            let sso = capabilities.contains(&json!("sso-openid-connect"));
            assert_eq!((has("issuer"), has("jwks_uri")), (sso, sso));
            let launches = capabilities.contains(&json!("launch-standalone"));
            assert_eq!(has("authorization_endpoint"), launches);
        }
    }
}
