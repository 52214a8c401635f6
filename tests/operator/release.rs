//! A release of the chart: the ServiceAccounts, Roles and command lines that Helm renders, so that what is tested is what
//! is shipped. The Deployments themselves need a kubelet; their command lines run as processes here.

use serde_json::{Value, json};

use crate::support::chart::{arguments, objects, of, template};
use crate::support::control_plane::ControlPlane;

/// What a release's processes may do, and how they are called.
pub struct Release {
    /// Its own namespace: of its ServiceAccounts, its Lease and its proxies' Service.
    pub namespace: String,
    name: String,
    objects: Vec<Value>,
}

/// One of the two Deployments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    Operator,
    Proxy,
}

impl Release {
    /// Renders the chart for loopback addresses with these values besides, and applies its ServiceAccounts and Roles.
    pub async fn install(
        plane: &ControlPlane,
        name: &str,
        namespace: String,
        public_url: &str,
        watched: &[&str],
        values: &[&str],
    ) -> Self {
        let public_url = format!("publicUrl={public_url}");
        let watched = format!("namespaces={}", json!(watched));
        let local = r#"allowAddress=["127.0.0.0/8"]"#;
        let mut asked = vec!["--set", public_url.as_str(), "--set-json", &watched, "--set-json", local];
        asked.extend(values.iter().flat_map(|value| ["--set", value]));
        let objects = objects(&template(name, &namespace, &asked).await.ok());
        let granting = |object: &&Value| {
            let kind = object["kind"].as_str().unwrap();
            kind == "ServiceAccount" || kind.ends_with("Role") || kind.ends_with("RoleBinding")
        };
        let grants: Vec<&Value> = objects.iter().filter(granting).collect();
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": grants }).to_string();
        plane.kubectl_with_input(&["apply", "-f", "-"], &list).await.ok();
        // As Helm names what it makes.
        let name = if name == "hearthgate" { name.to_owned() } else { format!("{name}-hearthgate") };
        Self { namespace, name, objects }
    }

    /// The name of a component's Deployment.
    fn deployment(&self, component: Component) -> String {
        match component {
            Component::Operator => format!("{}-operator", self.name),
            Component::Proxy => format!("{}-proxy", self.name),
        }
    }

    /// A component's Deployment.
    pub fn deployment_of(&self, component: Component) -> &Value {
        of(&self.objects, "Deployment", &self.deployment(component))
    }

    /// The headless Service that the proxies are found by.
    pub fn proxies(&self) -> String {
        format!("{}-proxy-admin", self.name)
    }

    /// Who a component's pods are.
    pub fn user(&self, component: Component) -> String {
        let deployment = self.deployment_of(component);
        let account = deployment["spec"]["template"]["spec"]["serviceAccountName"].as_str().unwrap();
        format!("system:serviceaccount:{}:{account}", self.namespace)
    }

    /// Whether its proxies share a store that the values name.
    pub fn shares_a_store(&self) -> bool {
        let arguments = arguments(&self.objects, &self.deployment(Component::Proxy));
        arguments.iter().any(|argument| argument.starts_with("--store="))
    }

    /// A component's command line with some options (`--name=value`) in place of those of the same name: what is
    /// otherwise on a machine without pods.
    pub fn arguments(&self, component: Component, instead: &[String]) -> Vec<String> {
        let mut arguments = arguments(&self.objects, &self.deployment(component));
        for option in instead {
            let (name, _) = option.split_once('=').unwrap();
            let rendered =
                arguments.iter_mut().find(|argument| argument.split_once('=').is_some_and(|own| own.0 == name));
            rendered.unwrap_or_else(|| panic!("the chart gives no {name}")).clone_from(option);
        }
        arguments
    }
}
