//! Every verdict has a code. One table holds them all: conditions' reasons, refusals of requests, warnings of `check`.
//!
//! `hearthgate explain`, the documentation's table and SARIF rules are made from it. A code never changes its meaning;
//! a new one is added at the end of its group.

use std::fmt;
use std::str::FromStr;

/// What kind of verdict a code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// HG10xx: the reason of `Accepted=False`, or of a document that could not be read at all.
    Accepted,
    /// HG20xx: the reason of `ResolvedRefs=False`.
    ResolvedRefs,
    /// HG30xx: the reason of `KeyReady=False`.
    KeyReady,
    /// HG40xx: the reason of `EHRAuthenticated=False`.
    EhrAuthenticated,
    /// HG50xx: the reason of `Programmed=False`.
    Programmed,
    /// HG60xx: the reason of a probe's condition (`Reachable`, `Healthy`, `LaunchUriReachable`).
    Probe,
    /// HG70xx: why a request was refused.
    Request,
    /// HG80xx: a warning of `hearthgate check`.
    Warning,
}

impl Group {
    /// What the group's codes are about, in a few words.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Accepted => "condition Accepted",
            Self::ResolvedRefs => "condition ResolvedRefs",
            Self::KeyReady => "condition KeyReady",
            Self::EhrAuthenticated => "condition EHRAuthenticated",
            Self::Programmed => "condition Programmed",
            Self::Probe => "conditions Reachable, Healthy and LaunchUriReachable",
            Self::Request => "a refused request",
            Self::Warning => "a warning of hearthgate check",
        }
    }
}

macro_rules! codes {
    ($($variant:ident = $number:literal, $group:ident, $reason:literal, $meaning:literal, $remedy:literal;)+) => {
        /// A verdict's code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(
                #[doc = $meaning]
                $variant,
            )+
        }

        impl Code {
            /// All codes, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The stable number, such as `HG4001`.
            pub const fn number(self) -> &'static str {
                match self { $(Self::$variant => $number),+ }
            }

            /// The word that stands in a condition's `reason`, such as `AwaitingRegistration`.
            pub const fn reason(self) -> &'static str {
                match self { $(Self::$variant => $reason),+ }
            }

            /// What kind of verdict this is.
            pub const fn group(self) -> Group {
                match self { $(Self::$variant => Group::$group),+ }
            }

            /// What the code means.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),+ }
            }

            /// What a person does about it.
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy),+ }
            }
        }
    };
}

