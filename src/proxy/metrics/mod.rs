//! What is counted. Labels name objects of the configuration and fixed words, never what a client sent; the series of an
//! object that is gone go with the next reading.

mod labels;
mod series;

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use http::StatusCode;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use self::labels::{ActivationOnly, ActivationRequests, AdapterOnly, Denials, EhrCalls, Latency, Requests, TokenUses};
use self::series::{Labels, Object, Series};
use super::record::Record;
use super::tls::ServerTls;
use crate::snapshot::{ObjectKey, Snapshot};
use crate::store::Health;

/// Seconds; from a refusal that costs nothing to an EHR that thinks.
const LATENCY_BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Before all names.
const PREFIX: &str = "hearthgate";
/// 1 while the shared store answers. `doctor` reads it, too.
const STORE_REACHABLE: &str = "store_reachable";

type Count = Counter<u64, AtomicU64>;
type Number = Gauge<i64, AtomicI64>;
type Real = Gauge<f64, AtomicU64>;

/// One metric, as the documentation tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The name that Prometheus knows, the suffix of counters included.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub help: &'static str,
}

/// What is read off the running proxy whenever somebody asks.
pub(super) trait Observed: Send + Sync {
    /// What is served now.
    fn snapshot(&self) -> Option<Arc<Snapshot>>;

    /// How the store is that replicas share.
    fn store(&self) -> Health;

    /// Sets the gauges.
    fn observe(&self, snapshot: &Snapshot, gauges: &Gauges);
}

/// The gauges that are set anew at each reading.
#[derive(Clone, Default)]
pub(super) struct Gauges {
    breaker_open: Family<AdapterOnly, Number>,
    clock_skew: Family<AdapterOnly, Number>,
    calls_at_once: Family<AdapterOnly, Number>,
    calls_waiting: Family<AdapterOnly, Number>,
    token_age: Family<ActivationOnly, Real>,
    authenticated: Family<ActivationOnly, Number>,
}

/// The proxy's counters.
pub struct Metrics {
    registry: Registry,
    described: Vec<Described>,
    requests: Series<Requests, Count>,
    denials: Series<Denials, Count>,
    latency: Series<Latency, Histogram>,
    activation_requests: Series<ActivationRequests, Count>,
    token_uses: Series<TokenUses, Count>,
    ehr_calls: Series<EhrCalls, Count>,
    ehr_latency: Series<AdapterOnly, Histogram>,
    ehr_retries: Series<AdapterOnly, Count>,
    gauges: Gauges,
    pub(super) audit_records: Count,
    pub(super) audit_lost: Count,
    certificate_not_after: Number,
    store_reachable: Number,
    certificate: OnceLock<ServerTls>,
    observed: OnceLock<Arc<dyn Observed>>,
    /// The snapshot that series were last pruned by.
    pruned_by: Mutex<Weak<Snapshot>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Metrics").field("described", &self.described.len()).finish_non_exhaustive()
    }
}

/// Registers metrics and remembers what they are called.
struct Registering {
    registry: Registry,
    described: Vec<Described>,
}

