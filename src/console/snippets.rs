//! How an app asks for a token, to be copied: in curl, Postman, Python and JavaScript. A secret is never in it, only the
//! name of the variable that holds it.

use crate::api::activation::Connection;
use crate::api::{AppSpec, ClientType};

/// Code to copy.
pub struct Snippet {
    /// In what.
    pub language: &'static str,
    /// The code.
    pub text: String,
}

/// For an app without a user: how it gets a token, in the way in which it proves who it is. Empty for other apps, whose
/// tokens begin with a user.
pub fn token(spec: &AppSpec, connection: &Connection) -> Vec<Snippet> {
    if spec.client_type != ClientType::BackendService {
        return Vec::new();
    }
    let texts = if spec.client_secrets.is_some() { with_secret(connection) } else { with_key(connection) };
    ["curl", "Postman", "Python", "JavaScript"]
        .into_iter()
        .zip(texts)
        .map(|(language, text)| Snippet { language, text })
        .collect()
}

fn with_secret(connection: &Connection) -> [String; 4] {
    let (id, url) = (&connection.client_id, &connection.token_url);
    [
        format!(
            r#"curl --silent --user "{id}:$CLIENT_SECRET" \
  --data grant_type=client_credentials \
  {url}"#
        ),
        format!(
            r#"// Pre-request script; keep clientSecret in a vault or a secret variable of the environment.
const authString = btoa("{id}:" + pm.environment.get("clientSecret"));

pm.sendRequest({{
  url: "{url}",
  method: "POST",
  header: {{
    "Accept": "application/json",
    "Content-Type": "application/x-www-form-urlencoded",
    "Authorization": "Basic " + authString
  }},
  body: {{ mode: "urlencoded", urlencoded: [{{ key: "grant_type", value: "client_credentials" }}] }}
}}, function (err, res) {{
  if (err || res.code !== 200) {{
    console.log("Failed to get a token", err || res.json());
  }} else {{
    pm.environment.set("token", res.json().access_token);
  }}
}});"#
        ),
        format!(
            r#"import os, requests

answer = requests.post(
    "{url}",
    auth=("{id}", os.environ["CLIENT_SECRET"]),
    data={{"grant_type": "client_credentials"}},
    timeout=10,
)
answer.raise_for_status()
token = answer.json()["access_token"]"#
        ),
        format!(
            r#"const secret = process.env.CLIENT_SECRET;
const answer = await fetch("{url}", {{
  method: "POST",
  headers: {{ Authorization: "Basic " + btoa(`{id}:${{secret}}`) }},
  body: new URLSearchParams({{ grant_type: "client_credentials" }}),
}});
if (!answer.ok) throw new Error(await answer.text());
const {{ access_token: token }} = await answer.json();"#
        ),
    ]
}

/// `private_key_jwt` (RFC 7523, SMART Backend Services): the assertion is signed anew for each request.
fn with_key(connection: &Connection) -> [String; 4] {
    let (id, url) = (&connection.client_id, &connection.token_url);
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    [
        format!(
            r#"# $ASSERTION is a JWT, signed (RS384 or ES384) with the private key whose public half is registered:
# iss and sub {id},
# aud the URL below, exp in at most five minutes, a fresh jti. The tab Python makes one.
curl --silent \
  --data grant_type=client_credentials \
  --data client_assertion_type={kind} \
  --data-urlencode "client_assertion=$ASSERTION" \
  {url}"#
        ),
        format!(
            r#"// Pre-request script. Postman has no RSA of its own: make the assertion beforehand (see Python)
// and keep it in the variable clientAssertion.
pm.sendRequest({{
  url: "{url}",
  method: "POST",
  header: {{ "Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded" }},
  body: {{ mode: "urlencoded", urlencoded: [
    {{ key: "grant_type", value: "client_credentials" }},
    {{ key: "client_assertion_type", value: "{kind}" }},
    {{ key: "client_assertion", value: pm.environment.get("clientAssertion") }}
  ] }}
}}, function (err, res) {{
  if (err || res.code !== 200) {{
    console.log("Failed to get a token", err || res.json());
  }} else {{
    pm.environment.set("token", res.json().access_token);
  }}
}});"#
        ),
        format!(
            r#"# pip install pyjwt[crypto] requests
import time, uuid, jwt, requests

TOKEN_URL, CLIENT_ID = "{url}", "{id}"
now = int(time.time())
assertion = jwt.encode(
    {{"iss": CLIENT_ID, "sub": CLIENT_ID, "aud": TOKEN_URL, "iat": now, "exp": now + 240, "jti": str(uuid.uuid4())}},
    open("private.pem").read(),
    algorithm="RS384",
    headers={{"kid": "the kid in your JWK Set"}},
)
answer = requests.post(TOKEN_URL, timeout=10, data={{
    "grant_type": "client_credentials",
    "client_assertion_type": "{kind}",
    "client_assertion": assertion,
}})
answer.raise_for_status()
token = answer.json()["access_token"]"#
        ),
        format!(
            r#"// npm install jose
import {{ readFile }} from "node:fs/promises";
import {{ SignJWT, importPKCS8 }} from "jose";

const [url, id] = ["{url}", "{id}"];
const key = await importPKCS8(await readFile("private.pem", "utf8"), "RS384");
const assertion = await new SignJWT()
  .setProtectedHeader({{ alg: "RS384", kid: "the kid in your JWK Set" }})
  .setIssuer(id).setSubject(id).setAudience(url)
  .setIssuedAt().setExpirationTime("4m").setJti(crypto.randomUUID())
  .sign(key);
const answer = await fetch(url, {{
  method: "POST",
  body: new URLSearchParams({{
    grant_type: "client_credentials",
    client_assertion_type: "{kind}",
    client_assertion: assertion,
  }}),
}});
if (!answer.ok) throw new Error(await answer.text());
const {{ access_token: token }} = await answer.json();"#
        ),
    ]
}
