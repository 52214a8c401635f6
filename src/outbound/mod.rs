//! Everything that Hearthgate calls: EHRs, their token endpoints, and the links that apps name.
//!
//! | where | what |
//! |---|---|
//! | [`dial`], [`tls`] | the one way out: resolves a name, judges every address, dials exactly what was judged |
//! | [`client`] | [`EhrClient`]: pooled HTTP/1.1 and HTTP/2 over it; never follows a redirect |
//! | [`breaker`], [`retry`] | when to leave an EHR alone, and when to ask it again |
//! | [`token`] | [`EhrTokens`]: cached, single flight, renewed early |
//! | `ehr_keys` | an EHR's key set, for the id_tokens of its users |
//! | [`discovery`] | an EHR's SMART configuration, read where no token URL is given |
//! | [`jwks`] | [`AppKeys`]: the key sets that apps publish, kept no longer than they say |
//! | [`outcome`] | what each EHR last said to each activation's token request |
//! | [`programmed`] | what a replica tells of what it serves and heard |
//! | [`probe`] | is the EHR there, is an app's link reachable, is the app healthy |
//!
//! Proxy environment variables are never used: an address that was judged is the address that is called.

pub mod breaker;
pub mod client;
pub mod clock;
pub mod dial;
pub mod discovery;
mod ehr_keys;
pub mod jwks;
pub mod outcome;
pub mod probe;
pub mod programmed;
pub mod retry;
#[cfg(test)]
pub(crate) mod testing;
pub mod tls;
pub mod token;

pub use client::{CallError, EhrClient, GZIP};
pub use clock::{Clock, SystemClock};
pub use jwks::AppKeys;
pub use outcome::{EhrAnswer, EhrOutcome, EhrOutcomes};
pub use token::{EhrAuthorization, EhrTokenError, EhrTokens, IdentityError, UserGrant, UserTokens};

use http::{HeaderName, HeaderValue};

use crate::api::data_adapter::DataSourceType;
use crate::snapshot::DataAdapter;

/// The header by which Epic knows the client on calls that carry no token of it, and on `/metadata`, which tells other
/// URLs without it (fhir.epic.com, "OAuth 2.0 specification").
pub const EPIC_CLIENT_ID: HeaderName = HeaderName::from_static("epic-client-id");

/// The `Epic-Client-ID` that goes along with a call to this EHR, where its kind asks for it.
pub fn epic_client_id(adapter: &DataAdapter, client_id: Option<&str>) -> Option<HeaderValue> {
    match adapter.data_source_type {
        DataSourceType::EpicR4External => HeaderValue::from_str(client_id?).ok(),
        DataSourceType::OracleHealthR4
        | DataSourceType::AthenaR4
        | DataSourceType::MeditechR4
        | DataSourceType::FhirR4 => None,
    }
}
