//! Traces (W3C Trace Context, OpenTelemetry): a client's context is taken up and handed on to the EHR. Where traces are
//! exported, the request and each call to the EHR are spans of it; where not, the context passes through as it came.
//!
//! The context travels in the request's own headers: `begin` puts the request's span in place of the client's, and the
//! call to the EHR, which sends these headers on, puts its own in place of that. Spans hold what the log line holds: no
//! path, no query, no id.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode};
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HeaderExtractor, HeaderInjector, HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tokio::runtime::Handle;

use super::record::Record;
use crate::snapshot::ObjectKey;

/// W3C Trace Context §3.2, §3.3.
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// See [`TRACEPARENT`].
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// How long one batch may take to be sent.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where spans go. A clone goes to the same place.
#[derive(Clone)]
pub struct Traces {
    provider: SdkTracerProvider,
    tracer: Arc<SdkTracer>,
}

/// The collector's address cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("traces cannot be exported: {0}")]
pub struct TracesError(String);

impl fmt::Debug for Traces {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Traces").finish_non_exhaustive()
    }
}

impl Traces {
    /// Exports to the collector at this base URL, by OTLP over http. Called within a runtime, on which batches are sent.
    pub fn export_to(collector: &str) -> Result<Self, TracesError> {
        let failed = |error: &dyn fmt::Display| TracesError(error.to_string());
        let client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| failed(&error))?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Sender { client, runtime: Handle::current() })
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}/v1/traces", collector.trim_end_matches('/')))
            .build()
            .map_err(|error| failed(&error))?;
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(Resource::builder().with_service_name("hearthgate").build())
            .build();
        let tracer = Arc::new(provider.tracer("hearthgate"));
        Ok(Self { provider, tracer })
    }

    /// Sends what has not been sent, and ends. Blocks.
    pub fn finish(&self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!(%error, "the last spans could not be exported");
        }
    }
}

/// Sends batches on the runtime: the thread that makes them has none.
#[derive(Debug)]
struct Sender {
    client: reqwest::Client,
    runtime: Handle,
}

impl HttpClient for Sender {
    fn send_bytes<'call, 'async_trait>(
        &'call self,
        request: Request<Bytes>,
    ) -> BoxFuture<'async_trait, Result<Response<Bytes>, HttpError>>
    where
        'call: 'async_trait,
        Self: 'async_trait,
    {
        let client = self.client.clone();
        let sending = self.runtime.spawn(async move {
            let answer = client.execute(request.try_into()?).await?.error_for_status()?;
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = answer.status();
            *response.body_mut() = answer.bytes().await?;
            Ok(response)
        });
        Box::pin(async move { sending.await? })
    }
}

/// A span of a request or a call; ended when dropped.
pub(super) struct Span(Option<Context>);

/// Takes up a request's context. From here on its headers hold the context that calls made for it hand on.
pub(super) fn begin(traces: Option<&Traces>, headers: &mut HeaderMap) -> Span {
    let parent = take(headers);
    let Some(traces) = traces else {
        if let Some(parent) = parent {
            put(&parent, headers);
        }
        return Span(None);
    };
    start(traces, "request", SpanKind::Server, &parent.unwrap_or_default(), headers)
}

/// Begins a call to the EHR within the context that `headers` hold, and puts its own there.
pub(super) fn call(traces: Option<&Traces>, adapter: &ObjectKey, headers: &mut HeaderMap) -> Span {
    let Some(traces) = traces else { return Span(None) };
    let Some(parent) = take(headers) else { return Span(None) };
    let span = start(traces, "call to the EHR", SpanKind::Client, &parent, headers);
    span.set([KeyValue::new("hearthgate.adapter", adapter.to_string())]);
    span
}

fn start(traces: &Traces, name: &'static str, kind: SpanKind, parent: &Context, headers: &mut HeaderMap) -> Span {
    let span = traces.tracer.span_builder(name).with_kind(kind).start_with_context(&*traces.tracer, parent);
    let context = parent.with_span(span);
    put(&context, headers);
    Span(Some(context))
}

/// The context that headers hold, if it is one; they hold none afterwards.
fn take(headers: &mut HeaderMap) -> Option<Context> {
    if !headers.contains_key(&TRACEPARENT) {
        headers.remove(&TRACESTATE);
        return None;
    }
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers));
    headers.remove(&TRACEPARENT);
    headers.remove(&TRACESTATE);
    context.span().span_context().is_valid().then_some(context)
}

fn put(context: &Context, headers: &mut HeaderMap) {
    TraceContextPropagator::new().inject_context(context, &mut HeaderInjector(headers));
    if headers.get(&TRACESTATE).is_some_and(http::HeaderValue::is_empty) {
        headers.remove(&TRACESTATE);
    }
}

impl Span {
    fn set(&self, attributes: impl IntoIterator<Item = KeyValue>) {
        if let Some(context) = &self.0 {
            context.span().set_attributes(attributes);
        }
    }

    /// How a request ended.
    pub(super) fn request_ended(&self, method: &'static str, record: &Record, status: StatusCode) {
        if self.0.is_none() {
            return;
        }
        let text = |name: &'static str, value: Option<String>| value.map(|value| KeyValue::new(name, value));
        let known = [
            text("hearthgate.gateway", record.gateway.as_ref().map(ToString::to_string)),
            text("hearthgate.app", record.app.as_ref().map(ToString::to_string)),
            text("hearthgate.activation", record.activation.as_ref().map(|activation| activation.key.to_string())),
            text("hearthgate.interaction", record.interaction.map(str::to_owned)),
            text("hearthgate.resource_type", record.resource_type.clone()),
            text("hearthgate.code", record.code.map(|code| code.number().to_owned())),
            Some(KeyValue::new("hearthgate.endpoint", record.endpoint.as_str())),
            Some(KeyValue::new("http.request.method", method)),
        ];
        self.set(known.into_iter().flatten());
        self.answered(Some(status));
    }

    /// The status of the answer; `None`: there was none.
    pub(super) fn answered(&self, status: Option<StatusCode>) {
        if let Some(status) = status {
            self.set([KeyValue::new("http.response.status_code", i64::from(status.as_u16()))]);
        }
        if let Some(context) = self.0.as_ref().filter(|_| status.is_none_or(|status| status.is_server_error())) {
            context.span().set_status(Status::error(""));
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(context) = &self.0 {
            context.span().end();
        }
    }
}
