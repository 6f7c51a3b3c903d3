"""Which bearer tokens are believed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from server.security.roles import Role
from server.security.web_tokens import Expected, WebTokens
from shoprank.errors import Unauthenticated, UserError
from tests.token_issuer import AUDIENCE, ISSUER, TokenIssuer

EXPECTED = Expected(ISSUER, AUDIENCE)


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> TokenIssuer:
    return TokenIssuer(tmp_path_factory.mktemp("issuer") / "jwks.json")


@pytest.fixture(scope="module")
def tokens(issuer: TokenIssuer) -> WebTokens:
    return WebTokens(issuer.file, EXPECTED, remembered=100)


@pytest.mark.parametrize("kid", ["rsa", "ec", "ed"])
def test_a_token_of_each_signature_is_believed_and_says_who_and_which_roles(
    issuer: TokenIssuer, tokens: WebTokens, kid: str
) -> None:
    token = issuer.token(kid)
    for _ in range(2):  # checked, then remembered
        principal = tokens.principal(token, time.time())
        assert (principal.name, principal.roles) == ("token:shop-web", frozenset({Role.score}))


def without_signature(header: dict[str, Any], claims: dict[str, Any]) -> str:
    return ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=").decode() for p in (header, claims))


def unsigned(issuer: TokenIssuer) -> str:
    return without_signature({"alg": "none", "kid": "rsa", "typ": "JWT"}, issuer.claims()) + "."


def signed_with_the_public_key_as_a_secret(issuer: TokenIssuer) -> str:
    pem = issuer.keys["rsa"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = without_signature({"alg": "HS256", "kid": "rsa", "typ": "JWT"}, issuer.claims())
    digest = hmac.new(pem, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def of_another_key_of_that_name(issuer: TokenIssuer) -> str:
    other = rsa.generate_private_key(65537, 2048)
    return jwt.encode(issuer.claims(), other, "RS256", headers={"kid": "rsa"})


def with_another_payload(issuer: TokenIssuer) -> str:
    header, _, signature = issuer.token().split(".")
    claims = json.dumps(issuer.claims() | {"roles": ["admin"]}).encode()
    return ".".join((header, base64.urlsafe_b64encode(claims).rstrip(b"=").decode(), signature))


def with_a_longer_rsa_hash(issuer: TokenIssuer) -> str:
    return jwt.encode(issuer.claims(), issuer.keys["rsa"], "RS512", headers={"kid": "rsa"})


def with_a_key_of_its_own(issuer: TokenIssuer) -> str:
    own = ed25519.Ed25519PrivateKey.generate()
    jwk = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(own.public_key()))
    return jwt.encode(issuer.claims(), own, "EdDSA", headers={"kid": "ed", "jwk": jwk})


def now(**later: float) -> dict[str, Any]:
    return {claim: int(time.time() + seconds) for claim, seconds in later.items()}


REFUSED: list[tuple[str, Callable[[TokenIssuer], str]]] = [
    ("has expired", lambda i: i.token(**now(exp=-1))),
    ("another audience", lambda i: i.token(aud="other")),
    ("another audience", lambda i: i.token(aud=["other", "more"])),
    ("another issuer", lambda i: i.token(iss=f"{ISSUER}/")),
    ("not valid yet", lambda i: i.token(**now(nbf=30))),
    ("lacks the claim exp", lambda i: i.token(exp=None)),
    ("lacks the claim aud", lambda i: i.token(aud=None)),
    ("lacks the claim iss", lambda i: i.token(iss=None)),
    ("lacks the claim sub", lambda i: i.token(sub=None)),
    ("sub is empty", lambda i: i.token(sub="")),
    ("sub is empty or longer", lambda i: i.token(sub="x" * 300)),
    ("neither a list nor a text", lambda i: i.token(roles={"score": True})),
    ("not signed as it should be", unsigned),
    ("not signed as it should be", signed_with_the_public_key_as_a_secret),
    ("not signed as it should be", of_another_key_of_that_name),
    ("not signed as it should be", with_another_payload),
    ("not signed as it should be", with_a_longer_rsa_hash),
    ("not signed as it should be", with_a_key_of_its_own),
    ("not signed as it should be", lambda i: i.token("ec", headers={"kid": "rsa"})),
    ("not signed as it should be|no JSON Web Token", lambda i: i.token(headers={"crit": ["exp"], "exp": 1})),
    ("unknown key", lambda i: i.token(headers={"kid": "ghost"})),
    ("names no key", lambda i: jwt.encode(i.claims(), i.keys["rsa"], "RS256")),
    ("no JSON Web Token", lambda i: i.token()[20:]),
    ("no JSON Web Token", lambda i: "nonsense"),
    ("no JSON Web Token", lambda i: "a.b.c"),
    ("no JSON Web Token", lambda i: "[" * 2000 + ".a.b"),
]


@pytest.mark.parametrize(("reason", "make"), REFUSED, ids=[f"{n}-{r[0]}" for n, r in enumerate(REFUSED)])
def test_a_token_that_is_not_as_expected_is_refused_with_the_reason(
    issuer: TokenIssuer, tokens: WebTokens, reason: str, make: Callable[[TokenIssuer], str]
) -> None:
    token = make(issuer)
    for _ in range(2):
        with pytest.raises(Unauthenticated, match=reason) as refused:
            tokens.principal(token, time.time())
        assert token not in str(refused.value)


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda b: b.decode("latin-1")))
def test_whatever_stands_for_a_token_is_refused_and_nothing_else_happens(tokens: WebTokens, text: str) -> None:
    with pytest.raises(Unauthenticated):
        tokens.principal(text, time.time())


@given(st.dictionaries(st.sampled_from(["exp", "nbf", "iat", "aud", "iss", "roles"]), st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5), st.lists, max_leaves=4
)))  # fmt: skip
def test_signed_claims_of_any_type_are_believed_or_refused(
    issuer: TokenIssuer, tokens: WebTokens, claims: dict[str, Any]
) -> None:
    said = issuer.claims() | claims
    parts = without_signature({"alg": "EdDSA", "kid": "ed"}, said)
    signature = base64.urlsafe_b64encode(issuer.keys["ed"].sign(parts.encode())).rstrip(b"=").decode()
    try:
        principal = tokens.principal(f"{parts}.{signature}", time.time())
    except Unauthenticated:
        return
    assert said["iss"] == ISSUER
    assert AUDIENCE in said["aud"]
    assert principal.expires > time.time()


def test_a_remembered_token_is_refused_once_it_expires(issuer: TokenIssuer, tokens: WebTokens) -> None:
    token = issuer.token(**now(exp=2))
    assert tokens.principal(token, time.time()).name == "token:shop-web"
    time.sleep(2.1)
    with pytest.raises(Unauthenticated, match="has expired"):
        tokens.principal(token, time.time())


def test_clocks_may_differ_by_the_leeway_and_no_more(issuer: TokenIssuer) -> None:
    lenient = WebTokens(issuer.file, Expected(ISSUER, AUDIENCE, leeway=30), remembered=10)
    assert lenient.principal(issuer.token(**now(exp=-20, nbf=20)), time.time()).expires > time.time()
    with pytest.raises(Unauthenticated, match="has expired"):
        lenient.principal(issuer.token(**now(exp=-40)), time.time())


def test_roles_come_from_a_scope_and_may_have_a_prefix(issuer: TokenIssuer) -> None:
    expected = Expected(ISSUER, AUDIENCE, roles_claim="scope", role_prefix="shoprank:")
    scoped = WebTokens(issuer.file, expected, remembered=10)
    principal = scoped.principal(issuer.token(scope="openid shoprank:score shoprank:admin feedback"), time.time())
    assert principal.roles == {Role.score, Role.admin}
    assert scoped.principal(issuer.token(), time.time()).roles == frozenset()


def test_a_new_key_is_known_at_once_and_one_taken_away_is_forgotten(tmp_path: Path) -> None:
    issuer = TokenIssuer(tmp_path / "jwks.json")
    tokens = WebTokens(issuer.file, EXPECTED, remembered=10)
    old = issuer.token("ec")
    assert tokens.principal(old, time.time())
    issuer.add("ec-2", ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(Unauthenticated, match="unknown key"):
        tokens.principal(issuer.token("ec-2"), time.time())
    issuer.publish()
    assert tokens.principal(issuer.token("ec-2"), time.time())
    issuer.remove("ec")
    issuer.publish()
    time.sleep(1.1)
    with pytest.raises(Unauthenticated, match="unknown key"):
        tokens.principal(old, time.time())


def test_a_key_set_that_went_bad_is_logged_and_the_former_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    issuer = TokenIssuer(tmp_path / "jwks.json")
    tokens = WebTokens(issuer.file, EXPECTED, remembered=10)
    issuer.file.write_text('{"keys": [')
    with pytest.raises(Unauthenticated, match="unknown key"):
        tokens.principal(issuer.token(headers={"kid": "ghost"}), time.time())
    assert "cannot be used, the former stays in force" in caplog.text
    assert tokens.principal(issuer.token(), time.time())


def test_no_more_tokens_than_the_limit_are_remembered(issuer: TokenIssuer) -> None:
    tokens = WebTokens(issuer.file, EXPECTED, remembered=3)
    made = [issuer.token("ed", sub=f"s{n}") for n in range(6)]
    for token in [*made, *made]:
        assert tokens.principal(token, time.time())
    assert len(tokens._state.value.remembered) == 3


def symmetric() -> dict[str, str]:
    return {"kty": "oct", "kid": "s", "k": base64.urlsafe_b64encode(b"secret" * 8).decode()}


def short_rsa() -> dict[str, Any]:
    key = rsa.generate_private_key(65537, 1024).public_key()
    return {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key)), "kid": "short"}


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ([], "no key for RS256"),
        ([symmetric()], "no key for RS256"),
        ([short_rsa()], "1024 bits, at least 2048"),
        ([{"kty": "RSA", "n": "AQAB", "e": "AQAB"}], "needs a kid"),
        ([{"kty": "EC", "crv": "P-256", "x": "?", "y": "?", "kid": "a"}], "no JSON Web Key Set"),
        ({"a": 1}, "no JSON Web Key Set"),
    ],
)
def test_a_key_set_without_a_usable_key_is_refused(tmp_path: Path, keys: Any, reason: str) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": keys}))
    with pytest.raises(UserError, match=reason):
        WebTokens(file, EXPECTED, remembered=10)


def test_keys_for_other_uses_are_passed_over(tmp_path: Path) -> None:
    issuer = TokenIssuer(tmp_path / "jwks.json")
    keys = json.loads(issuer.file.read_text())["keys"]
    keys[0]["use"] = "enc"
    keys[1]["alg"] = "ECDH-ES"
    issuer.file.write_text(json.dumps({"keys": [*keys, symmetric()]}))
    tokens = WebTokens(issuer.file, EXPECTED, remembered=10)
    assert tokens.principal(issuer.token("ed"), time.time())
    for kid in ("rsa", "ec"):
        with pytest.raises(Unauthenticated, match="unknown key"):
            tokens.principal(issuer.token(kid), time.time())


def key_set(file: Path, **changed: Any) -> tuple[Path, rsa.RSAPrivateKey]:
    """A file of one RSA key, its private half and all."""
    key = rsa.generate_private_key(65537, 2048)
    jwk = {**jwt.algorithms.RSAAlgorithm.to_jwk(key, as_dict=True), "kid": "rsa", "key_ops": ["verify"], **changed}
    file.write_text(json.dumps({"keys": [jwk]}))
    return file, key


def test_the_private_half_of_a_key_is_not_needed_and_does_no_harm(tmp_path: Path) -> None:
    file, key = key_set(tmp_path / "jwks.json")
    token = jwt.encode(TokenIssuer.claims(), key, "RS256", headers={"kid": "rsa"})
    assert WebTokens(file, EXPECTED, remembered=1).principal(token, time.time()).name == "token:shop-web"


def test_a_key_for_other_operations_is_passed_over(tmp_path: Path) -> None:
    file, _ = key_set(tmp_path / "jwks.json", key_ops=["encrypt"])
    with pytest.raises(UserError, match="no key for"):
        WebTokens(file, EXPECTED, remembered=1)
    assert WebTokens(key_set(file, key_ops=["verify"])[0], EXPECTED, remembered=1)


def test_a_set_nested_without_end_is_none(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_text('{"keys":' + "[" * 100_000)
    with pytest.raises(UserError, match="no JSON Web Key Set"):
        WebTokens(file, EXPECTED, remembered=1)


def test_an_end_that_is_no_time_is_refused(issuer: TokenIssuer, tokens: WebTokens) -> None:
    with pytest.raises(Unauthenticated):
        tokens.principal(issuer.token(exp=10**400), time.time())
