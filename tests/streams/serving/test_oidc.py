"""Tokens of a real issuer on this machine, over HTTP."""

import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from streams.control.specs import InvalidControl, read_spec
from streams.control.state import ControlState
from streams.serving import oidc
from streams.serving.api_keys import ApiKeys, Caller
from streams.serving.callers import Callers
from streams.serving.oidc import OidcTokens
from streams.serving.responses import ApiError
from tests.fakes.model_records import record, state_of

RSA = RSAKey.generate_key(2048, {"kid": "rsa-1", "use": "sig"})
EC = ECKey.generate_key("P-256", {"kid": "ec-1"})
STRANGER = RSAKey.generate_key(2048, {"kid": "rsa-1"})


class Issuer:
    """An identity provider: discovery, keys, and what it counts."""

    def __init__(self) -> None:
        self.url = ""
        self.keys: list[RSAKey | ECKey] = [RSA]
        self.down = False
        self.asked: list[str] = []
        self.body: bytes | None = None

    async def answer(self, request: web.Request) -> web.Response:
        """Answer discovery, or with the keys."""
        self.asked.append(request.path)
        if self.down:
            return web.Response(status=503)
        if self.body is not None:
            return web.Response(body=self.body)
        if request.path.endswith("configuration"):
            return web.json_response({"issuer": self.url, "jwks_uri": f"{self.url}/keys"})
        return web.json_response(KeySet(self.keys).as_dict(private=False))

    def token(self, key: RSAKey | ECKey = RSA, alg: str = "RS256", **claims: Any) -> str:
        """A token that counts, unless `claims` say otherwise; a claim that is None is left out."""
        now = int(time.time())
        good = {"iss": self.url, "aud": "headrace", "sub": "ann", "org": "acme", "exp": now + 300, "iat": now}
        said = {name: value for name, value in (good | claims).items() if value is not None}
        return jwt.encode({"alg": alg, "kid": key.kid}, said, key, algorithms=[alg])


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    """A running issuer."""
    found = Issuer()
    app = web.Application()
    app.router.add_get("/{path:.*}", found.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


def known(issuer: Issuer, **fields: Any) -> ControlState:
    """The control record of the issuer."""
    spec = {"url": issuer.url, "audiences": ["headrace"], "tenant_claim": "org"} | fields
    given = {name: value for name, value in spec.items() if value is not None}
    return state_of(record("issuer", "test", given))


@pytest.fixture
async def callers(issuer: Issuer) -> AsyncIterator[Callers]:
    """A process that accepts the issuer's tokens, and one key."""
    found = Callers(ApiKeys({"a-key": Caller("acme", "free")}))
    found.follow(known(issuer))
    yield found
    await found.close()


async def refusal(callers: Callers, token: str) -> tuple[int, str, str]:
    """Status, code and message of the refusal of a token."""
    with pytest.raises(ApiError) as refused:
        await callers.caller(token)
    return refused.value.status, refused.value.error.code, refused.value.error.message


async def test_a_token_is_its_claims(issuer: Issuer, callers: Callers) -> None:
    """And speaks for its user only; keys go on working; the issuer is asked once."""
    ann = Caller("acme", "standard", ("chat", "read"), "ann")
    assert [await callers.caller(issuer.token(jti=str(each))) for each in range(5)] == [ann] * 5
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]
    assert (await callers.caller("a-key")).tier == "free"
    with pytest.raises(ApiError, match="speaks for the user 'ann' only"):
        ann.speaks_for("bob")


@pytest.mark.parametrize(
    ("claims", "told"),
    [
        ({"iss": "http://127.0.0.1:1"}, "its issuer is not known here"),
        ({"iss": None}, "cannot be read"),
        ({"aud": "another"}, "aud"),
        ({"aud": None}, "aud"),
        ({"exp": None}, "exp"),
        ({"exp": "tomorrow"}, "exp"),
        ({"nbf": int(time.time()) + 3_600}, "not yet valid"),
        ({"sub": None}, "its claim 'sub'"),
        ({"sub": ""}, "its claim 'sub'"),
        ({"sub": "x" * 257}, "its claim 'sub'"),
        ({"org": ["acme"]}, "its claim 'org'"),
        ({"org": None}, "its claim 'org'"),
    ],
)
async def test_a_wrong_claim_is_refused(
    issuer: Issuer, callers: Callers, claims: dict[str, Any], told: str
) -> None:
    """A 401 that says which."""
    status, code, message = await refusal(callers, issuer.token(**claims))
    assert (status, code) == (401, "invalid_token")
    assert told in message


