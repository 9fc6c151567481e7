"""The lines of a batch: what is taken, and what is said of what is not."""

import json
from typing import Any

import pytest

from ingest.batches import lines as batch_lines
from ingest.batches.lines import DEFAULT_DEADLINE_MS, CheckedFile, LineRules, check_file
from streams.control.catalogue import SHIPPED
from streams.serving.api_keys import Caller
from streams.serving.responses import ApiError
from tests.ingest.fakes import MODEL, settings

CALLER = Caller("acme", "unlimited")

CHAT, NATIVE = "/v1/chat/completions", "/v1/requests"
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]},
    NATIVE: {"query": "hello", "user_id": "ada"},
}


def line(custom_id: str, url: str = CHAT, /, **body: Any) -> dict[str, Any]:
    """A line, as OpenAI's clients write it."""
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": BODIES[url] | body}


def jsonl(*lines: Any) -> bytes:
    """A file; text stands for itself."""
    return "\n".join(each if isinstance(each, str) else json.dumps(each) for each in lines).encode()


async def check(*lines: Any, tenant: str = "acme", **rules: Any) -> CheckedFile:
    chosen = LineRules(settings=settings(), catalogue=SHIPPED, caller=CALLER, **rules)
    return await check_file(jsonl(*lines), chosen, tenant=tenant)


async def refusal(*lines: Any, **rules: Any) -> ApiError:
    with pytest.raises(ApiError) as refused:
        await check(*lines, **rules)
    assert refused.value.status == 400
    return refused.value


async def test_lines_of_both_kinds_keep_their_order() -> None:
    """Each becomes the request that its route would have made of it."""
    file = await check(line("b", CHAT, user="bob", max_tokens=7), line("a", NATIVE, template="general_chat"))
    first, second = file.lines()
    assert [each.custom_id for each in file.names] == ["b", "a"]
    assert (first.request.user_id, first.request.max_tokens, first.name.url) == ("bob", 7, CHAT)
    assert (second.request.query, second.request.template, second.name.url) == (
        "hello",
        "general_chat",
        NATIVE,
    )


async def test_what_surrounds_the_lines_does_not_matter() -> None:
    """A byte order mark, Windows line ends, and empty lines at the end."""
    data = b"\xef\xbb\xbf" + jsonl(line("a"), line("b")).replace(b"\n", b"\r\n") + b"\r\n\n"
    file = await check_file(
        data, LineRules(settings=settings(), catalogue=SHIPPED, caller=CALLER), tenant="acme"
    )
    assert [each.name.custom_id for each in file.lines()] == ["a", "b"]


async def test_the_deadline_is_the_lines_own_or_the_headers_or_an_hour() -> None:
    """In this order."""
    lines = (line("a", NATIVE, deadline_ms=5), line("b", NATIVE), line("c"))
    assert [each.deadline_ms for each in (await check(*lines, deadline_ms=9)).lines()] == [5, 9, 9]
    assert [each.deadline_ms for each in (await check(*lines)).lines()][1:] == [DEFAULT_DEADLINE_MS] * 2


async def test_the_header_names_the_user() -> None:
    """It goes before the field, as on the route itself."""
    (read,) = (await check(line("a", CHAT, user="bob"), user="eve")).lines()
    assert read.request.user_id == "eve"


async def test_a_key_of_a_user_speaks_for_nobody_else() -> None:
    """A line without a user is the key's user's; one that names another is refused."""
    rules = LineRules(settings=settings(), catalogue=SHIPPED, caller=Caller("acme", "unlimited", user="ann"))
    (read,) = (await check_file(jsonl(line("a", CHAT)), rules, tenant="acme")).lines()
    assert read.request.user_id == "ann"
    with pytest.raises(ApiError, match="speaks for the user 'ann' only"):
        await check_file(jsonl(line("a", CHAT, user="bob")), rules, tenant="acme")


