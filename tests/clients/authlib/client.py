"""An app made with Authlib: gets a token as its kind of client does, reads a Patient, and prints what it found.

The one argument is JSON; see `Launch` in `tests/clients/launch.rs`.
"""

import json
import pathlib
import sys
import time

import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc import jwk, jwt

from person import visit


class SmartKeyJWT(PrivateKeyJWT):
    """SMART allows an assertion five minutes where Authlib takes an hour, and each must have a `jti` of its own."""

    def sign(self, auth, token_endpoint):
        self.claims = {"exp": int(time.time()) + 240}
        return super().sign(auth, token_endpoint)


app = json.loads(sys.argv[1])
server = requests.get(f"{app['fhir_base']}/.well-known/smart-configuration").json()


def session(**more):
    method, secret = app["method"], app.get("secret")
    if method == "private_key_jwt":
        key = jwk.ECKey if app["algorithm"].startswith("ES") else jwk.RSAKey
        secret = key.import_key(pathlib.Path(app["key"]).read_text())
        method = SmartKeyJWT(server["token_endpoint"], headers={"kid": app["kid"]}, alg=app["algorithm"])
    return OAuth2Session(
        app["client_id"],
        secret,
        token_endpoint_auth_method=method,
        revocation_endpoint_auth_method=method,
        scope=app["scope"],
        **more,
    )


def backend():
    client = session()
    return client, client.fetch_token(server["token_endpoint"], grant_type="client_credentials"), None


def user():
    client = session(redirect_uri=app["redirect_uri"], code_challenge_method="S256")
    verifier, nonce = "v" * 64, "a-nonce-of-the-app"
    address, state = client.create_authorization_url(
        server["authorization_endpoint"], code_verifier=verifier, aud=app["fhir_base"], nonce=nonce
    )
    back = visit(address, app["redirect_uri"], app["login"], app["password"], app["patient"])
    token = client.fetch_token(
        server["token_endpoint"], authorization_response=back, state=state, code_verifier=verifier
    )
    claims = None
    if "id_token" in token:
        keys = jwk.KeySet.import_key_set(requests.get(server["jwks_uri"]).json())
        claims = jwt.decode(token["id_token"], keys, algorithms=["RS256"]).claims
        jwt.JWTClaimsRegistry(
            iss={"essential": True, "value": server["issuer"]},
            aud={"essential": True, "value": app["client_id"]},
            nonce={"essential": True, "value": nonce},
            sub={"essential": True},
            exp={"essential": True},
        ).validate(claims)
    return client, token, claims


client, token, claims = backend() if app["kind"] == "backend" else user()
found = {"token": dict(token), "claims": claims}
patient = client.get(f"{app['fhir_base']}/Patient/{app['patient']}", headers={"Accept": "application/fhir+json"})
found["patient"] = patient.json()
if token.get("refresh_token"):
    renewed = client.refresh_token(server["token_endpoint"])
    again = client.get(f"{app['fhir_base']}/Patient/{app['patient']}", headers={"Accept": "application/fhir+json"})
    found["renewed"] = {"token": dict(renewed), "status": again.status_code}
if app.get("introspect"):
    found["introspection"] = client.introspect_token(server["introspection_endpoint"], token=token["access_token"]).json()
    found["revocation"] = client.revoke_token(server["revocation_endpoint"], token=token["access_token"]).status_code
    found["after_revocation"] = client.introspect_token(
        server["introspection_endpoint"], token=token["access_token"]
    ).json()
print(json.dumps(found))
