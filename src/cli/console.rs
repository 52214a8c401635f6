//! The console, put together: its judge is what `hearthgate check` uses, and in a cluster the API server says who may
//! look.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::check::problem::{Severity, severity};
use crate::console::{Judge, Judgement, Problem};
use crate::snapshot::resources::Rejection;
use crate::snapshot::{Published, Report, Resources, compile};
use crate::source::loaded::read_text;

/// What a draft is called in messages.
const DRAFT: &str = "draft.yaml";

/// Judges drafts by the rules of `check`: schema, CEL, and compiled together with everything that is there.
pub(super) fn judge() -> Judge {
    Arc::new(judged)
}

fn judged(yaml: &str, resources: &Resources, published: &Published) -> Judgement {
    let loaded = read_text(DRAFT, yaml);
    let mut problems: Vec<Problem> = loaded.rejections.iter().map(refused).collect();
    let drafts = loaded.resources();
    let names: Vec<_> = loaded.objects.keys().cloned().collect();
    let mut all = resources.clone();
    // The youngest of all: in a conflict with what is there, the draft is the one that is told.
    let now = Some(Time(Timestamp::now()));
    all.apps.extend(drafts.apps.into_iter().map(|(key, app)| {
        let mut app = (*app).clone();
        app.metadata.creation_timestamp.clone_from(&now);
        (key, Arc::new(app))
    }));
    all.activations.extend(drafts.activations.into_iter().map(|(key, activation)| {
        let mut activation = (*activation).clone();
        activation.metadata.creation_timestamp.clone_from(&now);
        (key, Arc::new(activation))
    }));
    let (_, reports) = compile(&all, &published.snapshot.platform);
    let reports: Vec<Report> = reports.into_iter().filter(|report| names.contains(&report.object)).collect();
    problems.extend(reports.iter().flat_map(|report| &report.findings).filter_map(|finding| {
        Some(Problem {
            is_error: severity(finding.code)? == Severity::Error,
            code: finding.code,
            field: finding.field.clone(),
            message: finding.message.clone(),
        })
    }));
    Judgement { problems, reports }
}

/// What an API server would refuse. Its message begins with the field, where it is about one.
fn refused(rejection: &Rejection) -> Problem {
    let is_path = |text: &str| {
        let named = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '[' | ']' | '_');
        !text.is_empty() && text.chars().all(named)
    };
    let (field, message) = match rejection.message.split_once(": ") {
        Some((field, message)) if is_path(field) => (field, message),
        Some(_) | None => ("", rejection.message.as_str()),
    };
    Problem { is_error: true, code: rejection.code, field: field.to_owned(), message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Platform, Snapshot};
    use crate::values::code::Code;
    use crate::values::url::{AddressPolicy, EndpointUrl};

    fn app(name: &str, rest: &str) -> String {
        format!(
            "apiVersion: hearthgate.dev/v1alpha1\nkind: App\nmetadata: {{name: {name}, namespace: north}}\nspec:\n  \
             clientType: BackendService\n  jwksUri: https://app.example.org/jwks.json\n{rest}"
        )
    }

    fn there() -> (Resources, Published) {
        let resources = read_text("there.yaml", &app("zz-first", "  clientId: taken\n")).resources();
        let platform = Platform {
            public_url: EndpointUrl::parse("https://hg.example.org").unwrap(),
            addresses: AddressPolicy::default(),
            public_hosts: std::collections::BTreeMap::new(),
            makes_keys: true,
        };
        let (snapshot, reports): (Snapshot, _) = compile(&resources, &platform);
        (resources, Published::new(snapshot, reports, Vec::new()))
    }

    fn told(yaml: &str) -> Vec<(bool, Code, String)> {
        let (resources, published) = there();
        let judgement = judged(yaml, &resources, &published);
        judgement.problems.into_iter().map(|problem| (problem.is_error, problem.code, problem.field)).collect()
    }

    #[test]
    fn a_draft_that_check_accepts_has_no_problem_and_its_report_is_told() {
        let (resources, published) = there();
        let judgement = judged(&app("sync", ""), &resources, &published);
        assert_eq!(judgement.problems, []);
        assert_eq!(judgement.reports.len(), 1);
    }

    #[test]
    fn what_an_api_server_would_refuse_names_its_field() {
        let refused = |field: &str| vec![(true, Code::InvalidSpec, field.to_owned())];
        assert_eq!(told(&app("Sync", "")), refused("metadata.name"));
        assert_eq!(told(&app("sync", "  launchUri: nowhere\n")), refused("spec.launchUri"));
    }

    #[test]
    fn a_conflict_with_what_is_there_is_told_of_the_draft_whatever_its_name() {
        assert_eq!(
            told(&app("aa-second", "  clientId: taken\n")),
            [(true, Code::ClientIdConflict, "spec.clientId".into())]
        );
    }
}