codes! {
    InvalidSpec = "HG1001", Accepted, "InvalidSpec",
        "The object breaks a rule of its schema: a field is missing, unknown, of the wrong type, or contradicts another.",
        "Correct the field that the message names. Until then the object stays as it was before the edit.";
    ClientIdConflict = "HG1002", Accepted, "ClientIdConflict",
        "Another App on this platform already has this client ID. A derived ID beats a chosen one; then the oldest object wins.",
        "Choose another clientId, or leave it out: a unique one is derived from namespace and name.";
    DuplicateActivation = "HG1003", Accepted, "DuplicateActivation",
        "Another Activation already stands for the same app on the same gateway. The oldest wins.",
        "Delete one of the two; to change the app's access, edit the one that wins.";
    KeyPairConflict = "HG1004", Accepted, "KeyPairConflict",
        "Another Activation uses a key pair of the same name with another App, algorithm, size or source. The oldest wins.",
        "Give keyPair.name another value, or make algorithm, rsaBits and secretRef equal. Only activations of one App may share a pair.";
    PublicUrlConflict = "HG1005", Accepted, "PublicUrlConflict",
        "The gateway's public URL equals, contains or lies below another gateway's, uses the reserved name keys, or names a host that is not the platform's.",
        "Choose another publicUrl, or have the installation allow the host with --allow-public-host HOST=NAMESPACE.";
    AddressNotAllowed = "HG1006", Accepted, "AddressNotAllowed",
        "A URL names an address that Hearthgate does not call (loopback, link-local, private or otherwise special), or uses plain http.",
        "Use a public https address, or have the installation open the range with --allow-address CIDR.";
    InvalidScope = "HG1007", Accepted, "InvalidScope",
        "A scope is not a SMART scope.",
        "Write it as (patient|user|system)/(Type|*).cruds, for example system/Patient.rs, or in version 1 form, system/Patient.read.";
    InvalidDocument = "HG1008", Accepted, "InvalidDocument",
        "A file or document could not be read: it is not YAML, too large, too deep, has duplicate keys, or is no Kubernetes object.",
        "Correct the file at the line that the message names. Until then all its objects stay as they were.";
    DuplicateObject = "HG1009", Accepted, "DuplicateObject",
        "The same object (kind, namespace and name) stands in two places.",
        "Keep one of the two. Until then the one that was read first is used.";
    RefNotFound = "HG2001", ResolvedRefs, "RefNotFound",
        "An object that this one refers to does not exist in the namespace.",
        "Create it, or correct the name. Any order of creation is fine.";
    RefNotAccepted = "HG2002", ResolvedRefs, "RefNotAccepted",
        "An object that this one refers to exists, but has a fault of its own.",
        "Mend that object first: hearthgate status shows the root cause on top.";
    SecretNotFound = "HG2003", ResolvedRefs, "SecretNotFound",
        "The Secret or ConfigMap is missing, or lacks the label hearthgate.dev/use without which it is never read.",
        "Create it, or label it: kubectl label secret NAME hearthgate.dev/use=credential.";
    SecretKeyMissing = "HG2004", ResolvedRefs, "SecretKeyMissing",
        "The Secret exists, but has no entry of that key.",
        "Add the entry, or correct key in the reference.";
    HostNotAllowed = "HG2005", ResolvedRefs, "HostNotAllowed",
        "The Secret's annotation hearthgate.dev/allowed-hosts does not name the host that it would be sent to.",
        "Correct the URL, or have the Secret's owner add the host to the annotation.";
    SecretInvalid = "HG2006", ResolvedRefs, "SecretInvalid",
        "The Secret's entry cannot be used: a client secret is shorter than 16 characters or not UTF-8, a credential is no user:password, a certificate or key does not parse.",
        "Replace the entry. The message says what is wrong with it, never what is in it.";
    KeyCreating = "HG3001", KeyReady, "Creating",
        "The key pair is being made.",
        "Wait a few seconds. If it stays so, the control plane is not running or cannot write: see its log.";
    KeyLost = "HG3002", KeyReady, "KeyLost",
        "A key that was recorded or pinned is gone, and so perhaps is what the EHR trusts. No new key is made in its place.",
        "Restore the Secret from a backup (hearthgate keys import). If it is lost for good, remove the pin, raise keyPair.revision and register the new key at the EHR. The same goes for a key of your own that another one replaced in its Secret.";
    KeyBelongsToAnother = "HG3003", KeyReady, "KeyBelongsToAnother",
        "A Secret of the key's name exists, but belongs to another App, has another algorithm or size, or its halves do not fit. It is left untouched.",
        "Give keyPair.name another value, or remove the foreign Secret.";
    NewKeysForbidden = "HG3004", KeyReady, "NewKeysForbidden",
        "The key does not exist yet, and this installation runs with --no-new-keys.",
        "Restore the key Secrets first; then start the operator without --no-new-keys.";
    KeyWithdrawn = "HG3005", KeyReady, "KeyWithdrawn",
        "The only key that could sign was withdrawn.",
        "Raise keyPair.revision, register the new key at the EHR, and have the EHR remove the withdrawn one.";
    AwaitingRegistration = "HG4001", EhrAuthenticated, "AwaitingRegistration",
        "The EHR refuses the token request, and has never yet accepted one: the key is most likely not registered there.",
        "Register the JWKS URL (or the PEM) at the EHR; nextStep says how. EHRs take from minutes to a day to sync; hearthgate probe asks again now.";
    Refused = "HG4002", EhrAuthenticated, "Refused",
        "The EHR refuses the token request, though it accepted one before.",
        "Ask the EHR's team what changed: a removed or expired registration, a disabled client, another key. hearthgate probe asks again now.";
    EhrUnreachable = "HG4003", EhrAuthenticated, "EHRUnreachable",
        "The EHR's token endpoint has not been reached yet.",
        "Check tokenUrl, DNS, firewall and certificates; the message says how far the request came.";
    UnusableAnswer = "HG4004", EhrAuthenticated, "UnusableAnswer",
        "The EHR's token endpoint answered something that is no token response.",
        "Check tokenUrl: it may lead to a login page or a proxy.";
    ClientIdMissing = "HG4005", EhrAuthenticated, "ClientIdMissing",
        "The activation has no client ID of the EHR yet.",
        "Register the app at the EHR with the JWKS URL (or the PEM) and put the client ID that it gives into ehrAuthentication.system.backendAuth.clientId.";
    NotProbed = "HG4006", EhrAuthenticated, "NotProbed",
        "The EHR has not been asked yet.",
        "Wait a few seconds; hearthgate probe asks now.";
    NoUserYet = "HG4007", EhrAuthenticated, "NoUserYet",
        "No user of the EHR has launched the app yet, so the EHR has not been asked for a token.",
        "Nothing: the first user's launch tells. Have the EHR register the redirect URI that nextStep names, and launch the app once.";
    Pending = "HG5001", Programmed, "Pending",
        "Not every ready replica of the proxy serves the object as it stands.",
        "Wait. If it stays so, a replica lags: see its log.";
    Suspended = "HG5002", Programmed, "Suspended",
        "The object, or one that it hangs on, is suspended.",
        "Remove suspend: true from the object that the message names.";
    OutsideWindow = "HG5003", Programmed, "OutsideWindow",
        "The activation's window (notBefore, expiresAt) does not include this moment.",
        "Change the window, or wait for it.";
    NoReplicas = "HG5004", Programmed, "NoReplicas",
        "No ready replica of the proxy is known.",
        "Start the proxy, or correct --proxies.";
    NotAccepted = "HG5005", Programmed, "NotAccepted",
        "The object is not served because of a fault that another condition tells.",
        "See Accepted and ResolvedRefs.";
    Unreachable = "HG6001", Probe, "Unreachable",
        "The address did not answer.",
        "Check the URL, DNS and firewall.";
    ProbeAddressNotAllowed = "HG6002", Probe, "AddressNotAllowed",
        "The host's name resolves to an address that Hearthgate does not call.",
        "Use a public address, or have the installation open the range with --allow-address CIDR.";
    TlsFailed = "HG6003", Probe, "TlsFailed",
        "The TLS connection failed: the certificate is expired, for another name, or of an unknown authority.",
        "Correct the certificate, or give its authority in tls.caBundleRef.";
    NotFhirR4 = "HG6004", Probe, "NotFhirR4",
        "The EHR's metadata is no CapabilityStatement of FHIR R4.",
        "Check fhirBaseUrl.";
    Unhealthy = "HG6005", Probe, "Unhealthy",
        "The app's health URI answered with an error.",
        "Look at the app.";
    NotReached = "HG6006", Probe, "NotProbed",
        "The address has not been asked yet.",
        "Wait a few seconds.";
    TokenMissing = "HG7001", Request, "TokenMissing",
        "The request carries no access token.",
        "Get one at the gateway's token endpoint and send it as Authorization: Bearer.";
    TokenInvalid = "HG7002", Request, "TokenInvalid",
        "The access token is malformed, or its signature does not hold.",
        "Get a new one at this gateway's token endpoint.";
    TokenExpired = "HG7003", Request, "TokenExpired",
        "The access token has expired.",
        "Get a new one.";
    TokenForAnotherGateway = "HG7004", Request, "TokenForAnotherGateway",
        "The access token was issued by or for another gateway.",
        "Get one at this gateway's token endpoint.";
    ActivationGone = "HG7005", Request, "ActivationGone",
        "The activation that the token was issued for no longer exists or is not accepted.",
        "Ask the platform team; hearthgate status shows the chain.";
    ActivationSuspended = "HG7006", Request, "ActivationSuspended",
        "The activation, or an object that it hangs on, is suspended.",
        "Ask the platform team.";
    ActivationOutsideWindow = "HG7007", Request, "ActivationOutsideWindow",
        "The activation is not valid at this moment (notBefore, expiresAt).",
        "Ask the platform team.";
    ScopeInsufficient = "HG7008", Request, "ScopeInsufficient",
        "No scope of the token permits this interaction.",
        "Ask for a token with the scope that the message names; the App, Activation and Gateway must all permit it.";
    InteractionUnknown = "HG7009", Request, "InteractionUnknown",
        "The request is no FHIR interaction that the gateway understands; what is not understood is denied.",
        "Use a FHIR R4 RESTful interaction.";
    OperationNotAllowed = "HG7010", Request, "OperationNotAllowed",
        "The gateway does not list this FHIR operation.",
        "Have the platform team add it to the Gateway's operations.";
    PathRefused = "HG7011", Request, "PathRefused",
        "The path holds dot segments, empty segments, encoded slashes or other oddities; such paths are never forwarded.",
        "Send a plain path.";
    TokenInQuery = "HG7012", Request, "TokenInQuery",
        "The access token stands in the query, where logs see it.",
        "Send it as Authorization: Bearer.";
    MethodRefused = "HG7013", Request, "MethodRefused",
        "The method is not used here.",
        "See the Allow header.";
    FormatNotAcceptable = "HG7014", Request, "FormatNotAcceptable",
        "The gateway speaks FHIR JSON only.",
        "Send Accept: application/fhir+json.";
    PrivateApiRefused = "HG7015", Request, "PrivateApiRefused",
        "The private API's routes do not include this request, or the gateway has no private API.",
        "Have the platform team add the route to the DataAdapter's externalAuth.";
    ContentTypeRefused = "HG7016", Request, "ContentTypeRefused",
        "The body's media type is not one that this endpoint takes, or the body is compressed.",
        "Send the media type that the message names, uncompressed.";
    AuthorizationMalformed = "HG7017", Request, "AuthorizationMalformed",
        "The Authorization header is not a bearer token, or there are several.",
        "Send exactly one Authorization: Bearer header.";
    ParameterRefused = "HG7018", Request, "ParameterRefused",
        "A search parameter reaches into types that the token does not permit, or is not understood.",
        "Leave it out, or ask for a token with the scope that the message names.";
    MalformedTokenRequest = "HG7020", Request, "MalformedTokenRequest",
        "The token request is malformed: a parameter is missing, repeated or too long, or the body is no form.",
        "Send an application/x-www-form-urlencoded body as RFC 6749 asks.";
    SeveralClientAuthentications = "HG7021", Request, "SeveralClientAuthentications",
        "The token request authenticates the client in more than one way.",
        "Use one way only.";
    ClientAuthenticationFailed = "HG7022", Request, "ClientAuthenticationFailed",
        "The client is unknown or its credential is wrong.",
        "Check the client ID (status.clientId of the App) and the credential.";
    GrantTypeUnsupported = "HG7023", Request, "GrantTypeUnsupported",
        "The grant type is not supported.",
        "Use one of those in the discovery document.";
    ClientUnauthorized = "HG7024", Request, "ClientUnauthorized",
        "The client has no activation at this gateway, or may not use this grant type.",
        "Have the platform team activate the app on this gateway.";
    ScopeUnavailable = "HG7025", Request, "ScopeUnavailable",
        "Nothing of the requested scope may be granted.",
        "Ask for scopes that the App, Activation and Gateway all permit.";
    TooManyFailures = "HG7026", Request, "TooManyFailures",
        "Too many wrong credentials came for this client from this address.",
        "Wait as long as Retry-After says.";
    GatewaySigningUnready = "HG7027", Request, "GatewaySigningUnready",
        "The gateway's own signing key is not there yet.",
        "Wait a few seconds and try again.";
    ClientAssertionRefused = "HG7028", Request, "ClientAssertionRefused",
        "The client assertion (private_key_jwt) cannot be taken, whoever sent it: its form, algorithm, audience, times or jti.",
        "Correct what the message names. The assertion is a JWT with iss and sub (the client ID), aud (the token endpoint's URL), exp (at most 5 minutes ahead) and a fresh jti, signed with a registered key.";
    StoreAway = "HG7029", Request, "StoreAway",
        "The store that the replicas share cannot be reached, and this request needs it: what may be used once could otherwise be used twice.",
        "Try again as Retry-After says. If it stays so, the platform team looks at the store (--store).";
    TokenOfAnother = "HG7030", Request, "TokenOfAnother",
        "A client asks to revoke a token that was issued to another client.",
        "Revoke a token with the credentials of the client that it was issued to.";
    EhrRefusedToken = "HG7040", Request, "EhrRefusedToken",
        "The EHR refuses to give Hearthgate a token for this activation.",
        "Ask the platform team: the activation's nextStep says what is missing.";
    EhrUnreachableNow = "HG7041", Request, "EhrUnreachableNow",
        "The EHR could not be reached.",
        "Try again later.";
    EhrTimeout = "HG7042", Request, "EhrTimeout",
        "The EHR did not answer in time.",
        "Try again later.";
    EhrRefusedCredentials = "HG7043", Request, "EhrRefusedCredentials",
        "The EHR answered 401 to the gateway's own credentials, twice.",
        "Ask the platform team.";
    EhrRedirected = "HG7044", Request, "EhrRedirected",
        "The EHR answered with a redirect; credentials are never carried to another place.",
        "Have the platform team correct the adapter's URL.";
    EhrAnswerUnusable = "HG7045", Request, "EhrAnswerUnusable",
        "The EHR's answer cannot be passed on.",
        "Try again; if it stays so, ask the platform team.";
    ActivationKeyUnready = "HG7046", Request, "ActivationKeyUnready",
        "The activation cannot sign: its key or client ID is missing.",
        "Ask the platform team: the activation's nextStep says what is missing.";
    EhrAddressNotAllowed = "HG7047", Request, "EhrAddressNotAllowed",
        "The EHR's name resolves to an address that Hearthgate does not call.",
        "Have the platform team correct the URL, or open the range with --allow-address.";
    EhrCircuitOpen = "HG7048", Request, "EhrCircuitOpen",
        "The EHR failed too often just now and is left alone for a moment.",
        "Try again as Retry-After says.";
    PatientMissing = "HG7050", Request, "PatientMissing",
        "Only patient/ scopes would permit the request, and no patient is in the token's context.",
        "Launch with a patient (launch/patient, or from the EHR's chart), or ask for user/ scopes.";
    BeyondPatient = "HG7051", Request, "BeyondPatient",
        "The request reaches beyond the patient in context, to whom patient/ scopes are held.",
        "Ask for the patient that came with the token, and for types of FHIR's Patient compartment.";
    ScopeUnenforceable = "HG7052", Request, "ScopeUnenforceable",
        "The token's scopes permit this within limits only (a patient, a condition such as ?category=), and the request is of a kind that cannot be held to them.",
        "Do as the message says: usually a plain search by type, or a change by id.";
    BodyBeyondScope = "HG7053", Request, "BodyBeyondScope",
        "What would be written is beyond the token's scopes: of another patient, or without the condition that a scope names.",
        "Write only what the scopes describe; the resource itself must say so.";
    NotWithinScope = "HG7054", Request, "NotWithinScope",
        "There is no such resource within the token's scopes. Whether there is one beyond them is not said.",
        "Check the id, and what patient and conditions the token's scopes are held to.";
    AnswerBeyondScope = "HG7055", Request, "AnswerBeyondScope",
        "The EHR's answer holds something beyond the token's scopes; nothing of it was passed on.",
        "Leave out what brings other resources along (_include, _revinclude). If it stays so, the EHR ignores a condition of the search: tell the platform team.";
    LinkUnusable = "HG7056", Request, "LinkUnusable",
        "The link of a page, job or file is not one of this gateway for this client, has expired, or would lead to another host.",
        "Begin again with the search or export; links are for the client that received them.";
    VersionConflict = "HG7057", Request, "VersionConflict",
        "The resource has another version than If-Match says.",
        "Read it again, and change what is there now.";
    GatewayUnknown = "HG7060", Request, "GatewayUnknown",
        "No gateway is at this URL.",
        "Check the URL: the Gateway's status.url shows it.";
    GatewayNotServed = "HG7061", Request, "GatewayNotServed",
        "The gateway exists but cannot be served because of a fault in its configuration.",
        "Ask the platform team: the Gateway's conditions say why.";
    NotSynced = "HG7062", Request, "NotSynced",
        "This replica has not loaded its configuration yet.",
        "Try again in a few seconds.";
    BodyTooLarge = "HG7063", Request, "BodyTooLarge",
        "The request's body is too large.",
        "Send less at once.";
    UriTooLong = "HG7064", Request, "UriTooLong",
        "The request's URI is too long.",
        "Search by POST to [type]/_search.";
    HeadersTooLarge = "HG7065", Request, "HeadersTooLarge",
        "The request's headers are too large.",
        "Send fewer or shorter headers.";
    RateLimited = "HG7066", Request, "RateLimited",
        "The app or the EHR has reached its limit of requests.",
        "Wait as long as Retry-After says.";
    EndpointUnknown = "HG7067", Request, "EndpointUnknown",
        "The gateway has no such endpoint.",
        "See the discovery document.";
    BatchRefused = "HG7068", Request, "BatchRefused",
        "The batch or transaction is refused: its entries could not be looked into.",
        "Send a Bundle of type batch or transaction as the message says, or send the entries one by one.";
    HeaderRefused = "HG7069", Request, "HeaderRefused",
        "A header that must stand once stands there several times, or holds something that is no text.",
        "Send the header once, in ASCII.";
    BodyUnreadable = "HG7070", Request, "BodyUnreadable",
        "The request's body broke off or stalled.",
        "Send the request again.";
    TokenRevoked = "HG7071", Request, "TokenRevoked",
        "The access token, or the session that it belongs to, was revoked.",
        "Get a new one; where a user's session was ended, the user logs in again.";
    GatewayFull = "HG7072", Request, "GatewayFull",
        "The gateway holds as many long bodies as it has room for.",
        "Wait as long as Retry-After says; ask for smaller pages with _count.";
    HttpRefused = "HG7080", Request, "HttpRefused",
        "The request's head can be read in two ways: lengths that contradict each other, odd line endings, a missing or second Host. The connection is closed.",
        "Send HTTP/1.1 as RFC 9112 has it, or HTTP/2.";
    OriginRefused = "HG7081", Request, "OriginRefused",
        "A browser asked whether a page may call here, and the page's origin is not allowed.",
        "Have the platform team add the origin to the Gateway's cors.allowedOrigins, or register a redirect URI of it.";
    RedirectRefused = "HG7090", Request, "RedirectRefused",
        "The authorization request names no client that is known here, or a redirect URI that is not registered for it; nobody is redirected to such an address.",
        "Send the App's client ID and one of its redirectUris, letter by letter.";
    MalformedAuthorizationRequest = "HG7091", Request, "MalformedAuthorizationRequest",
        "The authorization request is malformed: a parameter is missing, repeated, or not what SMART App Launch asks for.",
        "Send response_type=code, client_id, redirect_uri, scope, state, aud (the FHIR base) and a PKCE challenge with S256, each once.";
    LaunchUnknown = "HG7092", Request, "LaunchUnknown",
        "The launch is not known: it is over, was used before, belongs to another browser, or comes from another EHR.",
        "Start the app again, from the EHR or from its own page.";
    GrantInvalid = "HG7093", Request, "GrantInvalid",
        "The authorization code or refresh token is unknown, expired, spent or another client's, or does not fit what it was issued for.",
        "Send the user through the authorization endpoint again.";
    EhrDenied = "HG7094", Request, "EhrDenied",
        "The EHR, or the user there, did not authorize the launch.",
        "Try again; the EHR's people know who may launch the app.";
    EhrIdTokenInvalid = "HG7095", Request, "EhrIdTokenInvalid",
        "The EHR granted openid and gave no valid id_token, so nobody knows who the user is.",
        "Ask the platform team: the log says what is wrong with it.";
    SessionOver = "HG7096", Request, "SessionOver",
        "The user's session at the EHR is over.",
        "The user launches the app again.";
    LaunchUriIgnored = "HG8001", Warning, "LaunchUriIgnored",
        "A BackendService has no launch: its launchUri (or redirectUris) is ignored.",
        "Remove the field, or choose another clientType.";
    ScopeNeverGranted = "HG8002", Warning, "ScopeNeverGranted",
        "A scope is asked for that is never granted: a ceiling drops it.",
        "Remove the scope, or raise the ceiling that the message names.";
    PrivateApiUnrestricted = "HG8003", Warning, "PrivateApiUnrestricted",
        "externalAuth has no routes: every app with private-api may call everything below apiEndpoint.",
        "List in routes what may be called.";
    UnusedSecret = "HG8004", Warning, "UnusedSecret",
        "A labelled Secret is referred to by nothing.",
        "Remove it, or correct the reference that should lead to it.";
    UnpinnedKey = "HG8005", Warning, "UnpinnedKey",
        "A live key is not pinned: should cluster and status be lost, a new key would be made without a word.",
        "Commit the line that hearthgate status offers (keyPair.thumbprints).";
    WindowOver = "HG8006", Warning, "WindowOver",
        "The activation's window is over.",
        "Delete the activation, or extend expiresAt.";
    DocumentIgnored = "HG8007", Warning, "DocumentIgnored",
        "The document is of a kind that Hearthgate does not read.",
        "Nothing, if that is meant.";
    SuppressionUnused = "HG8008", Warning, "SuppressionUnused",
        "A comment or annotation silences a code that nothing there has: it would hide the next finding.",
        "Remove it, or correct the code.";
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.number())
    }
}

