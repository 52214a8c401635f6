//! DataAdapters: each checked by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, Method};
use secrecy::{ExposeSecret as _, SecretString};

use super::super::data_adapter::{ExternalAuth, OAuthDefaults, PrivateApiRoute, Timeouts, Tls};
use super::super::report::Detail;
use super::super::{DataAdapter, Finding, Kind, ObjectKey, ObjectReference, Report};
use super::Reports;
use super::age::identity;
use super::lookup::{Lookup, Receiver, invalid_entry};
use super::memory::Memory;
use crate::api::data_adapter::{CaBundleKind, CredentialEncoding, PrivateApiMethod};
use crate::api::{self, SecretKeyReference};
use crate::values::code::Code;
use crate::values::secret::SecretBytes;

pub(super) fn all<'resources>(
    lookup: &Lookup<'resources>,
    memory: &mut Memory,
    reports: &mut Reports<'resources>,
) -> BTreeMap<ObjectKey, Arc<DataAdapter>> {
    let objects = &lookup.resources.data_adapters;
    let mut usable = BTreeMap::new();
    for (key, object) in objects {
        let (adapter, report) = memory.data_adapters.recall_or(lookup, key, Arc::clone(object), || {
            let mut findings = Vec::new();
            let adapter = check(lookup, key, object, &mut findings);
            let (uid, generation) = identity(&object.metadata);
            let object_reference = ObjectReference::new(Kind::DataAdapter, key.clone());
            let detail = Detail::DataAdapter { suspended: object.spec.suspend };
            let report = Report { findings, ..Report::new(object_reference, uid, generation, detail) };
            (adapter.filter(|_| report.is_usable()).map(Arc::new), Arc::new(report))
        });
        usable.extend(adapter.map(|adapter| (key.clone(), adapter)));
        reports.add(key, report);
    }
    memory.data_adapters.retain(objects);
    usable
}

fn check(
    lookup: &Lookup<'_>,
    key: &ObjectKey,
    object: &api::DataAdapter,
    findings: &mut Vec<Finding>,
) -> Option<DataAdapter> {
    let spec = &object.spec;
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    let fhir_base = lookup.optional_url(Some(&spec.fhir_base_url), "spec.fhirBaseUrl", findings);
    let oauth = spec.oauth.as_ref().map_or_else(OAuthDefaults::default, |oauth| OAuthDefaults {
        token_url: lookup.optional_url(oauth.token_url.as_ref(), "spec.oauth.tokenUrl", findings),
        authorization_url: lookup.optional_url(
            oauth.authorization_url.as_ref(),
            "spec.oauth.authorizationUrl",
            findings,
        ),
        audience: oauth.audience.clone(),
    });
    let external_auth = spec.external_auth.as_ref().filter(|_| spec.backend_auth_enabled);
    let external_auth = external_auth.and_then(|auth| check_external_auth(lookup, &key.namespace, auth, findings));
    let tls = spec.tls.as_ref().map_or_else(Tls::default, |tls| check_tls(lookup, &key.namespace, tls, findings));
    let request_headers = spec.request_headers.iter().enumerate().filter_map(|(index, header)| {
        let parsed = (HeaderName::try_from(header.name.as_str()), HeaderValue::try_from(header.value.as_str()));
        if let (Ok(name), Ok(value)) = parsed {
            return Some((name, value));
        }
        let field = format!("spec.requestHeaders[{index}]");
        findings.push(Finding::new(Code::InvalidSpec, &field, format!("{field} is no HTTP header")));
        None
    });
    let request_headers = request_headers.collect();
    Some(DataAdapter {
        key: key.clone(),
        uid: identity(&object.metadata).0,
        display_name: spec.display_name.clone().unwrap_or_else(|| key.name.clone()),
        data_source_type: spec.data_source_type,
        fhir_base: fhir_base?,
        oauth,
        external_auth,
        request_headers,
        tls,
        timeouts: Timeouts {
            connect: seconds(spec.timeouts.connect_seconds),
            request: seconds(spec.timeouts.request_seconds),
            idle: seconds(spec.timeouts.idle_seconds),
        },
        maximum_attempts: spec.retry.max_attempts,
        retry_budget_percent: spec.retry.budget_percent,
        circuit_breaker: spec.circuit_breaker.clone(),
        rate_limit: spec.rate_limit.clone(),
        suspend: spec.suspend,
    })
}

