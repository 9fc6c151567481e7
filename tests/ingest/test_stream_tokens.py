"""Stream tokens: what opens a stream, and what does not."""

import base64
from datetime import UTC, datetime

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from ingest.auth import StreamTokens
from ingest.main import create_app
from streams.serving.api_keys import ApiKeys
from streams.serving.callers import Callers
from streams.serving.responses import ApiError
from streams.settings import ApiKey, Settings
from tests.ingest.fakes import KEY, OTHER_KEY, Entry, Rig, answered, rig, settings
from tests.ingest.sse_reader import events

SECRET = b"a secret of thirty-two characters"
NOW = datetime(2026, 11, 21, 10, tzinfo=UTC).timestamp()
INVALID = "invalid_stream_token"
URL = "/v1/requests/r-1/events"
QUESTION = {"user_id": "ada", "query": "capital of France?"}


def tokens_of(chosen: Settings) -> StreamTokens:
    """The tokens of an installation."""
    return StreamTokens.of(chosen, Callers(ApiKeys.of(chosen)))


def tokens(
    secret: bytes = SECRET, *, tenants: tuple[str, ...] = ("acme", "zeta"), at: float = NOW
) -> StreamTokens:
    return StreamTokens(secret, has_tenant=tenants.__contains__, ttl_s=900, clock=lambda: at)


def checked(mine: StreamTokens, token: str, request_id: str) -> str:
    """The tenant that a token opens the request's events for, or the code of its refusal."""
    try:
        return mine.tenant_of(token, request_id)
    except ApiError as fault:
        return fault.error.code


def test_a_token_opens_its_own_request_on_every_replica() -> None:
    """Nothing is kept for it: another process with the same secret takes it."""
    given_token = tokens().give("r-1", "acme")
    assert given_token.expires_at == datetime(2026, 11, 21, 10, 15, tzinfo=UTC)
    assert checked(tokens(), given_token.token, "r-1") == "acme"


def test_a_token_opens_no_other_request() -> None:
    """Not even one whose id begins or ends alike."""
    token = tokens().give("r-1", "acme").token
    assert {checked(tokens(), token, other) for other in ("r-2", "r-", "r-11", "", "R-1")} == {INVALID}


def test_a_token_ends() -> None:
    """To the second; and it says when."""
    token = tokens().give("r-1", "acme").token
    assert checked(tokens(at=NOW + 899), token, "r-1") == "acme"
    expired = checked(tokens(at=NOW + 900), token, "r-1")
    assert expired == "expired_stream_token"
    with pytest.raises(ApiError, match="expired at 2026-11-21T10:15:00"):
        tokens(at=NOW + 900).tenant_of(token, "r-1")


def test_a_token_of_a_tenant_without_a_key_opens_nothing() -> None:
    """Whose last key was taken away does not read on with a token."""
    token = tokens().give("r-1", "acme").token
    assert checked(tokens(tenants=("zeta",)), token, "r-1") == INVALID


def test_another_secret_makes_another_token() -> None:
    """Who does not know the secret cannot make one."""
    token = tokens().give("r-1", "acme").token
    assert checked(tokens(SECRET + b"!"), token, "r-1") == INVALID


def test_no_character_can_be_changed() -> None:
    """Whichever it is, and whatever it becomes; and nothing can be added or left out."""
    token = tokens().give("r-1", "acme").token
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ é\x00"
    changed = {
        token[:place] + other + token[place + 1 :]
        for place, kept in enumerate(token)
        for other in alphabet
        if other != kept
    }
    changed |= {token + "=", token + ".", token[:-1], token[1:], token + "A", "." + token}
    assert {checked(tokens(), each, "r-1") for each in changed} == {INVALID}


def test_a_longer_life_cannot_be_written_in() -> None:
    """A payload with another expiry needs another signature."""
    signature = tokens().give("r-1", "acme").token.partition(".")[2]
    payload = base64.urlsafe_b64encode(msgspec.json.encode(("acme", int(NOW) + 10**6))).rstrip(b"=").decode()
    assert checked(tokens(), f"{payload}.{signature}", "r-1") == INVALID


