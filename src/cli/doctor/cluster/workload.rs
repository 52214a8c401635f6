//! The operator and the proxies, as their Deployments show them.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt as _;

use super::super::check::{Check, Group};

/// Where its replicas tell of themselves, unless a port of that name says otherwise.
const ADMIN_PORT: i32 = 9090;

/// What a Deployment runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Component {
    Operator,
    Proxy,
}

/// One Deployment of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Workload {
    pub(super) component: Component,
    pub(super) namespace: String,
    pub(super) name: String,
    /// Its ServiceAccount.
    pub(super) account: String,
    /// The namespaces that it watches; none: all.
    pub(super) watched: Vec<String>,
    /// An operator that makes keys where they are missing.
    pub(super) makes_keys: bool,
    /// What selects its pods.
    pub(super) selector: BTreeMap<String, String>,
    /// Where its admin listener is.
    pub(super) admin_port: i32,
    ready: i32,
    wanted: i32,
    version: Option<String>,
}

impl fmt::Display for Workload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let component = match self.component {
            Component::Operator => "operator",
            Component::Proxy => "proxy",
        };
        write!(formatter, "{component} {}/{}", self.namespace, self.name)
    }
}

impl Workload {
    /// `None`: it runs something else.
    pub(super) fn of(deployment: &Deployment) -> Option<Self> {
        let spec = deployment.spec.as_ref()?;
        let pod = spec.template.spec.as_ref()?;
        let container = pod.containers.first()?;
        let (command, options) = container.args.as_ref()?.split_first()?;
        let component = match command.as_str() {
            "operate" => Component::Operator,
            "proxy" => Component::Proxy,
            _ => return None,
        };
        let named = options.iter().filter_map(|option| option.strip_prefix("--namespace="));
        let ports = container.ports.iter().flatten();
        let admin = ports.filter(|port| port.name.as_deref() == Some("admin")).map(|port| port.container_port).next();
        Some(Self {
            component,
            namespace: deployment.namespace()?,
            name: deployment.name_any(),
            account: pod.service_account_name.clone().unwrap_or_else(|| "default".to_owned()),
            watched: named.map(str::to_owned).collect(),
            makes_keys: component == Component::Operator && !options.iter().any(|option| option == "--no-new-keys"),
            selector: spec.selector.match_labels.clone().unwrap_or_default(),
            admin_port: admin.unwrap_or(ADMIN_PORT),
            ready: deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or_default(),
            wanted: spec.replicas.unwrap_or(1),
            version: deployment.labels().get("app.kubernetes.io/version").cloned(),
        })
    }

    /// Whether objects of this namespace are among those that it looks after.
    pub(super) fn watches(&self, namespace: &str) -> bool {
        self.watched.is_empty() || self.watched.iter().any(|own| own == namespace)
    }

    fn replicas(&self) -> Check {
        let Self { ready, wanted, .. } = self;
        let finding = format!("{self}: {ready} of {wanted} replicas ready");
        let look = format!("kubectl describe pods -n {} says why; so does the log of the last one.", self.namespace);
        match (ready, wanted) {
            (_, 0) => Check::failed(Group::Cluster, format!("{self} is scaled to nothing"))
                .with_hint(format!("kubectl scale deployment/{} -n {} --replicas=1", self.name, self.namespace)),
            (0, _) => Check::failed(Group::Cluster, finding).with_hint(look),
            (ready, wanted) if ready < wanted => Check::doubtful(Group::Cluster, finding).with_hint(look),
            _ => Check::fine(Group::Cluster, finding),
        }
    }

    fn other_version(&self) -> Option<Check> {
        const OURS: &str = env!("CARGO_PKG_VERSION");
        let theirs = self.version.as_ref().filter(|version| version.as_str() != OURS)?;
        let finding = format!("{self} is hearthgate {theirs}, and {OURS} asks");
        Some(
            Check::doubtful(Group::Cluster, finding)
                .with_hint("Ask with the same version: what it tells may have changed."),
        )
    }
}

/// Whether they all run, and are of this version.
pub(super) fn checks(workloads: &[Workload]) -> Vec<Check> {
    let mut checks = Vec::new();
    for (component, name) in [(Component::Operator, "operator"), (Component::Proxy, "proxy")] {
        if !workloads.iter().any(|workload| workload.component == component) {
            checks.push(
                Check::doubtful(Group::Cluster, format!("there is no Deployment of {name} that looks after this")).with_hint(
                    "Where the chart did not install it, label its Deployment app.kubernetes.io/component, as the chart does.",
                ),
            );
        }
    }
    checks.extend(workloads.iter().map(Workload::replicas));
    checks.extend(workloads.iter().filter_map(Workload::other_version));
    checks
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::super::check::State;
    use super::*;

    fn deployment(arguments: &[&str], ready: u32, version: &str) -> Value {
        json!({
            "metadata": {"name": "hearthgate-operator", "namespace": "hearthgate",
                "labels": {"app.kubernetes.io/version": version}},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app.kubernetes.io/component": "operator"}},
                "template": {"spec": {"serviceAccountName": "hearthgate-operator",
                    "containers": [{"name": "operator", "args": arguments, "ports": [{"name": "admin", "containerPort": 9191}]}]}}},
            "status": {"readyReplicas": ready},
        })
    }

    fn workload(arguments: &[&str], ready: u32, version: &str) -> Option<Workload> {
        Workload::of(&serde_json::from_value(deployment(arguments, ready, version)).unwrap())
    }

    #[test]
    fn a_deployment_tells_what_runs_for_whom_and_as_whom() {
        let expected = Workload {
            component: Component::Operator,
            namespace: "hearthgate".into(),
            name: "hearthgate-operator".into(),
            account: "hearthgate-operator".into(),
            watched: vec!["north".into(), "south".into()],
            makes_keys: false,
            selector: [("app.kubernetes.io/component".to_owned(), "operator".to_owned())].into(),
            admin_port: 9191,
            ready: 1,
            wanted: 2,
            version: Some("0.1.0".into()),
        };
        let arguments = ["operate", "--namespace=north", "--namespace=south", "--no-new-keys"];
        assert_eq!(workload(&arguments, 1, "0.1.0"), Some(expected.clone()));
        assert!(expected.watches("north") && !expected.watches("east"));
        assert_eq!(workload(&["controller"], 1, "0.1.0"), None, "somebody else's operator");
    }

    #[test]
    fn what_is_not_there_not_ready_or_of_another_version_is_told() {
        let ours = env!("CARGO_PKG_VERSION");
        let told = |ready, version| {
            let operator = workload(&["operate"], ready, version).unwrap();
            checks(&[operator]).into_iter().map(|check| (check.state, check.finding)).collect::<Vec<_>>()
        };
        let no_proxy = (State::Doubtful, "there is no Deployment of proxy that looks after this".to_owned());
        let replicas =
            |state, ready| (state, format!("operator hearthgate/hearthgate-operator: {ready} of 2 replicas ready"));
        assert_eq!(told(2, ours), [no_proxy.clone(), replicas(State::Fine, 2)]);
        assert_eq!(told(1, ours), [no_proxy.clone(), replicas(State::Doubtful, 1)]);
        assert_eq!(told(0, ours), [no_proxy.clone(), replicas(State::Failed, 0)]);
        let older = format!("operator hearthgate/hearthgate-operator is hearthgate 0.0.9, and {ours} asks");
        assert_eq!(told(2, "0.0.9"), [no_proxy, replicas(State::Fine, 2), (State::Doubtful, older)]);
    }
}