fn check_external_auth(
    lookup: &Lookup<'_>,
    namespace: &str,
    auth: &api::data_adapter::ExternalAuth,
    findings: &mut Vec<Finding>,
) -> Option<ExternalAuth> {
    let field = "spec.externalAuth.clientSecretRef";
    let api_endpoint = lookup.optional_url(Some(&auth.api_endpoint), "spec.externalAuth.apiEndpoint", findings);
    let receiver = api_endpoint.as_ref().map_or(Receiver::Ourselves, Receiver::Host);
    let authorization =
        lookup.credential_text(namespace, &auth.client_secret_ref, &receiver, field).and_then(|secret| {
            basic_authorization(secret.expose_secret(), auth.encoding)
                .map_err(|fault| invalid_entry(namespace, &auth.client_secret_ref, field, fault))
        });
    let authorization = authorization.map_err(|finding| findings.push(finding)).ok();
    let name = HeaderName::try_from(auth.client_id_header.as_str());
    let header = name.ok().zip(HeaderValue::try_from(auth.client_id.as_str()).ok());
    if header.is_none() {
        let message = "externalAuth.clientIdHeader and clientId must make an HTTP header";
        findings.push(Finding::new(Code::InvalidSpec, "spec.externalAuth.clientIdHeader", message));
    }
    let routes = auth.routes.as_ref().map(|routes| {
        routes
            .iter()
            .map(|route| PrivateApiRoute {
                methods: route.methods.iter().map(|method| http_method(*method)).collect(),
                path_prefix: route.path_prefix.trim_end_matches('/').into(),
            })
            .collect()
    });
    if routes.is_none() {
        findings.push(Finding::new(
            Code::PrivateApiUnrestricted,
            "spec.externalAuth",
            "externalAuth has no routes: apps with private-api may call everything below apiEndpoint",
        ));
    }
    Some(ExternalAuth { client_id_header: header?, authorization: authorization?, api_endpoint: api_endpoint?, routes })
}

const fn http_method(method: PrivateApiMethod) -> Method {
    match method {
        PrivateApiMethod::Get => Method::GET,
        PrivateApiMethod::Head => Method::HEAD,
        PrivateApiMethod::Post => Method::POST,
        PrivateApiMethod::Put => Method::PUT,
        PrivateApiMethod::Patch => Method::PATCH,
        PrivateApiMethod::Delete => Method::DELETE,
    }
}

/// The value of the `Authorization` header (RFC 7617) for a credential `user:password`; what is wrong with it
/// otherwise, without showing it.
pub(super) fn basic_authorization(
    credential: &str,
    encoding: CredentialEncoding,
) -> Result<SecretString, &'static str> {
    let encoded = match encoding {
        CredentialEncoding::Plain if !credential.contains(':') => return Err("is no user:password"),
        CredentialEncoding::Plain => STANDARD.encode(credential),
        CredentialEncoding::Base64 => {
            let decoded = STANDARD.decode(credential).map_err(|_| "is not Base64, though encoding says so")?;
            if !decoded.contains(&b':') {
                return Err("is no user:password in Base64");
            }
            credential.to_owned()
        }
    };
    Ok(SecretString::from(format!("Basic {encoded}")))
}

fn check_tls(lookup: &Lookup<'_>, namespace: &str, tls: &api::data_adapter::Tls, findings: &mut Vec<Finding>) -> Tls {
    let ca_bundle = tls.ca_bundle_ref.as_ref().and_then(|reference| {
        let field = "spec.tls.caBundleRef";
        let pem = match reference.kind {
            CaBundleKind::ConfigMap => lookup.config_map_entry(namespace, &reference.name, &reference.key, field),
            CaBundleKind::Secret => {
                let entry = SecretKeyReference { name: reference.name.clone(), key: reference.key.clone() };
                lookup.credential(namespace, &entry, &Receiver::Ourselves, field).and_then(|bytes| {
                    bytes.expose_str().map_err(|_| invalid_entry(namespace, &entry, field, "is not PEM"))
                })
            }
        };
        let pem = pem.map_err(|finding| findings.push(finding)).ok()?;
        let certificates = certificates(pem);
        if certificates.is_none() {
            let message =
                format!("entry {:?} of {namespace}/{} holds no certificate in PEM", reference.key, reference.name);
            findings.push(Finding::new(Code::SecretInvalid, field, message));
        }
        certificates
    });
    let client = tls.client_certificate_ref.as_ref().and_then(|reference| {
        let found = client_certificate(lookup, namespace, &reference.name, "spec.tls.clientCertificateRef");
        found.map_err(|finding| findings.push(finding)).ok()
    });
    let (client_certificate_pem, client_key_pem) = client.unzip();
    Tls { ca_bundle_pem: ca_bundle, client_certificate_pem, client_key_pem }
}

/// The two entries of a `kubernetes.io/tls` Secret.
fn client_certificate(
    lookup: &Lookup<'_>,
    namespace: &str,
    name: &str,
    field: &str,
) -> Result<(String, SecretBytes), Finding> {
    let entry = |key: &str| SecretKeyReference { name: name.into(), key: key.into() };
    let read = |key: &str| lookup.credential(namespace, &entry(key), &Receiver::Ourselves, field);
    let invalid = |key: &str, fault: &str| invalid_entry(namespace, &entry(key), field, fault);
    let (chain, key) = (read("tls.crt")?, read("tls.key")?);
    let chain = chain.expose_str().ok().and_then(certificates);
    let chain = chain.ok_or_else(|| invalid("tls.crt", "holds no certificate in PEM"))?;
    if !key.expose_str().is_ok_and(|text| text.contains("PRIVATE KEY-----")) {
        return Err(invalid("tls.key", "holds no private key in PEM"));
    }
    Ok((chain, key.clone()))
}

/// The certificates of a PEM text and nothing else: some keep the private key in the same file.
fn certificates(pem: &str) -> Option<String> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let blocks = pem.split(BEGIN).skip(1).map(|block| block.split_once(END).map(|(body, _)| body));
    let blocks: Option<Vec<_>> = blocks.map(|body| Some(format!("{BEGIN}{}{END}\n", body?))).collect();
    blocks.filter(|blocks| !blocks.is_empty()).map(|blocks| blocks.concat())
}