def test_id_and_payload_cannot_trade_places() -> None:
    """What is signed says where the id ends."""
    given_token = tokens().give("r-1", "acme").token
    payload, _, signature = given_token.partition(".")
    text = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    moved = base64.urlsafe_b64encode(text[1:]).rstrip(b"=").decode()
    assert checked(tokens(), f"{moved}.{signature}", "r-1" + text[:1].decode()) == INVALID


@given(st.text(max_size=3_000))
def test_any_text_is_answered(text: str) -> None:
    """Whatever stands in the address, it is a refusal and not a fault."""
    assert checked(tokens(), text, "r-1") == INVALID


@given(tenant=st.text(min_size=1, max_size=50), request_id=st.text(max_size=128))
def test_every_name_comes_back(tenant: str, request_id: str) -> None:
    """Tenants are named as their operators like."""
    mine = tokens(tenants=(tenant,))
    assert checked(mine, mine.give(request_id, tenant).token, request_id) == tenant


# ── the secret ────────────────────────────────────────────────────────────────────────────────────


def test_without_a_secret_the_keys_make_one() -> None:
    """The same on every replica, in whichever order the keys are given; another one after a change."""
    keys = {"one": ApiKey(tenant="acme"), "two": ApiKey(tenant="zeta")}
    mine, turned, changed = (
        tokens_of(settings(stream_token_secret=None, api_keys=each))
        for each in (keys, dict(reversed(keys.items())), keys | {"three": ApiKey(tenant="acme")})
    )
    token = mine.give("r-1", "acme").token
    assert checked(turned, token, "r-1") == "acme"
    assert checked(changed, token, "r-1") == INVALID


def test_keys_that_join_to_the_same_text_make_different_secrets() -> None:
    """`ab` and `c` are not `a` and `bc`."""
    first, second = (
        tokens_of(settings(stream_token_secret=None, api_keys={key: ApiKey() for key in keys}))
        for keys in (("ab", "c"), ("a", "bc"))
    )
    assert checked(second, first.give("r-1", "default").token, "r-1") == INVALID


def test_with_a_secret_tokens_outlive_a_change_of_keys() -> None:
    """As long as their tenant has a key."""
    keys = {"one": ApiKey(tenant="acme")}
    before, after = (
        tokens_of(settings(api_keys=each)) for each in (keys, keys | {"two": ApiKey(tenant="zeta")})
    )
    assert checked(after, before.give("r-1", "acme").token, "r-1") == "acme"


def test_a_short_secret_is_refused() -> None:
    """One that can be guessed protects nothing."""
    with pytest.raises(ValueError, match="at least 32"):
        settings(stream_token_secret="short")


# ── over HTTP ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def browser(wired: Rig) -> httpx.AsyncClient:
    """A client without a key."""
    transport = httpx.ASGITransport(create_app(wired.services))
    return httpx.AsyncClient(transport=transport, base_url="http://ingest")


async def test_the_token_of_a_submission_reads_its_stream(
    wired: Rig, client: httpx.AsyncClient, browser: httpx.AsyncClient
) -> None:
    """Without a key, from the address that came with it."""
    given_access = (await client.post("/v1/requests", json=QUESTION)).json()
    wired.registry.settle(answered(given_access["request_id"]))
    read = await browser.get(given_access["events_url"], params={"token": given_access["stream_token"]})
    assert (read.status_code, events(read.text)[-1][0]) == (200, "done")


async def test_a_new_token_for_a_request(
    wired: Rig, client: httpx.AsyncClient, browser: httpx.AsyncClient
) -> None:
    """As often as it is asked for by who has the key; kept by nobody on the way."""
    wired.registry.settle(answered("r-1"))
    response = await client.post("/v1/requests/r-1/stream-token")
    body = response.json()
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
    assert (body["request_id"], body["events_url"]) == ("r-1", URL)
    assert (await browser.get(URL, params={"token": body["stream_token"]})).status_code == 200


