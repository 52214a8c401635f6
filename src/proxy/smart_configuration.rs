//! The discovery documents: SMART's, RFC 8414's and OpenID's.

use http::Response;

use super::body::Body;
use super::document;
use crate::protocol::oauth::discovery;
use crate::snapshot::{Gateway, Snapshot};

/// `B/fhir/.well-known/smart-configuration`
pub(super) fn smart(snapshot: &Snapshot, gateway: &Gateway) -> Response<Body> {
    document::public(discovery::smart_configuration(snapshot, gateway).to_string())
}

/// `/.well-known/oauth-authorization-server<path of B>`
pub(super) fn authorization_server(snapshot: &Snapshot, gateway: &Gateway) -> Response<Body> {
    document::public(discovery::authorization_server(snapshot, gateway).to_string())
}

/// `B/.well-known/openid-configuration`
pub(super) fn openid(snapshot: &Snapshot, gateway: &Gateway) -> Response<Body> {
    document::public(discovery::openid_configuration(snapshot, gateway).to_string())
}
