//! `(snapshot, authority, raw path)` → endpoint. The one table of the URLs of a gateway (`B` = its public URL).

use std::sync::Arc;

use http::Method;

use super::path::{self, PathOddity};
use crate::snapshot::{Gateway, KeyPair, ObjectKey, Place, Snapshot};
use crate::values::code::Code;

/// Where a request leads.
#[derive(Clone, Debug)]
pub enum Endpoint<'snapshot, 'path> {
    /// `B/oauth2/token`
    Token(&'snapshot Arc<Gateway>),
    /// `B/oauth2/introspect`
    Introspect(&'snapshot Arc<Gateway>),
    /// `B/oauth2/revoke`
    Revoke(&'snapshot Arc<Gateway>),
    /// `B/oauth2/authorize`
    Authorize(&'snapshot Arc<Gateway>),
    /// `B/oauth2/callback`: where the EHR sends users back to.
    Callback(&'snapshot Arc<Gateway>),
    /// `B/launch/<app>`: where the EHR starts an app.
    Launch {
        /// The gateway.
        gateway: &'snapshot Arc<Gateway>,
        /// What stands below `B/launch/`.
        app: &'path str,
    },
    /// `B/oauth2/jwks`
    Jwks(&'snapshot Arc<Gateway>),
    /// `B/fhir/.well-known/smart-configuration`
    SmartConfiguration(&'snapshot Arc<Gateway>),
    /// `B/fhir/metadata`
    Metadata(&'snapshot Arc<Gateway>),
    /// `B/fhir…`: the rest is empty or begins with a slash.
    Fhir {
        /// The gateway.
        gateway: &'snapshot Arc<Gateway>,
        /// What stands below the FHIR base.
        rest: &'path str,
    },
    /// `B/api…`: the rest is empty or begins with a slash.
    PrivateApi {
        /// The gateway.
        gateway: &'snapshot Arc<Gateway>,
        /// What stands below `B/api`.
        rest: &'path str,
    },
    /// `/.well-known/oauth-authorization-server<path of B>` (RFC 8414 §3.1)
    AuthorizationServerMetadata(&'snapshot Arc<Gateway>),
    /// `B/.well-known/openid-configuration`
    OpenIdConfiguration(&'snapshot Arc<Gateway>),
    /// `<platform>/<namespace>/keys/<pair>/jwks.json`
    KeySet(&'snapshot Arc<KeyPair>),
}

/// The classes of endpoints, as metrics and logs name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndpointClass {
    /// The token endpoint.
    Token,
    /// Introspection.
    Introspect,
    /// Revocation.
    Revoke,
    /// The authorization endpoint.
    Authorize,
    /// The way back from the EHR.
    Callback,
    /// A launch from the EHR.
    Launch,
    /// The gateway's own keys.
    Jwks,
    /// SMART discovery.
    SmartConfiguration,
    /// The CapabilityStatement.
    Metadata,
    /// The FHIR API.
    Fhir,
    /// The private APIs.
    PrivateApi,
    /// RFC 8414 discovery.
    AuthorizationServerMetadata,
    /// OpenID discovery.
    OpenIdConfiguration,
    /// The keys that EHRs fetch.
    KeySet,
    /// Nothing that there is.
    Unknown,
}

impl EndpointClass {
    /// The class in one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Introspect => "introspect",
            Self::Revoke => "revoke",
            Self::Authorize => "authorize",
            Self::Callback => "callback",
            Self::Launch => "launch",
            Self::Jwks => "jwks",
            Self::SmartConfiguration => "smart-configuration",
            Self::Metadata => "metadata",
            Self::Fhir => "fhir",
            Self::PrivateApi => "private-api",
            Self::AuthorizationServerMetadata => "authorization-server-metadata",
            Self::OpenIdConfiguration => "openid-configuration",
            Self::KeySet => "key-set",
            Self::Unknown => "unknown",
        }
    }
}

/// Why a request leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The path is odd.
    #[error("{0}; such paths are never forwarded")]
    Path(#[from] PathOddity),
    /// No gateway is there.
    #[error("no gateway is at this URL")]
    GatewayUnknown,
    /// No gateway is anywhere: either nothing is configured yet, or nothing of it is valid.
    #[error("no gateway is configured yet, or none without a fault")]
    NothingServed,
    /// A gateway is there, but has a fault of its own.
    #[error("the gateway {0} cannot be served because of a fault in its configuration")]
    GatewayNotServed(ObjectKey),
    /// The gateway has no such endpoint.
    #[error("the gateway has no such endpoint")]
    EndpointUnknown(ObjectKey),
}

impl RouteError {
    /// The code of the refusal.
    pub const fn code(&self) -> Code {
        match self {
            Self::Path(_) => Code::PathRefused,
            Self::GatewayUnknown => Code::GatewayUnknown,
            Self::NothingServed | Self::GatewayNotServed(_) => Code::GatewayNotServed,
            Self::EndpointUnknown(_) => Code::EndpointUnknown,
        }
    }
}

impl Endpoint<'_, '_> {
    /// Its class.
    pub const fn class(&self) -> EndpointClass {
        match self {
            Self::Token(_) => EndpointClass::Token,
            Self::Introspect(_) => EndpointClass::Introspect,
            Self::Revoke(_) => EndpointClass::Revoke,
            Self::Authorize(_) => EndpointClass::Authorize,
            Self::Callback(_) => EndpointClass::Callback,
            Self::Launch { .. } => EndpointClass::Launch,
            Self::Jwks(_) => EndpointClass::Jwks,
            Self::SmartConfiguration(_) => EndpointClass::SmartConfiguration,
            Self::Metadata(_) => EndpointClass::Metadata,
            Self::Fhir { .. } => EndpointClass::Fhir,
            Self::PrivateApi { .. } => EndpointClass::PrivateApi,
            Self::AuthorizationServerMetadata(_) => EndpointClass::AuthorizationServerMetadata,
            Self::OpenIdConfiguration(_) => EndpointClass::OpenIdConfiguration,
            Self::KeySet(_) => EndpointClass::KeySet,
        }
    }

    /// The gateway that it belongs to; key sets belong to none.
    pub const fn gateway(&self) -> Option<&Arc<Gateway>> {
        match self {
            Self::Token(gateway)
            | Self::Introspect(gateway)
            | Self::Revoke(gateway)
            | Self::Authorize(gateway)
            | Self::Callback(gateway)
            | Self::Launch { gateway, .. }
            | Self::Jwks(gateway)
            | Self::SmartConfiguration(gateway)
            | Self::Metadata(gateway)
            | Self::Fhir { gateway, .. }
            | Self::PrivateApi { gateway, .. }
            | Self::AuthorizationServerMetadata(gateway)
            | Self::OpenIdConfiguration(gateway) => Some(gateway),
            Self::KeySet(_) => None,
        }
    }

    /// The methods that it takes, as an `Allow` header has them; what exactly is decided on the way where more matters.
    pub const fn allowed_methods(&self) -> &'static str {
        match self {
            Self::Token(_) | Self::Introspect(_) | Self::Revoke(_) => "POST",
            // OpenID Connect Core §3.1.2.1 and SMART's `authorize-post` ask for both.
            Self::Authorize(_) => "GET, POST",
            Self::Callback(_) | Self::Launch { .. } => "GET",
            Self::Fhir { .. } | Self::PrivateApi { .. } => "GET, HEAD, POST, PUT, PATCH, DELETE",
            Self::Jwks(_)
            | Self::SmartConfiguration(_)
            | Self::Metadata(_)
            | Self::AuthorizationServerMetadata(_)
            | Self::OpenIdConfiguration(_)
            | Self::KeySet(_) => "GET, HEAD",
        }
    }

    /// Whether it takes this method. `TRACE`, `CONNECT` and inventions are taken nowhere.
    pub fn allows(&self, method: &Method) -> bool {
        self.allowed_methods().split(", ").any(|allowed| allowed == method.as_str())
    }
}

/// Finds the endpoint. `authority` is what the client called, in lower case; `path` is raw, without the query.
pub fn route<'snapshot, 'path>(
    snapshot: &'snapshot Snapshot,
    authority: &str,
    path: &'path str,
) -> Result<Endpoint<'snapshot, 'path>, RouteError> {
    path::check(path)?;
    match snapshot.routes.find(authority, path) {
        None if snapshot.routes.is_empty() => Err(RouteError::NothingServed),
        None => Err(RouteError::GatewayUnknown),
        Some(Place::NotServed(key)) => Err(RouteError::GatewayNotServed(key.clone())),
        Some(Place::KeySet(pair)) => Ok(Endpoint::KeySet(pair)),
        Some(Place::AuthorizationServerMetadata(gateway)) => Ok(Endpoint::AuthorizationServerMetadata(gateway)),
        Some(Place::Gateway(gateway, rest)) => within(gateway, rest),
    }
}

fn within<'snapshot, 'path>(
    gateway: &'snapshot Arc<Gateway>,
    path: &'path str,
) -> Result<Endpoint<'snapshot, 'path>, RouteError> {
    match path {
        "/oauth2/token" => return Ok(Endpoint::Token(gateway)),
        "/oauth2/introspect" => return Ok(Endpoint::Introspect(gateway)),
        "/oauth2/revoke" => return Ok(Endpoint::Revoke(gateway)),
        "/oauth2/authorize" => return Ok(Endpoint::Authorize(gateway)),
        "/oauth2/callback" => return Ok(Endpoint::Callback(gateway)),
        "/oauth2/jwks" => return Ok(Endpoint::Jwks(gateway)),
        "/.well-known/openid-configuration" => return Ok(Endpoint::OpenIdConfiguration(gateway)),
        "/fhir/.well-known/smart-configuration" => return Ok(Endpoint::SmartConfiguration(gateway)),
        "/fhir/metadata" => return Ok(Endpoint::Metadata(gateway)),
        _ => {}
    }
    let below = |prefix: &str| path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    if let Some(rest) = below("/fhir") {
        return Ok(Endpoint::Fhir { gateway, rest });
    }
    if let Some(rest) = below("/api") {
        return Ok(Endpoint::PrivateApi { gateway, rest });
    }
    if let Some(app) = path.strip_prefix("/launch/").filter(|app| !app.is_empty() && !app.contains('/')) {
        return Ok(Endpoint::Launch { gateway, app });
    }
    Err(RouteError::EndpointUnknown(gateway.key.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::test_support;
    use proptest::prelude::*;

    fn class_at(path: &str) -> Result<EndpointClass, Code> {
        route(&test_support::snapshot(), "gate.example.org", path)
            .map(|endpoint| endpoint.class())
            .map_err(|error| error.code())
    }

    #[test]
    fn every_url_of_a_gateway_has_its_endpoint() {
        for (path, class) in [
            ("/default/epic/oauth2/token", EndpointClass::Token),
            ("/default/epic/oauth2/introspect", EndpointClass::Introspect),
            ("/default/epic/oauth2/revoke", EndpointClass::Revoke),
            ("/default/epic/oauth2/authorize", EndpointClass::Authorize),
            ("/default/epic/oauth2/callback", EndpointClass::Callback),
            ("/default/epic/launch/growth-chart", EndpointClass::Launch),
            ("/default/epic/oauth2/jwks", EndpointClass::Jwks),
            ("/default/epic/fhir", EndpointClass::Fhir),
            ("/default/epic/fhir/", EndpointClass::Fhir),
            ("/default/epic/fhir/Patient/1", EndpointClass::Fhir),
            ("/default/epic/fhir/metadata", EndpointClass::Metadata),
            ("/default/epic/fhir/.well-known/smart-configuration", EndpointClass::SmartConfiguration),
            ("/default/epic/.well-known/openid-configuration", EndpointClass::OpenIdConfiguration),
            ("/.well-known/oauth-authorization-server/default/epic", EndpointClass::AuthorizationServerMetadata),
            ("/default/epic/api/schedule", EndpointClass::PrivateApi),
        ] {
            assert_eq!(class_at(path), Ok(class), "{path}");
        }
    }

    #[test]
    fn what_leads_nowhere_says_why() {
        for (path, code) in [
            ("/default/unknown/fhir/Patient", Code::GatewayUnknown),
            ("/", Code::GatewayUnknown),
            ("/default/epicx/fhir", Code::GatewayUnknown),
            ("/default/epic", Code::EndpointUnknown),
            ("/default/epic/oauth2/token/", Code::EndpointUnknown),
            ("/default/epic/oauth2/authorize/", Code::EndpointUnknown),
            ("/default/epic/launch", Code::EndpointUnknown),
            ("/default/epic/launch/", Code::EndpointUnknown),
            ("/default/epic/launch/a/b", Code::EndpointUnknown),
            ("/default/epic/fhirs", Code::EndpointUnknown),
            ("/default/epic/fhir/../api", Code::PathRefused),
            ("/default/epic/fhir/%2e%2e/api", Code::PathRefused),
            ("/default//epic/fhir", Code::PathRefused),
        ] {
            assert_eq!(class_at(path), Err(code), "{path}");
        }
    }

    #[test]
    fn methods_belong_to_endpoints() {
        let snapshot = test_support::snapshot();
        let at = |path: &'static str| route(&snapshot, "gate.example.org", path).unwrap();
        assert!(at("/default/epic/oauth2/token").allows(&Method::POST));
        assert!(!at("/default/epic/oauth2/token").allows(&Method::GET));
        assert!(at("/default/epic/fhir/Patient").allows(&Method::PATCH));
        for method in [Method::TRACE, Method::CONNECT, Method::OPTIONS, Method::from_bytes(b"GE").unwrap()] {
            assert!(!at("/default/epic/fhir/Patient").allows(&method), "{method}");
        }
    }

    proptest! {
        #[test]
        fn routing_never_panics(authority in "\\PC{0,20}", path in "\\PC{0,60}|/default/epic/(fhir|api)[/%.;a-z0-9]{0,20}") {
            if let Ok(Endpoint::Fhir { rest, .. } | Endpoint::PrivateApi { rest, .. }) =
                route(&test_support::snapshot(), &authority, &path)
            {
                prop_assert!(path.ends_with(rest));
                prop_assert!(rest.is_empty() || path::check(rest).is_ok());
            }
        }
    }
}
