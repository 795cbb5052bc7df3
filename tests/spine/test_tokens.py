"""Tokens of an identity provider, made by PyJWT: taken as keys are, over new keys of it and an outage."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import cresset
import jwt
import pytest
from conftest import Serve
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from support.models import ECHO, write_model
from support.server import LONG
from support.web import Silent, serving

ISSUER = "https://id.example.com/"
TERMS = ("--auth", "--auth-jwt-issuer", ISSUER, "--auth-jwt-audience", "cresset")
ALGORITHMS: dict[str, Any] = {
    "RS256": RSAAlgorithm,
    "PS512": RSAAlgorithm,
    "ES256": ECAlgorithm,
    "ES384": ECAlgorithm,
    "EdDSA": OKPAlgorithm,
}


class Provider:
    """An identity provider: private keys by name, and what it shows of them."""

    def __init__(self) -> None:
        self.keys: dict[str, tuple[str, Any]] = {}

    def add(self, algorithm: str) -> str:
        """A new key; its name."""
        private: Any = {
            "RS256": lambda: rsa.generate_private_key(65537, 2048),
            "PS512": lambda: rsa.generate_private_key(65537, 3072),
            "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
            "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate,
        }[algorithm]()
        name = f"key-{len(self.keys)}"
        self.keys[name] = (algorithm, private)
        return name

    def jwks(self) -> str:
        keys: list[dict[str, Any]] = []
        for name, (algorithm, private) in self.keys.items():
            key = json.loads(ALGORITHMS[algorithm].to_jwk(private.public_key()))
            keys.append({**key, "kid": name, "use": "sig"})
        return json.dumps({"keys": keys})

    def token(self, key: str, tenant: str = "acme", scope: str = "cresset:submit cresset:read", **claims: Any) -> str:
        algorithm, private = self.keys[key]
        now = int(time.time())
        said = {"iss": ISSUER, "aud": "cresset", "sub": tenant, "exp": now + 600, "iat": now, "scope": scope, **claims}
        return jwt.encode(said, private, algorithm=algorithm, headers={"kid": key})


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def address(provider: Provider) -> Iterator[str]:
    """Where the provider shows its keys."""

    class Keys(Silent, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = provider.jwks().encode()
            self.send_response(200 if provider.keys else 503)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with serving(Keys) as url:
        yield f"{url}/jwks"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_model(tmp_path / "models", "echo", ECHO)
    write_model(tmp_path / "models", "other", ECHO)
    return tmp_path / "models"


def test_tokens_of_every_kind_of_key_are_taken_and_tenants_kept_apart(
    serve: Serve, folder: Path, tmp_path: Path, provider: Provider
) -> None:
    names = {algorithm: provider.add(algorithm) for algorithm in ALGORITHMS}
    jwks = tmp_path / "jwks.json"
    jwks.write_text(provider.jwks())
    server = serve(folder, *TERMS, "--auth-jwt-keys", str(jwks)).wait_ready()
    server.wait_log(lambda line: "tokens of the identity provider are taken" in line, "that it has the keys")
    for algorithm, name in names.items():
        with cresset.Client(server.url, key=provider.token(name)) as client:
            assert client.submit("echo", algorithm).result(timeout=LONG) == algorithm
    name = names["RS256"]
    ours, theirs = provider.token(name, "acme"), provider.token(name, "auth0|Other")
    with cresset.Client(server.url, key=ours) as us, cresset.Client(server.url, key=theirs) as them:
        handle = us.submit("echo", "secret plans")
        assert handle.result(timeout=LONG) == "secret plans"
        with pytest.raises(cresset.UnknownTask):
            them.task(handle.id).status()
        assert list(them.tasks()) == []
        assert len(list(us.tasks())) == len(names) + 1
    one = provider.token(name, cresset_models=["other"])
    with cresset.Client(server.url, key=one) as client:
        assert client.predict("other", 1) == 1
        with pytest.raises(cresset.Forbidden, match="may not use the model `echo`"):
            client.predict("echo", 1)
    # The file is read again when it changes.
    fresh = provider.add("ES256")
    assert not server.opens(provider.token(fresh))
    jwks.write_text(provider.jwks())
    server.wait(lambda _: server.opens(provider.token(fresh)), "reading the file again")
    for token in (ours, theirs, one):
        assert token.rsplit(".", 1)[1] not in server.log


def test_what_a_token_lacks_is_named(serve: Serve, folder: Path, tmp_path: Path, provider: Provider) -> None:
    name = provider.add("RS256")
    jwks = tmp_path / "jwks.json"
    jwks.write_text(provider.jwks())
    server = serve(folder, *TERMS, "--auth-jwt-keys", str(jwks)).wait_ready()
    server.wait(lambda _: server.opens(provider.token(name)), "reading the keys")
    past = int(time.time()) - 3600
    stranger = Provider()
    stranger.add("RS256")
    shared = jwt.encode({"iss": ISSUER}, "a shared secret of 32 bytes or so", algorithm="HS256", headers={"kid": name})
    for token, said in (
        (provider.token(name, exp=past), "was good until"),
        (provider.token(name, aud="elsewhere"), "is for"),
        (provider.token(name, iss="https://evil.example.com/"), "https://evil.example.com/"),
        (provider.token(name, sub=""), "`sub`"),
        (stranger.token(name), "is not the issuer's"),
        (shared, "HS256"),
        ("a.b.c", "JSON Web Token"),
    ):
        with (
            cresset.Client(server.url, key=token, retries=0) as client,
            pytest.raises(cresset.Unauthorized, match=said),
        ):
            client.models()
    with cresset.Client(server.url, key=provider.token(name, scope="cresset:read openid")) as client:
        assert [model.name for model in client.models()] == ["echo", "other"]
        with pytest.raises(cresset.Forbidden, match="`submit`"):
            client.submit("echo", 1)
    with (
        cresset.Client(server.url, key=provider.token(name, scope="openid")) as client,
        pytest.raises(cresset.Forbidden, match="`cresset:read`"),
    ):
        client.models()


def test_keys_behind_an_address_that_is_down_at_first_and_an_api_key_meanwhile(
    serve: Serve, folder: Path, provider: Provider, address: str
) -> None:
    server = serve(folder, *TERMS, "--auth-jwt-keys", address).wait_ready()
    early = Provider()
    with (
        cresset.Client(server.url, key=early.token(early.add("RS256")), retries=0) as client,
        pytest.raises(cresset.ApiError) as caught,
    ):
        client.models()
    assert (caught.value.status, caught.value.code) == (503, "issuer_unavailable")
    server.wait_log(lambda line: "it answers 503" in line, "why it has no keys")
    name = provider.add("RS256")
    server.wait(lambda _: server.opens(provider.token(name)), "asking again")
