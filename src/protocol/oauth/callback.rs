//! The EHR's answer to our authorization request (RFC 6749 §4.1.2), and what of it the app is told.

use crate::protocol::form;

/// What the EHR sent the user back with.
#[derive(Debug, PartialEq, Eq)]
pub struct Returned {
    /// Ours.
    pub state: String,
    /// The EHR's issuer, where it says (RFC 9207).
    pub issuer: Option<String>,
    /// A code, or why there is none.
    pub outcome: Result<String, &'static str>,
}

/// What the EHR sent cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the EHR's answer to the authorization request cannot be read")]
pub struct Unreadable;

/// Errors of the EHR that an app can make something of (RFC 6749 §4.1.2.1, OpenID Connect Core §3.1.2.6). All else is
/// between the gateway and the EHR.
const PASSED_ON: [&str; 8] = [
    "access_denied",
    "temporarily_unavailable",
    "invalid_scope",
    "login_required",
    "interaction_required",
    "consent_required",
    "account_selection_required",
    "server_error",
];

/// Reads the query of the request that comes back.
pub fn read(query: &str) -> Result<Returned, Unreadable> {
    let (mut state, mut code, mut error, mut issuer) = (None, None, None, None);
    for pair in form::pairs(query.as_bytes()) {
        let (name, value) = pair.map_err(|_| Unreadable)?;
        let place = match name.as_ref() {
            "state" => &mut state,
            "code" => &mut code,
            "error" => &mut error,
            "iss" => &mut issuer,
            _ => continue,
        };
        if place.replace(value.into_owned()).is_some() {
            return Err(Unreadable);
        }
    }
    let outcome = match (code.filter(|code| !code.is_empty()), error) {
        (Some(code), None) => Ok(code),
        (None, Some(error)) => Err(PASSED_ON.into_iter().find(|word| *word == error).unwrap_or("server_error")),
        (Some(_), Some(_)) | (None, None) => return Err(Unreadable),
    };
    Ok(Returned { state: state.filter(|state| !state.is_empty()).ok_or(Unreadable)?, issuer, outcome })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_and_an_error_are_read() {
        let returned = |issuer: Option<&str>, outcome: Result<&str, &'static str>| {
            Ok(Returned { state: "s".into(), issuer: issuer.map(Into::into), outcome: outcome.map(Into::into) })
        };
        assert_eq!(read("code=a&state=s"), returned(None, Ok("a")));
        assert_eq!(read("state=s&code=a&iss=https%3A%2F%2Fe&x=y"), returned(Some("https://e"), Ok("a")));
        assert_eq!(read("state=s&error=access_denied&error_description=x"), returned(None, Err("access_denied")));
        assert_eq!(read("state=s&error=invalid_client"), returned(None, Err("server_error")));
    }

    #[test]
    fn what_is_neither_or_both_is_refused() {
        for query in [
            "",
            "state=s",
            "code=a",
            "code=a&state=",
            "code=&state=s",
            "code=a&error=b&state=s",
            "code=a&code=a&state=s",
            "code=%zz&state=s",
        ] {
            assert_eq!(read(query), Err(Unreadable), "{query}");
        }
    }
}
