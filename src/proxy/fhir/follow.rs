//! `B/fhir/_link/…`: a page, an export's status or one of its files, by a link that the gateway sealed. What was asked
//! at first is judged again, by what the token gives now.

use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::error::FhirError;
use super::links::{self, Leads, Link, Links};
use super::{EhrCall, FHIR_JSON, FhirRequest, access, bulk};
use crate::protocol::fhir::{self, Denial, Interaction};
use crate::proxy::Proxy;
use crate::proxy::body::Body;
use crate::proxy::forward::{Credentials, Draft, EhrBody, Outgoing};
use crate::proxy::record::Record;

impl Proxy {
    pub(super) async fn follow(
        &self,
        request: &FhirRequest<'_>,
        call: &EhrCall<'_>,
        token: &str,
        record: &mut Record,
    ) -> Result<Response<Body>, FhirError> {
        let gateway = request.gateway;
        let link = links::open(gateway, call.bearer, token, request.now).ok_or(FhirError::LinkUnusable)?;
        let method = link.asked.method();
        let parts = link.asked.parts(&method);
        let interaction = fhir::understand(&parts)?;
        record.interaction = Some(interaction.name());
        record.resource_type = interaction.resource_type().map(str::to_owned);
        let access = access(call.bearer);
        let permit = fhir::decide(&access, &gateway.operations, &interaction, &parts, link.asked.form())?;
        let is_read = matches!(request.head.method, Method::GET | Method::HEAD);
        let links = Links::new(gateway, call.bearer, link.asked.clone(), request.now);
        match link.leads {
            Leads::Page if is_read => {
                let answer = self.fetch(call, &link, Method::GET, FHIR_JSON).await?;
                self.finish(call, answer, (&permit, &interaction), Some(links)).await
            }
            Leads::Status if is_read => {
                let answer = self.fetch(call, &link, Method::GET, "application/json").await?;
                bulk::status(gateway, answer, &access, &links).await
            }
            Leads::Status if request.head.method == Method::DELETE => {
                let answer = self.fetch(call, &link, Method::DELETE, "application/json").await?;
                Ok(bulk::deleted(answer.status()))
            }
            Leads::File | Leads::OpenFile if is_read => {
                let answer = self.fetch(call, &link, Method::GET, bulk::NDJSON).await?;
                bulk::file(gateway, answer)
            }
            Leads::Page | Leads::Status | Leads::File | Leads::OpenFile => Err(Denial::NotUnderstood.into()),
        }
    }

    async fn fetch(
        &self,
        call: &EhrCall<'_>,
        link: &Link,
        method: Method,
        accept: &'static str,
    ) -> Result<Response<EhrBody>, FhirError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        let draft = Draft { method, target: link.url.clone(), headers, body: Outgoing::Whole(Bytes::new()) };
        if link.leads == Leads::OpenFile {
            // Who holds the URL may have the file; a token there would be one too many (Bulk Data "File Request").
            return Ok(self.forward(&call.gateway.data_adapter, &Credentials::Open, draft, call.request_id).await?);
        }
        self.call(call, draft).await
    }
}

/// What the start of an export is answered with: where to ask for its state.
pub(super) fn kicked_off(answer: &Response<EhrBody>, links: &Links) -> Option<Response<Body>> {
    (answer.status() == StatusCode::ACCEPTED).then(|| bulk::accepted(answer.headers(), links))
}

/// Whether the answer to an interaction may have pages, or hold Bundles that have.
pub(super) const fn has_pages(interaction: &Interaction<'_>) -> bool {
    match interaction {
        Interaction::HistoryInstance(_)
        | Interaction::HistoryType(_)
        | Interaction::HistorySystem
        | Interaction::SearchType(_)
        | Interaction::SearchTypeByPost(_)
        | Interaction::SearchSystem
        | Interaction::SearchSystemByPost
        | Interaction::SearchCompartment(_)
        | Interaction::Batch
        | Interaction::Operation { .. } => true,
        Interaction::Capabilities
        | Interaction::Read(_)
        | Interaction::VersionRead(_)
        | Interaction::Create(_)
        | Interaction::ConditionalCreate(_)
        | Interaction::Update(_)
        | Interaction::ConditionalUpdate(_)
        | Interaction::Patch(_)
        | Interaction::ConditionalPatch(_)
        | Interaction::Delete(_)
        | Interaction::ConditionalDelete(_) => false,
    }
}
