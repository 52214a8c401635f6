//! Media types as far as the gateway looks at them: what a client accepts, and what a body is.

/// The media type without parameters, in lower case: `application/fhir+json`.
pub fn essence(value: &str) -> String {
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The media type of JSON Patch (RFC 6902 §6).
pub const JSON_PATCH: &str = "application/json-patch+json";

/// Whether it is one of FHIR's names for JSON (FHIR R4 §3.1.0.1.11), or JSON itself.
pub fn is_json(essence: &str) -> bool {
    matches!(essence, "application/fhir+json" | "application/json" | "application/json+fhir" | "text/json")
}

/// Whether an `Accept` header can be answered with FHIR JSON. Quality values are looked at only for zero.
pub fn accepts_json(accept: &str) -> bool {
    accept.split(',').map(str::trim).filter(|range| !range.is_empty()).any(|range| {
        let refused = range.split(';').skip(1).any(|parameter| {
            parameter.trim().strip_prefix("q=").is_some_and(|quality| quality.parse::<f32>().is_ok_and(|q| q <= 0.0))
        });
        let essence = essence(range);
        !refused && (is_json(&essence) || matches!(essence.as_str(), "*/*" | "application/*" | "json"))
    })
}

/// Whether a `_format` parameter asks for JSON (FHIR R4 §3.1.0.1.11: `json`, or a media type).
pub fn format_is_json(value: &str) -> bool {
    // A form's decoding has turned a `+` that was not encoded into a space.
    let essence = essence(value).replace(' ', "+");
    essence.is_empty() || essence == "json" || is_json(&essence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_accepted_where_the_client_says_so() {
        for accept in [
            "application/fhir+json",
            "application/fhir+json; fhirVersion=4.0",
            "text/html, */*;q=0.1",
            "*/*",
            "application/xml,application/json;q=0.5",
        ] {
            assert!(accepts_json(accept), "{accept}");
        }
        for accept in
            ["application/fhir+xml", "text/html", "application/json;q=0", "application/fhir+xml, application/xml;q=0.9"]
        {
            assert!(!accepts_json(accept), "{accept}");
        }
    }

    #[test]
    fn a_format_parameter_asks_for_json_in_many_ways() {
        for value in ["json", "application/fhir+json", "application/fhir json", "application/json;fhirVersion=4.0", ""]
        {
            assert!(format_is_json(value), "{value}");
        }
        for value in ["xml", "application/fhir+xml", "ttl", "html"] {
            assert!(!format_is_json(value), "{value}");
        }
    }
}
