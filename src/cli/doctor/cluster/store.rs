//! Whether each proxy reaches the store that they share: asked through the API server, as people's machines mostly reach
//! no pod.

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use super::super::check::{Check, Group};
use super::workload::{Component, Workload};
use super::{AT_ONCE, in_time};
use crate::proxy::metrics::tells_store_reachable;
use crate::values::api_failure::ApiFailure;

/// What the proxies of one Deployment say of the store.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    reached: Vec<String>,
    away: Vec<String>,
    /// Replicas that could not be asked, and why.
    silent: Vec<(String, String)>,
}

pub(super) async fn checks(client: &Client, workloads: &[Workload]) -> Vec<Check> {
    let mut checks = Vec::new();
    for workload in workloads.iter().filter(|workload| workload.component == Component::Proxy) {
        match ask(client, workload).await {
            Ok(told) => checks.extend(told.check(workload)),
            Err(failure) => {
                let finding = format!("whether the proxies reach their store cannot be seen: {failure}");
                let hint = format!("Somebody who may list pods in namespace {} sees it.", workload.namespace);
                checks.push(Check::doubtful(Group::Cluster, finding).with_hint(hint));
            }
        }
    }
    checks
}

async fn ask(client: &Client, workload: &Workload) -> Result<Told, ApiFailure> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &workload.namespace);
    let labels: Vec<String> = workload.selector.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let found = in_time(pods.list(&ListParams::default().labels(&labels.join(",")))).await?;
    let is_running = |pod: &&Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
    let names: Vec<String> = found.items.iter().filter(is_running).map(ResourceExt::name_any).collect();
    let questions = names.into_iter().map(async |name| {
        let path =
            format!("/api/v1/namespaces/{}/pods/{name}:{}/proxy/metrics", workload.namespace, workload.admin_port);
        let metrics = match http::Request::get(path).body(Vec::new()) {
            Ok(request) => in_time(client.request_text(request)).await.map_err(|failure| failure.to_string()),
            Err(error) => Err(error.to_string()),
        };
        (name, metrics)
    });
    let mut told = Told::default();
    let mut answers = futures_util::stream::iter(questions).buffered(AT_ONCE);
    while let Some((name, metrics)) = answers.next().await {
        told.hear(name, metrics);
    }
    Ok(told)
}

impl Told {
    fn hear(&mut self, name: String, metrics: Result<String, String>) {
        match metrics.map(|metrics| tells_store_reachable(&metrics)) {
            Ok(Some(true)) => self.reached.push(name),
            Ok(Some(false)) => self.away.push(name),
            Ok(None) => self.silent.push((name, "it is of another version, and does not say".to_owned())),
            Err(reason) => self.silent.push((name, reason)),
        }
    }

    /// `None`: there is no replica to ask, which is told elsewhere.
    fn check(&self, workload: &Workload) -> Option<Check> {
        if !self.away.is_empty() {
            let finding = format!("the store of sessions is away from {}", self.away.join(", "));
            return Some(Check::failed(Group::Cluster, finding).with_hint(
                "Tokens go on; what must happen once (a code, a signed assertion, a refresh) is answered 503. Look at the Valkey, and at what lies between.",
            ));
        }
        if let Some((name, reason)) = self.silent.first() {
            let finding = format!("whether {name} reaches the store of sessions cannot be seen: {reason}");
            let hint = format!(
                "It is asked through the API server: that needs the permission get pods/proxy in {}, and a way from the API server to the admin port.",
                workload.namespace
            );
            return Some(Check::doubtful(Group::Cluster, finding).with_hint(hint));
        }
        let finding = match self.reached.as_slice() {
            [] => return None,
            [one] => format!("{one} reaches the store of sessions"),
            all => format!("all {} replicas of {workload} reach the store of sessions", all.len()),
        };
        Some(Check::fine(Group::Cluster, finding))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::super::check::State;
    use super::*;

    fn workload() -> Workload {
        let deployment = serde_json::json!({
            "metadata": {"name": "gate-proxy", "namespace": "gate"},
            "spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "proxy", "args": ["proxy"]}]}}},
        });
        Workload::of(&serde_json::from_value(deployment).unwrap()).unwrap()
    }

    const FINE: Result<&str, &str> = Ok("# TYPE hearthgate_store_reachable gauge\nhearthgate_store_reachable 1\n");
    const AWAY: Result<&str, &str> = Ok("hearthgate_store_reachable 0\n");

    #[rstest]
    #[case::both(&[FINE, FINE], Some((State::Fine, "all 2 replicas of proxy gate/gate-proxy reach the store of sessions")))]
    #[case::one(&[FINE], Some((State::Fine, "proxy-0 reaches the store of sessions")))]
    #[case::one_does_not(&[FINE, AWAY], Some((State::Failed, "the store of sessions is away from proxy-1")))]
    #[case::an_older_one(&[FINE, Ok("")], Some((State::Doubtful,
        "whether proxy-1 reaches the store of sessions cannot be seen: it is of another version, and does not say")))]
    #[case::one_that_cannot_be_asked(&[Err("no way there")], Some((State::Doubtful,
        "whether proxy-0 reaches the store of sessions cannot be seen: no way there")))]
    #[case::none(&[], None)]
    fn what_the_proxies_say_is_told_in_one_line(
        #[case] metrics: &[Result<&str, &str>],
        #[case] expected: Option<(State, &str)>,
    ) {
        let mut told = Told::default();
        for (number, metrics) in metrics.iter().enumerate() {
            told.hear(format!("proxy-{number}"), metrics.map(str::to_owned).map_err(str::to_owned));
        }
        let check = told.check(&workload());
        assert_eq!(check.as_ref().map(|check| (check.state, check.finding.as_str())), expected);
    }
}