impl Registering {
    fn add(
        &mut self,
        (name, kind, labels): (&str, &'static str, &'static [&'static str]),
        help: &'static str,
        metric: impl Metric,
    ) {
        let suffix = if kind == "counter" { "_total" } else { "" };
        self.described.push(Described { name: format!("{PREFIX}_{name}{suffix}"), kind, labels, help });
        self.registry.register(name, help, metric);
    }

    fn count<L: Labels>(&mut self, name: &str, help: &'static str) -> Series<L, Count> {
        let family = Family::new_with_constructor(Count::default as fn() -> Count);
        self.add((name, "counter", L::NAMES), help, family.clone());
        Series::new(family)
    }

    fn latency<L: Labels>(&mut self, name: &str, help: &'static str) -> Series<L, Histogram> {
        let family = Family::new_with_constructor((|| Histogram::new(LATENCY_BUCKETS)) as fn() -> Histogram);
        self.add((name, "histogram", L::NAMES), help, family.clone());
        Series::new(family)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut to = Registering { registry: Registry::with_prefix(PREFIX), described: Vec::new() };
        let gauges = Gauges::default();
        let (audit_records, audit_lost) = (Count::default(), Count::default());
        let (certificate_not_after, store_reachable) = (Number::default(), Number::default());
        let requests = to.count("requests", "Requests by gateway, app, endpoint and status");
        let denials = to.count("denials", "Refused requests by gateway, app and code");
        let latency = to.latency("request_seconds", "Time until an answer's headers");
        let activation_requests =
            to.count("activation_requests", "Requests by activation and class of status (2xx, 4xx, …)");
        let token_uses = to.count(
            "ehr_token_uses",
            "Requests that needed a token of the EHR: hit, one was held; miss, the EHR was asked; failed, it gave none",
        );
        let ehr_calls = to.count("ehr_calls", "Calls to EHRs by adapter and outcome");
        let ehr_latency = to.latency("ehr_call_seconds", "Time until an EHR's answer has its headers");
        let ehr_retries = to.count("ehr_retries", "Calls to EHRs that were made again");
        let adapter = AdapterOnly::NAMES;
        let activation = ActivationOnly::NAMES;
        to.add(
            ("circuit_breaker_open", "gauge", adapter),
            "1 while an EHR that failed too often is left alone",
            gauges.breaker_open.clone(),
        );
        to.add(
            ("ehr_clock_skew_seconds", "gauge", adapter),
            "By how much an EHR's clock is ahead of ours, by its last answer's Date",
            gauges.clock_skew.clone(),
        );
        to.add(
            ("ehr_calls_under_way", "gauge", adapter),
            "Calls that wait for an EHR's answer",
            gauges.calls_at_once.clone(),
        );
        to.add(
            ("ehr_calls_queued", "gauge", adapter),
            "Calls that wait for their turn to be made",
            gauges.calls_waiting.clone(),
        );
        to.add(
            ("ehr_token_age_seconds", "gauge", activation),
            "How long ago the token that an activation uses was asked for",
            gauges.token_age.clone(),
        );
        to.add(
            ("ehr_authenticated", "gauge", activation),
            "1: the EHR's last answer to a token request was a token; 0: it was not",
            gauges.authenticated.clone(),
        );
        to.add(("audit_records", "counter", &[]), "Lines written to the audit log", audit_records.clone());
        to.add(
            ("audit_records_lost", "counter", &[]),
            "Lines that could not be written to the audit log",
            audit_lost.clone(),
        );
        to.add(
            ("tls_certificate_not_after_seconds", "gauge", &[]),
            "When the certificate of the public listener ends, in seconds since 1970; 0: it shows none",
            certificate_not_after.clone(),
        );
        to.add(
            (STORE_REACHABLE, "gauge", &[]),
            "1: the store of codes, sessions and revocations answers; 0: it is away, and what needs it is answered 503",
            store_reachable.clone(),
        );
        Self {
            registry: to.registry,
            described: to.described,
            requests,
            denials,
            latency,
            activation_requests,
            token_uses,
            ehr_calls,
            ehr_latency,
            ehr_retries,
            gauges,
            audit_records,
            audit_lost,
            certificate_not_after,
            store_reachable,
            certificate: OnceLock::new(),
            observed: OnceLock::new(),
            pruned_by: Mutex::default(),
        }
    }
}

/// Whether the shared store answers, in a text of [`Metrics::text`]. `None`: the text does not say.
pub fn tells_store_reachable(text: &str) -> Option<bool> {
    let line = format!("{PREFIX}_{STORE_REACHABLE} ");
    let value = text.lines().find_map(|own| own.strip_prefix(&line))?;
    Some(value.trim() == "1")
}

impl Metrics {
    /// What there is to read, also where nothing has been counted yet.
    pub fn described(&self) -> &[Described] {
        &self.described
    }

    /// The text that Prometheus reads (OpenMetrics 1.0).
    pub fn text(&self) -> String {
        self.read_off();
        let mut text = String::new();
        // Writing into a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// Tells from now on when this certificate ends.
    pub fn follow_certificate(&self, tls: ServerTls) {
        // Once in a process.
        let _ = self.certificate.set(tls);
    }

    pub(super) fn follow(&self, observed: Arc<dyn Observed>) {
        // Once in a process.
        let _ = self.observed.set(observed);
    }

    fn read_off(&self) {
        self.certificate_not_after.set(self.certificate.get().map_or(0, ServerTls::not_after));
        let Some(observed) = self.observed.get() else { return };
        self.store_reachable.set(observed.store().reachable.into());
        let Some(snapshot) = observed.snapshot() else { return };
        self.prune(&snapshot);
        self.gauges.clear();
        observed.observe(&snapshot, &self.gauges);
    }

    fn prune(&self, snapshot: &Arc<Snapshot>) {
        let mut pruned_by = self.pruned_by.lock().unwrap_or_else(PoisonError::into_inner);
        if pruned_by.ptr_eq(&Arc::downgrade(snapshot)) {
            return;
        }
        *pruned_by = Arc::downgrade(snapshot);
        self.requests.prune(snapshot);
        self.denials.prune(snapshot);
        self.latency.prune(snapshot);
        self.activation_requests.prune(snapshot);
        self.token_uses.prune(snapshot);
        self.ehr_calls.prune(snapshot);
        self.ehr_latency.prune(snapshot);
        self.ehr_retries.prune(snapshot);
    }

    pub(super) fn request(&self, record: Record, status: StatusCode, took: Duration) {
        let Record { gateway, app, activation, endpoint, code, .. } = record;
        let endpoint = endpoint.as_str();
        let latency = Latency { gateway: Object(gateway), app: Object(app), endpoint };
        self.latency.with(&latency, |latency| latency.observe(took.as_secs_f64()));
        // The names are handed from one set of labels to the next: each copy of them costs as much as counting does.
        let Latency { gateway, app, .. } = latency;
        let requests = Requests { gateway, app, endpoint, status: status.as_u16() };
        self.requests.with(&requests, increase);
        let Requests { gateway, app, .. } = requests;
        if let Some(code) = code {
            self.denials.with(&Denials { gateway, app, code: code.number() }, increase);
        }
        if let Some(activation) = activation {
            let labels = ActivationRequests { activation: Object::from(&activation.key), class: class(status) };
            self.activation_requests.with(&labels, increase);
        }
    }

    /// `None`: there was no answer.
    pub(super) fn ehr_call(&self, adapter: &ObjectKey, status: Option<StatusCode>, took: Duration) {
        let outcome = match status.map(|status| status.as_u16()) {
            Some(401) => "401",
            Some(429) => "429",
            Some(_) => status.map_or("failed", class),
            None => "failed",
        };
        let latency = AdapterOnly { adapter: Object::from(adapter) };
        self.ehr_latency.with(&latency, |latency| latency.observe(took.as_secs_f64()));
        self.ehr_calls.with(&EhrCalls { adapter: latency.adapter, outcome }, increase);
    }

    pub(super) fn ehr_retry(&self, adapter: &ObjectKey) {
        self.ehr_retries.with(&AdapterOnly { adapter: Object::from(adapter) }, increase);
    }

    /// `result`: `hit`, `miss` or `failed`.
    pub(super) fn token_use(&self, activation: &ObjectKey, result: &'static str) {
        self.token_uses.with(&TokenUses { activation: Object::from(activation), result }, increase);
    }
}

fn increase(count: &Count) {
    count.inc();
}

const fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        100..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

impl Gauges {
    fn clear(&self) {
        self.breaker_open.clear();
        self.clock_skew.clear();
        self.calls_at_once.clear();
        self.calls_waiting.clear();
        self.token_age.clear();
        self.authenticated.clear();
    }

    pub(super) fn adapter(&self, adapter: &ObjectKey, is_open: bool, skew: Option<i64>, load: (usize, usize)) {
        let labels = AdapterOnly { adapter: Object::from(adapter) };
        let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.breaker_open.get_or_create(&labels).set(is_open.into());
        self.calls_at_once.get_or_create(&labels).set(number(load.0));
        self.calls_waiting.get_or_create(&labels).set(number(load.1));
        if let Some(skew) = skew {
            self.clock_skew.get_or_create(&labels).set(skew);
        }
    }

    pub(super) fn activation(&self, activation: &ObjectKey, token_age: Option<Duration>, accepted: Option<bool>) {
        let labels = ActivationOnly { activation: Object::from(activation) };
        if let Some(age) = token_age {
            self.token_age.get_or_create(&labels).set(age.as_secs_f64());
        }
        if let Some(accepted) = accepted {
            self.authenticated.get_or_create(&labels).set(accepted.into());
        }
    }
}