async def test_files_that_ask_the_same_have_the_same_digest() -> None:
    """However they are written; another name, question, route, tenant or order makes another."""
    file, spaced = jsonl(line("a"), line("b")), json.dumps(line("a"), indent=None, separators=(" ,  ", ":  "))
    same = await check(spaced.replace(" ,", ","), line("b"))
    rules = LineRules(settings=settings(), catalogue=SHIPPED, caller=CALLER)
    digest = (await check_file(file, rules, tenant="acme")).digest
    assert same.digest == digest
    others = [
        await check(line("a"), line("c")),
        await check(line("b"), line("a")),
        await check(line("a"), line("b", CHAT, temperature=0.5)),
        await check(line("a")),
        await check(line("a"), line("b"), tenant="zeta"),
    ]
    assert digest not in {other.digest for other in others}
    assert len({other.digest for other in others}) == len(others)


@pytest.mark.parametrize(
    ("wrong", "param", "code"),
    [
        (line("a", CHAT, model="nope"), "line 2.body.model", "model_not_found"),
        (line("a", CHAT, n=2), "line 2.body.n", "unsupported_parameter"),
        (line("a", CHAT, messages=[]), "line 2.body.messages", "invalid_request"),
        (line("a", CHAT, stream=True), "line 2.body.stream", "invalid_request"),
        (line("a", NATIVE, stream=True), "line 2.body.stream", "invalid_request"),
        (line("a", NATIVE, query=" "), "line 2.body.query", "missing_required_parameter"),
        (line("a", NATIVE, tenant="zeta"), "line 2.body.tenant", "unknown_parameter"),
        (line("a", NATIVE, webhook={"url": "https://a.example/"}), "line 2.body.webhook", "webhooks_off"),
        (line("a") | {"url": "/v1/embeddings"}, "line 2.url", "invalid_request"),
        (line("a") | {"method": "GET"}, "line 2.method", "invalid_request"),
        (line("a") | {"priority": 1}, "line 2.priority", "unknown_parameter"),
        ({"custom_id": "a", "method": "POST", "url": CHAT}, "line 2.body", "missing_required_parameter"),
        (line("a") | {"body": "x"}, "line 2.body", "invalid_request"),
        (line(""), "line 2.custom_id", "invalid_request"),
        (line("a" * 129), "line 2.custom_id", "invalid_request"),
        (line("first"), "line 2.custom_id", "invalid_request"),
        (line("a\nb"), "line 2.custom_id", "invalid_value"),
        ("{", "line 2", "invalid_json"),
        ("", "line 2", "invalid_json"),
        ('{"custom_id": "\\ud800"}', "line 2", "invalid_json"),
        ('{"custom_id": "a", "body": ' + "[" * 100_000, "line 2", "invalid_json"),
        (line("a", CHAT, metadata={"a": "b" * 200_000}), "line 2", "request_too_large"),
    ],
)
async def test_a_wrong_line_is_named_with_its_field(wrong: Any, param: str, code: str) -> None:
    """By its number in the file, counted from 1, and the error of the single route."""
    refused = await refusal(line("first"), wrong, line("last"))
    assert (refused.error.param, refused.error.code) == (param, code)
    assert "1 of 3 lines" in refused.error.message
    assert "line 2: " in refused.error.message


async def test_the_first_wrong_lines_are_told_and_all_are_counted() -> None:
    """A message of bounded length, whatever the file."""
    lines = [line(f"{number}", CHAT, model="m" * 1_000) for number in range(30)]
    refused = await refusal(line("good"), *lines)
    message = refused.error.message
    assert ("30 of 31 lines" in message, "and 10 more" in message) == (True, True)
    assert ("line 21: " in message, "line 22: " in message) == (True, False)
    assert len(message) < 6_000
    assert refused.error.param == "line 2.body.model"


@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff"])
async def test_a_file_without_lines(text: str) -> None:
    """It is refused in words that say what to send."""
    assert "no lines" in (await refusal(text)).error.message


async def test_too_many_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are counted, and not read."""
    monkeypatch.setattr(batch_lines, "MAX_BATCH_LINES", 2)
    await check(line("a"), line("b"))
    assert "at most 2 lines, this one has 3" in (await refusal("{", "{", "{")).error.message


async def test_openais_way_of_naming_a_file() -> None:
    """Its clients send a file's id: they are told what to do instead."""
    refused = await refusal({"input_file_id": "file-1", "endpoint": CHAT, "completion_window": "24h"})
    assert "send the lines themselves" in refused.error.message
