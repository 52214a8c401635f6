//! What is counted. Labels name objects of the configuration and fixed words, never what a client sent.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::record::Record;
use crate::snapshot::ObjectKey;

/// Seconds; from a refusal that costs nothing to an EHR that thinks.
const LATENCY_BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    gateway: String,
    app: String,
    endpoint: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DenialLabels {
    gateway: String,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LatencyLabels {
    gateway: String,
    endpoint: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EhrLabels {
    adapter: String,
    outcome: &'static str,
}

/// The proxy's counters, and the registry that others may add theirs to.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter<u64, AtomicU64>>,
    denials: Family<DenialLabels, Counter<u64, AtomicU64>>,
    latency: Family<LatencyLabels, Histogram, fn() -> Histogram>,
    ehr_calls: Family<EhrLabels, Counter<u64, AtomicU64>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::with(Registry::with_prefix("hearthgate"))
    }
}

impl Metrics {
    /// Adds the proxy's counters to a registry.
    pub fn with(mut registry: Registry) -> Self {
        let requests = Family::default();
        let denials = Family::default();
        let latency: Family<_, _, fn() -> Histogram> = Family::new_with_constructor(|| Histogram::new(LATENCY_BUCKETS));
        let ehr_calls = Family::default();
        registry.register("requests", "Requests by gateway, app, endpoint and status", requests.clone());
        registry.register("denials", "Refused requests by gateway and code", denials.clone());
        registry.register("request_seconds", "Time until an answer's headers", latency.clone());
        registry.register("ehr_calls", "Calls to EHRs by adapter and outcome", ehr_calls.clone());
        Self { registry, requests, denials, latency, ehr_calls }
    }

    /// The text that Prometheus reads (OpenMetrics 1.0).
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    pub(super) fn request(&self, record: &Record, status: StatusCode, took: Duration) {
        let gateway = record.gateway.as_ref().map(ToString::to_string).unwrap_or_default();
        let app = record.app.as_ref().map(ToString::to_string).unwrap_or_default();
        let endpoint = record.endpoint.as_str();
        self.latency.get_or_create(&LatencyLabels { gateway: gateway.clone(), endpoint }).observe(took.as_secs_f64());
        if let Some(code) = record.code {
            self.denials.get_or_create(&DenialLabels { gateway: gateway.clone(), code: code.number() }).inc();
        }
        self.requests.get_or_create(&RequestLabels { gateway, app, endpoint, status: status.as_u16() }).inc();
    }

    /// `None`: there was no answer.
    pub(super) fn ehr_call(&self, adapter: &ObjectKey, status: Option<StatusCode>) {
        let outcome = match status.map(|status| status.as_u16()) {
            Some(100..=299) => "2xx",
            Some(300..=399) => "3xx",
            Some(401) => "401",
            Some(429) => "429",
            Some(400..=499) => "4xx",
            Some(_) => "5xx",
            None => "failed",
        };
        self.ehr_calls.get_or_create(&EhrLabels { adapter: adapter.to_string(), outcome }).inc();
    }
}
