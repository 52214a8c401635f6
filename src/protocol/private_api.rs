//! Which requests may go to an EHR's private APIs.

use http::Method;

use crate::snapshot::data_adapter::{ExternalAuth, PrivateApiRoute};
use crate::values::scope::{Scope, ScopeSet};

/// Why a request may not go there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrivateApiRefused {
    /// The adapter has no External auth.
    #[error("the gateway has no private API")]
    NoPrivateApi,
    /// The token does not hold `private-api`.
    #[error("the token does not hold the scope private-api")]
    Scope,
    /// No route includes the method and path.
    #[error("the private API's routes do not include this method and path")]
    NoRoute,
}

/// Decides on `method` and `path` (the part below `B/api`, empty or beginning with a slash, checked by
/// [`super::path::check`]).
pub fn decide<'adapter>(
    external_auth: Option<&'adapter ExternalAuth>,
    scopes: &ScopeSet,
    method: &Method,
    path: &str,
) -> Result<&'adapter ExternalAuth, PrivateApiRefused> {
    // The scope comes first, so that who may not call learns nothing about what is there.
    if !scopes.covers(&Scope::PrivateApi) {
        return Err(PrivateApiRefused::Scope);
    }
    let external_auth = external_auth.ok_or(PrivateApiRefused::NoPrivateApi)?;
    match &external_auth.routes {
        Some(routes) if !routes.iter().any(|route| includes(route, method, path)) => Err(PrivateApiRefused::NoRoute),
        Some(_) | None => Ok(external_auth),
    }
}

fn includes(route: &PrivateApiRoute, method: &Method, path: &str) -> bool {
    route.methods.contains(method)
        && path.strip_prefix(route.path_prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::test_support;
    use crate::values::scope::ScopeSet;

    #[test]
    fn only_listed_methods_and_paths_pass_at_a_segments_border() {
        let external = test_support::external_auth("http://127.0.0.1:1/private");
        let scopes = ScopeSet::parse("private-api").unwrap();
        let decide = |method: &Method, path: &str| decide(Some(&external), &scopes, method, path).map(|_| ());
        assert_eq!(decide(&Method::GET, "/schedule"), Ok(()));
        assert_eq!(decide(&Method::GET, "/schedule/slots"), Ok(()));
        assert_eq!(decide(&Method::POST, "/schedule"), Err(PrivateApiRefused::NoRoute));
        assert_eq!(decide(&Method::GET, "/schedules"), Err(PrivateApiRefused::NoRoute));
        assert_eq!(decide(&Method::GET, ""), Err(PrivateApiRefused::NoRoute));
    }

    #[test]
    fn without_the_scope_nothing_is_told() {
        let none = ScopeSet::parse("system/*.cruds").unwrap();
        assert_eq!(decide(None, &none, &Method::GET, "/x").map(|_| ()), Err(PrivateApiRefused::Scope));
        let some = ScopeSet::parse("private-api").unwrap();
        assert_eq!(decide(None, &some, &Method::GET, "/x").map(|_| ()), Err(PrivateApiRefused::NoPrivateApi));
    }
}
