// An app made with openid-client: gets a token as its kind of client does, reads a Patient, and prints what it found.
// The one argument is JSON; see `Launch` in `tests/clients/launch.rs`.

import { createPrivateKey, webcrypto } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { visit } from "./person.mjs";

// The libraries are installed elsewhere than this file is.
const require = createRequire(`${process.env.CLIENT_LIBRARIES}/package.json`);
const client = await import(pathToFileURL(require.resolve("openid-client")));

const app = JSON.parse(process.argv[2]);

async function authentication() {
  switch (app.method) {
    case "none":
      return client.None();
    case "client_secret_basic":
      return client.ClientSecretBasic(app.secret);
    case "client_secret_post":
      return client.ClientSecretPost(app.secret);
    case "private_key_jwt": {
      const der = createPrivateKey(readFileSync(app.key)).export({ type: "pkcs8", format: "der" });
      const algorithm = app.algorithm.startsWith("ES")
        ? { name: "ECDSA", namedCurve: "P-384" }
        : { name: "RSASSA-PKCS1-v1_5", hash: "SHA-384" };
      const key = await webcrypto.subtle.importKey("pkcs8", der, algorithm, false, ["sign"]);
      return client.PrivateKeyJwt({ key, kid: app.kid });
    }
  }
}

const configuration = await client.discovery(
  new URL(app.issuer),
  app.client_id,
  { id_token_signed_response_alg: "RS256" },
  await authentication(),
  { execute: [client.allowInsecureRequests] },
);

async function user() {
  const verifier = client.randomPKCECodeVerifier();
  const expectedState = client.randomState();
  const expectedNonce = client.randomNonce();
  const address = client.buildAuthorizationUrl(configuration, {
    redirect_uri: app.redirect_uri,
    scope: app.scope,
    aud: app.fhir_base,
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
    state: expectedState,
    nonce: expectedNonce,
  });
  const back = await visit(address, app.redirect_uri, app);
  // Checks state, iss (RFC 9207), the id_token's signature, issuer, audience, nonce and times.
  return client.authorizationCodeGrant(configuration, back, {
    pkceCodeVerifier: verifier,
    expectedState,
    expectedNonce,
    idTokenExpected: app.scope.split(" ").includes("openid"),
  });
}

const read = async (token) => {
  const url = new URL(`${app.fhir_base}/Patient/${app.patient}`);
  const headers = new Headers({ accept: "application/fhir+json" });
  return client.fetchProtectedResource(configuration, token, url, "GET", null, headers);
};

const token =
  app.kind === "backend"
    ? await client.clientCredentialsGrant(configuration, { scope: app.scope })
    : await user();
const found = { token, claims: token.claims() ?? null };
found.patient = await (await read(token.access_token)).json();
if (token.refresh_token) {
  const renewed = await client.refreshTokenGrant(configuration, token.refresh_token);
  found.renewed = { token: renewed, status: (await read(renewed.access_token)).status };
}
if (app.introspect) {
  found.introspection = await client.tokenIntrospection(configuration, token.access_token);
  await client.tokenRevocation(configuration, token.access_token);
  found.after_revocation = await client.tokenIntrospection(configuration, token.access_token);
}
console.log(JSON.stringify(found));