async def test_an_expired_token_and_clocks_that_differ(issuer: Issuer, callers: Callers) -> None:
    """A minute is allowed; a token that was known ends, too."""
    now = int(time.time())
    assert (await callers.caller(issuer.token(exp=now - 30))).user == "ann"
    assert (await refusal(callers, issuer.token(exp=now - 90)))[:2] == (401, "expired_token")
    clock = [float(now)]
    later = Callers(ApiKeys({}), OidcTokens(clock=lambda: clock[0]))
    later.follow(known(issuer))
    token = issuer.token(exp=now + 10)
    await later.caller(token)
    clock[0] += 71
    assert (await refusal(later, token))[1] == "expired_token"
    await later.close()


async def test_forged_tokens_are_refused(issuer: Issuer, callers: Callers) -> None:
    """Another's signature, none, a shared secret made of the public key, changed claims, and what is none."""
    good = issuer.token()
    head, claims, signature = good.split(".")
    none = urlsafe_b64encode(json.dumps({"alg": "none", "kid": "rsa-1"}).encode()).decode().rstrip("=")
    admin = json.dumps({"iss": issuer.url, "aud": "headrace", "sub": "root", "org": "acme", "exp": 9**10})
    changed = urlsafe_b64encode(admin.encode()).decode().rstrip("=")
    shared = urlsafe_b64encode(json.dumps({"alg": "HS256", "kid": "rsa-1"}).encode()).decode().rstrip("=")
    code = hmac.digest(RSA.as_pem(private=False), f"{shared}.{claims}".encode(), "sha256")
    for forged in (
        issuer.token(STRANGER),
        f"{none}.{claims}.",
        f"{shared}.{claims}.{urlsafe_b64encode(code).decode().rstrip('=')}",
        f"{head}.{changed}.{signature}",
        f"{head}.{claims}.{signature[:-4]}AAAA",
        "ey.ey.ey",
        "eyé.a.b",
        "ey" + "a" * 9_000 + ".b.c",
    ):
        assert (await refusal(callers, forged))[:2] == (401, "invalid_token"), forged
    assert (await callers.caller(good)).user == "ann"


async def test_new_keys_of_the_issuer_are_found_and_not_asked_for_each_time(
    issuer: Issuer, callers: Callers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that is nowhere makes one question, not one for each token."""
    await callers.caller(issuer.token())
    issuer.keys = [EC]
    asked = len(issuer.asked)
    assert (await refusal(callers, issuer.token(EC, "ES256")))[0] == 401
    assert len(issuer.asked) == asked, "asked a moment ago"
    monkeypatch.setattr(oidc, "_ASK_AGAIN_S", 0.0)
    assert (await callers.caller(issuer.token(EC, "ES256"))).user == "ann"
    assert (await refusal(callers, issuer.token(jti="2")))[0] == 401, "its key is gone"


async def test_an_issuer_that_is_away(
    issuer: Issuer, callers: Callers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its keys it is a 503, not a 401; with those from before its tokens go on working."""
    monkeypatch.setattr(oidc, "_ASK_AGAIN_S", 0.0)
    issuer.down = True
    assert (await refusal(callers, issuer.token()))[0] == 503
    issuer.down = False
    for wrong in (b"no json", b"[]", b"{}", b'{"issuer": "http://another"}', b"x" * 2_000_000):
        issuer.body = wrong
        assert (await refusal(callers, issuer.token()))[0] == 503
    issuer.body = None
    await callers.caller(issuer.token())
    monkeypatch.setattr(oidc, "_FRESH_S", 0.0)
    issuer.down = True
    assert (await callers.caller(issuer.token(jti="2"))).user == "ann"


async def test_tenant_and_tier_by_the_record(issuer: Issuer, callers: Callers) -> None:
    """A tier that has no limits is not believed: it would be without any."""
    callers.follow(known(issuer, tenant="acme", tenant_claim=None, tier="free", tier_claim="plan"))
    tiers = [
        (await callers.caller(issuer.token(org=None, plan=each))).tier for each in ("premium", "x", None)
    ]
    assert tiers == ["premium", "free", "free"]
    assert callers.has_tenant("acme")
    assert not callers.has_tenant("zeta")


async def test_an_issuer_that_was_taken_away(issuer: Issuer, callers: Callers) -> None:
    """Its tokens stop, those that are known as well."""
    token = issuer.token()
    await callers.caller(token)
    callers.follow(ControlState())
    assert (await refusal(callers, token))[:2] == (401, "invalid_token")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, "say either tenant or tenant_claim"),
        ({"tenant": "a", "tenant_claim": "b"}, "say either tenant or tenant_claim"),
        ({"tenant": "a", "url": "ftp://x"}, r"issuers\.x\.url"),
        ({"tenant": "a", "url": "https://user:password@x"}, r"issuers\.x\.url"),
        ({"tenant": "a", "audiences": []}, r"issuers\.x\.audiences"),
    ],
)
def test_a_wrong_record_is_refused(fields: dict[str, Any], told: str) -> None:
    """At the door."""
    with pytest.raises(InvalidControl, match=told):
        read_spec("issuer", "x", {"url": "https://x", "audiences": ["h"]} | fields)
