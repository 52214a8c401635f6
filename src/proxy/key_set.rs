//! `<platform>/<namespace>/keys/<pair>/jwks.json`: the public keys that EHRs fetch.

use http::Response;

use super::body::Body;
use super::document;
use crate::snapshot::KeyPair;

pub(super) fn answer(pair: &KeyPair) -> Response<Body> {
    document::public(pair.jwks.to_string())
}