async def test_tokens_are_given_to_the_owner_alone(wired: Rig, client: httpx.AsyncClient) -> None:
    """For another tenant's request as for one that never was."""
    wired.registry.entries["r-1"] = Entry("acme", "", "", "running")
    theirs = await client.post(
        "/v1/requests/r-1/stream-token", headers={"Authorization": f"Bearer {OTHER_KEY}"}
    )
    assert theirs.status_code == 404
    assert (await client.post("/v1/requests/r-2/stream-token")).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/requests/r-1"),
        ("DELETE", "/v1/requests/r-1"),
        ("POST", "/v1/requests/r-1/stream-token"),
        ("POST", "/v1/requests"),
        ("GET", "/v1/requests/r-2/events"),
        ("GET", "/v1/costs"),
    ],
)
async def test_a_token_opens_nothing_else(
    wired: Rig, browser: httpx.AsyncClient, method: str, path: str
) -> None:
    """Neither in the address nor in place of a key."""
    wired.registry.settle(answered("r-1"))
    wired.registry.settle(answered("r-2"))
    token = wired.services.stream_tokens.give("r-1", "acme").token
    in_address = await browser.request(method, path, params={"token": token})
    as_key = await browser.request(method, path, headers={"Authorization": f"Bearer {token}"})
    assert (in_address.status_code, as_key.status_code) == (401, 401)


async def test_a_token_of_another_tenant_finds_nothing(wired: Rig, browser: httpx.AsyncClient) -> None:
    """The owner is looked at even where the signature is good."""
    wired.registry.settle(answered("r-1"))
    token = wired.services.stream_tokens.give("r-1", "zeta").token
    assert (await browser.get(URL, params={"token": token})).status_code == 404


async def test_refusals_say_what_to_do(wired: Rig, browser: httpx.AsyncClient) -> None:
    """Expired and wrong are told apart, and both name the way to a new token."""
    wired.registry.settle(answered("r-1"))
    secret = wired.services.settings.stream_token_secret
    assert secret is not None
    old = StreamTokens(
        secret.get_secret_value().encode(), has_tenant=lambda _: True, ttl_s=900, clock=lambda: 1e9
    )
    refused = {
        token: await browser.get(URL, params={"token": token})
        for token in (old.give("r-1", "acme").token, "not.it", "")
    }
    found = [(each.status_code, each.json()["error"]["code"]) for each in refused.values()]
    assert found == [
        (401, "expired_stream_token"),
        (401, "invalid_stream_token"),
        (401, "invalid_stream_token"),
    ]
    for each in refused.values():
        assert "/stream-token gives a new one" in each.json()["error"]["message"]


async def test_without_key_and_token(browser: httpx.AsyncClient) -> None:
    """401 that says how to send a key."""
    response = await browser.get(URL)
    assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")


async def test_a_key_goes_before_a_token(wired: Rig, browser: httpx.AsyncClient) -> None:
    """A wrong key is not made good by a token, and a good one needs none."""
    wired.registry.settle(answered("r-1"))
    token = wired.services.stream_tokens.give("r-1", "acme").token
    wrong = await browser.get(URL, params={"token": token}, headers={"X-API-Key": "nobody's"})
    good = await browser.get(URL, params={"token": "not.it"}, headers={"X-API-Key": KEY})
    assert (wrong.status_code, good.status_code) == (401, 200)


async def test_tokens_are_never_logged(wired: Rig, browser: httpx.AsyncClient) -> None:
    """Neither good nor bad ones: the log has the route, not the address."""
    wired.registry.settle(answered("r-1"))
    token = wired.services.stream_tokens.give("r-1", "acme").token
    with capture_logs() as lines:
        await browser.get(URL, params={"token": token})
        await browser.get(URL, params={"token": "x" + token})
        wired.registry.broken = True
        await browser.get(URL, params={"token": token})
    assert [line["status"] for line in lines if line["event"] == "http.request"] == [200, 401, 503]
    assert "token" not in repr(lines)
    assert token not in repr(lines)


def test_the_lifetime_is_a_setting() -> None:
    """In seconds."""
    mine = rig(stream_token_ttl_s=10).services.stream_tokens
    left = mine.give("r-1", "acme").expires_at - datetime.now(UTC)
    assert 5 < left.total_seconds() <= 10
