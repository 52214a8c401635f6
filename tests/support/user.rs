//! A person with a browser, without the browser: goes from page to page by HTTP as the redirects say, keeps the launch's
//! cookie, and fills in the forms of the simulated EHR. Beside them the app, which gets the code.

use std::collections::BTreeMap;

use hearthgate::sandbox::{DEMO_PASSWORD, FIRST_PATIENT};
use reqwest::header::{CONTENT_TYPE, COOKIE, HOST, LOCATION, SET_COOKIE};
use reqwest::{RequestBuilder, StatusCode};
use url::Url;

use super::standalone::Answer;

/// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// What the app sends along and must get back.
const STATE: &str = "state of the app";

/// An app at one gateway, used by one person.
#[derive(Clone)]
pub struct AppUser {
    /// For calls: must not follow redirects.
    pub client: reqwest::Client,
    /// The gateway's public URL.
    pub gateway: String,
    /// Where a replica of the proxy listens, as `http://host:port`; `None`: where the public URL says.
    pub replica: Option<String>,
    pub client_id: String,
    /// The app's secret, where it has one.
    pub secret: Option<String>,
    pub redirect_uri: String,
    /// Who logs in at the EHR.
    pub login: &'static str,
}

/// A person on the way to the EHR, with what the browser keeps for the way back.
pub struct Leaving {
    pub location: String,
    cookie: String,
}

impl AppUser {
    /// The same app and person, by way of another replica.
    pub fn through(&self, replica: &str) -> Self {
        Self { replica: Some(replica.to_owned()), ..self.clone() }
    }

    /// A URL of the gateway, reached at the replica.
    fn at_replica(&self, url: &str) -> (String, Option<String>) {
        let Some(replica) = &self.replica else { return (url.to_owned(), None) };
        let public = Url::parse(url).unwrap();
        let host = format!("{}:{}", public.host_str().unwrap(), public.port_or_known_default().unwrap());
        (format!("{replica}{}", &url[url.find(&host).unwrap() + host.len()..]), Some(host))
    }

    fn get(&self, url: &str) -> RequestBuilder {
        let (url, host) = self.at_replica(url);
        let request = self.client.get(url);
        host.into_iter().fold(request, |request, host| request.header(HOST, host))
    }

