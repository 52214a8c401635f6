//! The discovery documents: SMART's, RFC 8414's and OpenID's. Made once for each snapshot.

use std::sync::OnceLock;

use bytes::Bytes;
use http::Response;

use super::body::Body;
use super::document;
use crate::protocol::oauth::discovery;
use crate::snapshot::gateway::DiscoveryDocuments;
use crate::snapshot::{Gateway, Snapshot};

/// `B/fhir/.well-known/smart-configuration`
pub(super) fn smart(snapshot: &Snapshot, gateway: &Gateway) -> Response<Body> {
    let make = || discovery::smart_configuration(snapshot, gateway).to_string().into();
    told_once(snapshot, gateway, |documents| &documents.smart_configuration, make)
}

/// `/.well-known/oauth-authorization-server<path of B>`
pub(super) fn authorization_server(snapshot: &Snapshot, gateway: &Gateway) -> Response<Body> {
    let make = || discovery::authorization_server(snapshot, gateway).to_string().into();
    told_once(snapshot, gateway, |documents| &documents.authorization_server, make)
}

/// `B/.well-known/openid-configuration`
pub(super) fn openid(snapshot: &Snapshot, gateway: &Gateway) -> Response<Body> {
    let make = || discovery::openid_configuration(snapshot, gateway).to_string().into();
    told_once(snapshot, gateway, |documents| &documents.openid_configuration, make)
}

fn told_once(
    snapshot: &Snapshot,
    gateway: &Gateway,
    which: fn(&DiscoveryDocuments) -> &OnceLock<Bytes>,
    make: impl FnOnce() -> Bytes,
) -> Response<Body> {
    let document = match snapshot.documents_of(&gateway.key) {
        Some(documents) => which(documents).get_or_init(make).clone(),
        None => make(),
    };
    document::public(document)
}