/// The text is no code's number or reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no code: codes look like HG4001 or AwaitingRegistration")]
pub struct UnknownCode(pub String);

impl FromStr for Code {
    type Err = UnknownCode;

    /// Takes the number (`HG4001`, in any case) or the reason (`AwaitingRegistration`).
    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        Self::ALL
            .iter()
            .find(|code| code.number().eq_ignore_ascii_case(text) || code.reason() == text)
            .copied()
            .ok_or_else(|| UnknownCode(text.into()))
    }
}

impl serde::Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_are_unique_and_stand_in_their_groups() {
        let numbers: BTreeSet<_> = Code::ALL.iter().map(|code| code.number()).collect();
        assert_eq!(numbers.len(), Code::ALL.len());
        for code in Code::ALL {
            let prefix = match code.group() {
                Group::Accepted => "HG10",
                Group::ResolvedRefs => "HG20",
                Group::KeyReady => "HG30",
                Group::EhrAuthenticated => "HG40",
                Group::Programmed => "HG50",
                Group::Probe => "HG60",
                Group::Request => "HG70",
                Group::Warning => "HG80",
            };
            assert!(code.number().starts_with(prefix), "{code} does not belong to {prefix}xx");
        }
        assert!(Code::ALL.is_sorted_by_key(|code| code.number()));
    }

    #[test]
    fn a_code_is_found_by_number_and_by_reason() {
        assert_eq!("hg4001".parse(), Ok(Code::AwaitingRegistration));
        assert_eq!("AwaitingRegistration".parse(), Ok(Code::AwaitingRegistration));
        assert_eq!("HG9999".parse::<Code>(), Err(UnknownCode("HG9999".into())));
    }
}
