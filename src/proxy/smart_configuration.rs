//! The discovery documents: SMART's, RFC 8414's and OpenID's.

use http::Response;

use super::body::Body;
use super::document;
use crate::protocol::oauth::discovery;
use crate::snapshot::Gateway;

/// `B/fhir/.well-known/smart-configuration`
pub(super) fn smart(gateway: &Gateway) -> Response<Body> {
    document::public(discovery::smart_configuration(gateway).to_string())
}

/// `/.well-known/oauth-authorization-server<path of B>`
pub(super) fn authorization_server(gateway: &Gateway) -> Response<Body> {
    document::public(discovery::authorization_server(gateway).to_string())
}

/// `B/.well-known/openid-configuration`
pub(super) fn openid(gateway: &Gateway) -> Response<Body> {
    document::public(discovery::openid_configuration(gateway).to_string())
}
