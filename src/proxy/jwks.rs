//! `B/oauth2/jwks`: the gateway's own public keys.

use http::Response;

use super::body::Body;
use super::document;
use crate::snapshot::Gateway;

pub(super) fn answer(gateway: &Gateway) -> Response<Body> {
    document::public(gateway.signing.jwks.clone())
}
