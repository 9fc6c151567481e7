"""Faults, latency and limits, as the SDKs meet them, and what each of them bills."""

import socket
import time
from collections.abc import Callable
from typing import Any

import anthropic
import httpx
import openai
import pytest

from streams.model_catalogue import count_text
from tests.headrace.simulator.conftest import Operator

_PROMPT: list[Any] = [{"role": "user", "content": "Tell me about turbines"}]
_TEXT = "one two three four five six"


def _gpt(client: openai.OpenAI, **more: Any) -> Any:
    return client.chat.completions.create(**{"model": "gpt-4o", "messages": _PROMPT, **more})


def _claude(client: anthropic.Anthropic, **more: Any) -> Any:
    return client.messages.create(**{"model": "claude-3-opus", "max_tokens": 99, "messages": _PROMPT, **more})


def _wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not done():
        assert time.monotonic() < deadline, "did not come true within 5 s"
        time.sleep(0.01)


def _read_gpt(stream: Any) -> tuple[str, type[Exception] | None]:
    text = ""
    try:
        for chunk in stream:
            for choice in chunk.choices:
                text += choice.delta.content or ""
    except Exception as error:  # noqa: BLE001  (which one is the finding)
        return text, type(error)
    return text, None


@pytest.mark.parametrize(
    ("kind", "status", "gpt_error", "claude_error"),
    [
        ("rate_limit", 429, openai.RateLimitError, anthropic.RateLimitError),
        ("server_error", 500, openai.InternalServerError, anthropic.InternalServerError),
        ("overloaded", (503, 529), openai.InternalServerError, anthropic.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_refusals(
    gpt: openai.OpenAI,
    claude: anthropic.Anthropic,
    operator: Operator,
    *,
    kind: str,
    status: Any,
    gpt_error: type[openai.APIStatusError],
    claude_error: type[anthropic.APIStatusError],
    stream: bool,
) -> None:
    """Each refusal has its status and its SDK exception, and bills nothing."""
    operator.fault(kind)
    statuses = status if isinstance(status, tuple) else (status, status)
    with pytest.raises(gpt_error) as by_gpt:
        _gpt(gpt, stream=stream)
    with pytest.raises(claude_error) as by_claude:
        _claude(claude, stream=stream)
    assert (by_gpt.value.status_code, by_claude.value.status_code) == statuses
    assert operator.invoice()["calls"] == 0


def test_retry_after(gpt: openai.OpenAI, claude: anthropic.Anthropic, operator: Operator) -> None:
    """The wait that is set is in the headers of both APIs."""
    operator.fault("rate_limit", retry_after_s=7)
    with pytest.raises(openai.RateLimitError) as by_gpt:
        _gpt(gpt)
    assert by_gpt.value.response.headers["retry-after"] == "7"
    assert by_gpt.value.code == "rate_limit_exceeded"
    with pytest.raises(anthropic.RateLimitError) as by_claude:
        _claude(claude)
    assert by_claude.value.response.headers["retry-after"] == "7"


def test_sdk_retries_past_a_fault_of_the_next_calls(address: str, operator: Operator) -> None:
    """`next_calls` strikes that many calls; the SDK's own retry then gets through."""
    operator.fault("rate_limit", next_calls=2, retry_after_s=0.01)
    with openai.OpenAI(base_url=f"{address}/v1", api_key="sk-1", max_retries=2) as client:
        assert _gpt(client).choices
    assert operator.http.get("/behaviour").json()["faults"][0]["next_calls"] == 0
    assert operator.invoice()["calls"] == 1


def test_scope(gpt: openai.OpenAI, claude: anthropic.Anthropic, operator: Operator) -> None:
    """A fault concerns the calls of its provider, model and prompt only."""
    operator.fault("server_error", provider="openai", model="gpt-4o", prompt_contains="turbine")
    with pytest.raises(openai.InternalServerError):
        _gpt(gpt)
    assert _gpt(gpt, model="gpt-4o-mini").choices
    assert _gpt(gpt, messages=[{"role": "user", "content": "Tell me about mills"}]).choices
    assert _claude(claude).content


def test_rate_is_seeded(gpt: openai.OpenAI, operator: Operator) -> None:
    """The same rate strikes the same calls each time it is set."""

    def struck() -> list[bool]:
        operator.fault("server_error", rate=0.5)
        outcomes = []
        for _ in range(20):
            try:
                _gpt(gpt)
                outcomes.append(False)
            except openai.InternalServerError:
                outcomes.append(True)
        return outcomes

    first = struck()
    assert struck() == first
    assert 0 < sum(first) < 20


@pytest.mark.parametrize("after", [0, 3])
def test_drop_in_a_stream(gpt: openai.OpenAI, operator: Operator, after: int) -> None:
    """The connection ends after so many chunks; billed is the input and what was sent."""
    operator.behave(answers=[{"text": _TEXT}], faults=[{"kind": "drop", "rate": 1, "after_chunks": after}])
    text, error = _read_gpt(_gpt(gpt, stream=True))
    assert error is openai.APIConnectionError
    billed = operator.billed()
    assert billed["status"] == "dropped"
    assert billed["output_tokens"] == count_text(text) == after
    assert billed["input_tokens"] > 0


def test_drop_in_an_anthropic_stream(claude: anthropic.Anthropic, operator: Operator) -> None:
    """The Anthropic SDK sees the connection end, and no message stop."""
    operator.behave(answers=[{"text": _TEXT}], faults=[{"kind": "drop", "rate": 1, "after_chunks": 2}])
    kinds = []
    with pytest.raises(Exception, match=r"(?i)connection|closed|incomplete"):  # noqa: PT012  (the stream raises)
        for event in _claude(claude, stream=True):
            kinds.append(event.type)  # noqa: PERF401  (what came before the error counts)
    assert kinds == ["message_start", "content_block_start", "content_block_delta", "content_block_delta"]
    assert operator.billed()["output_tokens"] == 2


def test_drop_of_a_whole_reply(gpt: openai.OpenAI, operator: Operator) -> None:
    """The body is cut; the provider did all the work and bills it."""
    operator.behave(answers=[{"text": _TEXT}], faults=[{"kind": "drop", "rate": 1}])
    with pytest.raises(openai.APIConnectionError):
        _gpt(gpt)
    assert (operator.billed()["status"], operator.billed()["output_tokens"]) == ("dropped", count_text(_TEXT))


def test_malformed(gpt: openai.OpenAI, claude: anthropic.Anthropic, operator: Operator) -> None:
    """Broken JSON, whole or in a stream, is what the client sees, and is billed in full."""
    operator.behave(answers=[{"text": _TEXT}], faults=[{"kind": "malformed", "rate": 1, "after_chunks": 2}])
    with pytest.raises(ValueError, match=r"Expecting|Unterminated|delimiter"):
        _gpt(gpt)
    text, error = _read_gpt(_gpt(gpt, stream=True))
    assert text == "one two"
    assert error is not None
    assert issubclass(error, ValueError)
    with pytest.raises(ValueError, match=r"Expecting|Unterminated|delimiter"):
        list(_claude(claude, stream=True))
    items = operator.invoice()["items"]
    assert [item["status"] for item in items] == ["completed"] * 3
    assert {item["output_tokens"] for item in items} == {count_text(_TEXT)}


def test_error_in_the_middle_of_a_stream(
    gpt: openai.OpenAI, claude: anthropic.Anthropic, operator: Operator
) -> None:
    """A refusal with `after_chunks` comes as an event of the stream; billed is what was sent."""
    operator.behave(answers=[{"text": _TEXT}], faults=[{"kind": "overloaded", "rate": 1, "after_chunks": 2}])
    text, error = _read_gpt(_gpt(gpt, stream=True))
    assert (text, error) == ("one two", openai.APIError)
    with pytest.raises(anthropic.APIStatusError, match="overloaded_error"):
        list(_claude(claude, stream=True))
    items = operator.invoice()["items"]
    assert [(item["status"], item["output_tokens"]) for item in items] == [("dropped", 2)] * 2


def test_hang_ends_with_the_client(gpt: openai.OpenAI, operator: Operator) -> None:
    """No answer comes, the client's timeout ends it, nothing is billed, and the simulator goes on."""
    operator.fault("hang", next_calls=1)
    with pytest.raises(openai.APITimeoutError):
        _gpt(gpt, timeout=1.5)
    assert _gpt(gpt).choices
    assert operator.invoice()["calls"] == 1


def test_hang_in_the_middle_of_a_stream(gpt: openai.OpenAI, operator: Operator) -> None:
    """The chunks before it come, then nothing; the client's leaving is billed as cancelled."""
    operator.behave(answers=[{"text": _TEXT}], faults=[{"kind": "hang", "rate": 1, "after_chunks": 3}])
    text, error = _read_gpt(_gpt(gpt, stream=True, timeout=2))
    assert (text, error) == ("one two three", openai.APITimeoutError)
    _wait_until(lambda: operator.invoice()["calls"] == 1)
    assert (operator.billed()["status"], operator.billed()["output_tokens"]) == ("cancelled", 3)


def test_client_that_leaves_a_stream(gpt: openai.OpenAI, operator: Operator) -> None:
    """A stream that the client closes is billed up to there, not in full."""
    operator.behave(answers=[{"text": _TEXT * 50}], latency={"tokens_per_second": 10})
    stream = _gpt(gpt, stream=True)
    for _, _chunk in zip(range(3), stream, strict=False):
        pass
    stream.close()
    _wait_until(lambda: operator.invoice()["calls"] == 1)
    billed = operator.billed()
    assert billed["status"] == "cancelled"
    assert 2 <= billed["output_tokens"] < 100


def test_client_that_leaves_before_a_whole_reply(gpt: openai.OpenAI, operator: Operator) -> None:
    """A client that does not wait for the first token is billed for the input alone."""
    operator.behave(latency={"first_token_ms": 60_000})
    with pytest.raises(openai.APITimeoutError):
        _gpt(gpt, timeout=1.5)
    _wait_until(lambda: operator.invoice()["calls"] == 1)
    assert (operator.billed()["status"], operator.billed()["output_tokens"]) == ("cancelled", 0)


def test_slow(gpt: openai.OpenAI, operator: Operator) -> None:
    """The fault `slow` gives a call a latency of its own; others stay instant."""
    operator.fault("slow", next_calls=1, latency={"first_token_ms": 60_000})
    with pytest.raises(openai.APITimeoutError):
        _gpt(gpt, timeout=1.5)
    assert _gpt(gpt, timeout=5).choices


def test_latency_is_kept(gpt: openai.OpenAI, operator: Operator) -> None:
    """Tokens come no earlier than they are due."""
    operator.behave(
        latency={"first_token_ms": 50, "tokens_per_second": 100},
        answers=[{"text": _TEXT}],
    )
    for stream in (False, True):
        started = time.monotonic()
        done = _gpt(gpt, stream=stream)
        if stream:
            list(done)
        assert time.monotonic() - started >= 0.05 + (count_text(_TEXT) - 1) / 100


def test_embeddings_have_faults_too(gpt: openai.OpenAI, operator: Operator) -> None:
    """Faults and their scope hold for embeddings."""
    operator.fault("server_error", prompt_contains="turbine")
    with pytest.raises(openai.InternalServerError):
        gpt.embeddings.create(model="text-embedding-3-small", input=["a turbine"])
    operator.fault("drop", model="text-embedding-3-small")
    with pytest.raises(openai.APIConnectionError):
        gpt.embeddings.create(model="text-embedding-3-small", input="x")
    assert operator.billed()["status"] == "dropped"


def test_client_that_leaves_before_its_body_is_sent(address: str, operator: Operator) -> None:
    """A connection that ends within a request leaves no trace."""
    url = httpx.URL(address)
    with socket.create_connection((url.host, url.port or 0), timeout=5) as plain:
        plain.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-1\r\n"
            b"content-length: 100\r\n\r\n{"
        )
    assert operator.http.get("/health").json() == {"status": "ok", "simulated": True}
    assert operator.invoice()["calls"] == 0
