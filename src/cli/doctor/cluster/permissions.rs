//! Whether the ServiceAccounts of operator and proxies may do what they must, and no more with keys.
//!
//! The list is the chart's (`templates/_rules.tpl`, `templates/rbac.yaml`); a test in a real cluster holds the two together.

use futures_util::StreamExt as _;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};

use super::super::check::{Check, Group};
use super::workload::{Component, Workload};
use super::{AT_ONCE, in_time};
use crate::api::common::GROUP;
use crate::values::api_failure::ApiFailure;

const KINDS: [&str; 4] = ["activations", "dataadapters", "fhirgateways", "smartapps"];
const READ: [&str; 3] = ["get", "list", "watch"];
/// With these somebody could lose or replace a key that an EHR trusts.
const NEVER_WITH_SECRETS: [&str; 4] = ["update", "patch", "delete", "deletecollection"];
/// The Lease by which operators take turns.
const LEASE: &str = "hearthgate-operator";

/// One thing that somebody may or may not do.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Deed {
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    subresource: Option<&'static str>,
    name: Option<&'static str>,
    /// `None`: everywhere, or of no namespace.
    namespace: Option<String>,
}

impl Deed {
    fn new(verb: &'static str, group: &'static str, resource: &'static str, namespace: Option<&String>) -> Self {
        Self { verb, group, resource, subresource: None, name: None, namespace: namespace.cloned() }
    }

    fn told(&self) -> String {
        let below = self.subresource.map(|name| format!("/{name}")).unwrap_or_default();
        let place = self.namespace.as_ref().map(|namespace| format!(" in {namespace}")).unwrap_or_default();
        format!("{} {}{below}{place}", self.verb, self.resource)
    }
}

/// What it must be allowed.
fn needs(workload: &Workload) -> Vec<Deed> {
    let mut deeds = Vec::new();
    for namespace in watched(workload) {
        let read = |group, resource| READ.map(|verb| Deed::new(verb, group, resource, namespace));
        deeds.extend(KINDS.iter().flat_map(|kind| read(GROUP, kind)));
        deeds.extend(["configmaps", "secrets"].into_iter().flat_map(|resource| read("", resource)));
        if workload.component == Component::Operator {
            deeds.extend(
                KINDS.map(|kind| Deed { subresource: Some("status"), ..Deed::new("patch", GROUP, kind, namespace) }),
            );
            deeds.extend(["create", "patch"].map(|verb| Deed::new(verb, "events.k8s.io", "events", namespace)));
            deeds.extend(workload.makes_keys.then(|| Deed::new("create", "", "secrets", namespace)));
        }
    }
    deeds.push(Deed::new("create", "authentication.k8s.io", "tokenreviews", None));
    if workload.component == Component::Operator {
        let own = Some(&workload.namespace);
        let lease = |verb| Deed { name: Some(LEASE), ..Deed::new(verb, "coordination.k8s.io", "leases", own) };
        deeds.push(Deed::new("create", "authorization.k8s.io", "subjectaccessreviews", None));
        deeds.push(Deed::new("create", "coordination.k8s.io", "leases", own));
        deeds.extend(["get", "update"].map(lease));
        deeds.extend(READ.map(|verb| Deed::new(verb, "discovery.k8s.io", "endpointslices", own)));
    }
    deeds
}

/// What it must not be allowed, for the promise on keys.
fn dangers(workload: &Workload) -> Vec<Deed> {
    let of = |namespace| NEVER_WITH_SECRETS.map(|verb| Deed::new(verb, "", "secrets", namespace));
    watched(workload).into_iter().flat_map(of).collect()
}

fn watched(workload: &Workload) -> Vec<Option<&String>> {
    match workload.watched.as_slice() {
        [] => vec![None],
        namespaces => namespaces.iter().map(Some).collect(),
    }
}

pub(super) async fn check(client: &Client, workload: &Workload) -> Check {
    let (needs, dangers) = (needs(workload), dangers(workload));
    let asked = needs.len();
    let (lacking, excessive) =
        tokio::join!(which(client, workload, needs, false), which(client, workload, dangers, true));
    match (lacking, excessive) {
        (Ok(lacking), Ok(excessive)) => told(workload, asked, &lacking, &excessive),
        (Err(failure), _) | (_, Err(failure)) => {
            let finding = format!("whether {workload} has the permissions that it needs cannot be seen: {failure}");
            Check::doubtful(Group::Cluster, finding)
                .with_hint("Somebody who may create subjectaccessreviews (a cluster's administrator) sees it.")
        }
    }
}

fn told(workload: &Workload, asked: usize, lacking: &[Deed], excessive: &[Deed]) -> Check {
    let all = |deeds: &[Deed]| deeds.iter().map(Deed::told).collect::<Vec<_>>().join(", ");
    let account = format!("ServiceAccount {}/{}", workload.namespace, workload.account);
    if !lacking.is_empty() {
        return Check::failed(Group::Cluster, format!("{workload} may not: {}", all(lacking))).with_hint(format!(
            "A Role of {account} is missing or of another version: upgrade the chart, which brings them."
        ));
    }
    if !excessive.is_empty() {
        return Check::doubtful(Group::Cluster, format!("{workload} may more than it should: {}", all(excessive)))
            .with_hint(format!(
                "That a key can never be overwritten rests on {account} not being able to: take that permission away."
            ));
    }
    let finding =
        format!("{workload} has the {asked} permissions that it needs, and none to change or delete a Secret");
    Check::fine(Group::Cluster, finding)
}

/// Those of the deeds that are allowed, or those that are not.
async fn which(client: &Client, workload: &Workload, deeds: Vec<Deed>, allowed: bool) -> Result<Vec<Deed>, ApiFailure> {
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let questions = deeds.into_iter().map(async |deed| {
        let review = review(workload, &deed);
        let reviewed = in_time(reviews.create(&PostParams::default(), &review)).await?;
        Ok((deed, reviewed.status.is_some_and(|status| status.allowed)))
    });
    let answers: Vec<Result<(Deed, bool), ApiFailure>> =
        futures_util::stream::iter(questions).buffered(AT_ONCE).collect().await;
    let answers = answers.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(answers.into_iter().filter(|(_, is_allowed)| *is_allowed == allowed).map(|(deed, _)| deed).collect())
}

fn review(workload: &Workload, deed: &Deed) -> SubjectAccessReview {
    let Workload { namespace, account, .. } = workload;
    let owned = |text: &str| Some(text.to_owned());
    let spec = SubjectAccessReviewSpec {
        user: Some(format!("system:serviceaccount:{namespace}:{account}")),
        groups: Some(vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated".to_owned(),
        ]),
        resource_attributes: Some(ResourceAttributes {
            verb: owned(deed.verb),
            group: owned(deed.group),
            resource: owned(deed.resource),
            subresource: deed.subresource.and_then(owned),
            name: deed.name.and_then(owned),
            namespace: deed.namespace.clone(),
            ..ResourceAttributes::default()
        }),
        ..SubjectAccessReviewSpec::default()
    };
    SubjectAccessReview { spec, ..SubjectAccessReview::default() }
}
