//! Where an EHR's people register an app, by vendor.

use crate::api::data_adapter::DataSourceType;
use crate::snapshot::EhrAuthentication;

/// The steps, in order. What is said of each vendor is in the documentation's pages about going live there.
pub(super) fn guide(kind: DataSourceType, method: &EhrAuthentication) -> Vec<String> {
    let has_key = method.key_pair().is_some();
    let steps: &[&str] = match (method, kind) {
        (EhrAuthentication::None, _) => &["Nowhere: tell us only if the server is to be closed."],
        (EhrAuthentication::Basic(_), _) => &[
            "In your EHR's user administration: a user for this app alone, with no more rights than the APIs above need.",
        ],
        (EhrAuthentication::User(_), DataSourceType::EpicR4External) => &[
            "In the app's record at Epic: the redirect URI above, exactly as written, and the APIs and scopes.",
            "Production and non-production have different client IDs. The one above is what we send.",
            "Changes take up to half a day to reach production, in the sandbox about an hour.",
        ],
        (_, DataSourceType::EpicR4External) if has_key => &[
            "In the app's record at Epic: a backend app (SMART Backend Services), with the APIs above, and the JWK Set URL above. Production and non-production have different client IDs.",
            "At your site: map the client ID to an Epic user whose security allows these APIs. Until then every request is answered invalid_client.",
            "Changes take up to half a day to reach production, in the sandbox about an hour.",
        ],
        (_, DataSourceType::EpicR4External) => &[
            "In the app's record at Epic: the APIs above. Production and non-production have different client IDs.",
            "At your site: map the client ID to an Epic user whose security allows these APIs.",
        ],
        (_, DataSourceType::OracleHealthR4) if has_key => &[
            "In Oracle Health's code console: a system app for your tenant, with the JWK Set URL above.",
            "Register the scopes exactly as above: a scope that is missing fails the whole request.",
        ],
        (_, DataSourceType::OracleHealthR4) => &[
            "In Oracle Health's code console: an app for your tenant.",
            "Register the scopes exactly as above: a scope that is missing fails the whole request.",
        ],
        (_, DataSourceType::AthenaR4) if has_key => &[
            "In athenahealth's developer portal: an app with the JWK Set URL above, with the scopes above.",
            "Preview and production are separate registrations. Please tell us which of the two this one is.",
        ],
        (_, DataSourceType::AthenaR4) => &[
            "In athenahealth's developer portal: an app with the scopes above.",
            "Preview and production are separate registrations. Please tell us which of the two this one is.",
        ],
        (_, DataSourceType::MeditechR4 | DataSourceType::FhirR4) if has_key => &[
            "Where your authorization server keeps its clients: one that authenticates with private_key_jwt, with the JWK Set URL above as jwks_uri.",
        ],
        (_, DataSourceType::MeditechR4 | DataSourceType::FhirR4) => {
            &["Where your authorization server keeps its clients: one with the settings above."]
        }
    };
    steps.iter().map(|step| (*step).to_owned()).collect()
}