    /// A form for the gateway, by the app.
    async fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        let (url, host) = self.at_replica(&format!("{}{path}", self.gateway));
        let mut form = form.to_vec();
        let mut request = self.client.post(url);
        match &self.secret {
            Some(secret) => request = request.basic_auth(&self.client_id, Some(secret)),
            None => form.push(("client_id", &self.client_id)),
        }
        let request = host.into_iter().fold(request, |request, host| request.header(HOST, host));
        Answer::of(with_form(request, &form)).await
    }

    /// With which the app sends the browser to the gateway.
    pub fn authorization_request(&self, scope: &str, launch: Option<&str>) -> RequestBuilder {
        let fhir = format!("{}/fhir", self.gateway);
        let mut request = vec![
            ("response_type", "code"),
            ("client_id", &self.client_id),
            ("redirect_uri", &self.redirect_uri),
            ("scope", scope),
            ("state", STATE),
            ("aud", &fhir),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        request.extend(launch.map(|launch| ("launch", launch)));
        self.get(&format!("{}/oauth2/authorize?{}", self.gateway, encoded(&request)))
    }

    /// The gateway's answer to it.
    pub async fn authorize(&self, scope: &str, launch: Option<&str>) -> Answer {
        Answer::of(self.authorization_request(scope, launch)).await
    }

    /// The browser is sent on to the EHR.
    pub async fn leave(&self, scope: &str, launch: Option<&str>) -> Leaving {
        let answer = self.authorize(scope, launch).await;
        let cookie = answer.headers[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
        Leaving { location: answer.redirected(), cookie }
    }

    /// At the EHR: logs in where it asks, chooses the first patient where it asks; where it sends the browser in the end.
    pub async fn visit_the_ehr(&self, leaving: &Leaving) -> String {
        let mut page = Answer::of(self.client.get(&leaving.location)).await;
        let ehr = Url::parse(&leaving.location).unwrap();
        while page.status == StatusCode::OK {
            let action = between(&page.text, r#"action=""#);
            let mut form =
                vec![("interaction", between(&page.text, r#"name="interaction" value=""#)), ("decision", "allow")];
            if action.ends_with("/login") {
                form.extend([("login", self.login), ("password", DEMO_PASSWORD)]);
            } else {
                form.push(("patient", FIRST_PATIENT));
            }
            page = Answer::of(with_form(self.client.post(ehr.join(action).unwrap()), &form)).await;
        }
        page.redirected()
    }

    /// At the EHR, where it shows a page that says no.
    pub async fn visit_the_ehr_in_vain(&self, leaving: &Leaving) -> bool {
        Answer::of(self.client.get(&leaving.location)).await.status == StatusCode::BAD_REQUEST
    }

    /// The browser comes back to the gateway.
    pub async fn come_back(&self, callback: &str, leaving: &Leaving) -> Answer {
        Answer::of(self.get(callback).header(COOKIE, &leaving.cookie)).await
    }

    /// What the app gets in the end by way of the browser.
    pub fn received(&self, answer: &Answer) -> BTreeMap<String, String> {
        let location = answer.redirected();
        let query = location.strip_prefix(&self.redirect_uri).and_then(|rest| rest.strip_prefix('?'));
        let query = query.unwrap_or_else(|| panic!("not the app: {location}"));
        let received: BTreeMap<_, _> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        assert_eq!((&*received["state"], &received["iss"]), (STATE, &self.gateway), "{received:?}");
        received
    }

    /// The way of a launch up to the code.
    pub async fn code(&self, scope: &str, launch: Option<&str>) -> String {
        let leaving = self.leave(scope, launch).await;
        let callback = self.visit_the_ehr(&leaving).await;
        let mut received = self.received(&self.come_back(&callback, &leaving).await);
        received.remove("code").unwrap_or_else(|| panic!("{received:?}"))
    }

    pub async fn redeem(&self, code: &str) -> Answer {
        self.post(
            "/oauth2/token",
            &[
                ("grant_type", "authorization_code"),
                ("code", code),
                ("redirect_uri", &self.redirect_uri),
                ("code_verifier", VERIFIER),
            ],
        )
        .await
    }

    pub async fn refresh(&self, token: &str) -> Answer {
        self.post("/oauth2/token", &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    pub async fn revoke(&self, token: &str) -> Answer {
        self.post("/oauth2/revoke", &[("token", token)]).await
    }

    /// Reads below the FHIR base.
    pub async fn read(&self, path: &str, token: &str) -> Answer {
        Answer::of(self.get(&format!("{}/fhir/{path}", self.gateway)).bearer_auth(token)).await
    }
}

impl Answer {
    /// Where it sends the browser.
    pub fn redirected(&self) -> String {
        assert_eq!(self.status, StatusCode::SEE_OTHER, "{self:?}");
        self.headers[LOCATION].to_str().unwrap().to_owned()
    }

    /// The status, and OAuth's word.
    pub fn refusal(&self) -> (u16, String) {
        (self.status.as_u16(), self.json()["error"].as_str().unwrap_or_default().to_owned())
    }

    /// A text member of the JSON.
    pub fn text_of(&self, member: &str) -> String {
        self.json()[member].as_str().unwrap_or_else(|| panic!("no {member}: {self:?}")).to_owned()
    }
}

fn encoded(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn with_form(request: RequestBuilder, form: &[(&str, &str)]) -> RequestBuilder {
    request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(encoded(form))
}

/// The text after this one, up to the quotation mark.
fn between<'page>(page: &'page str, before: &str) -> &'page str {
    let (_, rest) = page.split_once(before).unwrap_or_else(|| panic!("no {before} in {page}"));
    rest.split_once('"').unwrap().0
}
