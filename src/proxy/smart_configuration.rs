//! The discovery documents: SMART's, RFC 8414's and OpenID's. Made once for each snapshot.

use http::Response;

use super::body::Body;
use super::document;
use crate::protocol::oauth::discovery;
use crate::snapshot::{Gateway, Snapshot};

/// `B/fhir/.well-known/smart-configuration`
pub(super) fn smart(snapshot: &Snapshot, gateway: &Gateway) -> Response<Body> {
    let make = || discovery::smart_configuration(snapshot, gateway).to_string().into();
    document::public(gateway.documents.smart_configuration.get_or_init(make).clone())
}

/// `/.well-known/oauth-authorization-server<path of B>`
pub(super) fn authorization_server(snapshot: &Snapshot, gateway: &Gateway) -> Response<Body> {
    let make = || discovery::authorization_server(snapshot, gateway).to_string().into();
    document::public(gateway.documents.authorization_server.get_or_init(make).clone())
}

/// `B/.well-known/openid-configuration`
pub(super) fn openid(snapshot: &Snapshot, gateway: &Gateway) -> Response<Body> {
    let make = || discovery::openid_configuration(snapshot, gateway).to_string().into();
    document::public(gateway.documents.openid_configuration.get_or_init(make).clone())
}
