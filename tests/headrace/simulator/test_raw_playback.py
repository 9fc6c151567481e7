"""Raw answers: status, headers and body are the operator's, byte by byte, and so is the bill."""

import base64
import gzip
from typing import Any

import httpx
import pytest

from tests.headrace.simulator.conftest import Operator

CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "a marked question"}]}
EMBEDDINGS = {"model": "text-embedding-3-small", "input": "a marked text"}
KEY = {"authorization": "Bearer sk-test"}


def post(operator: Operator, path: str = "/v1/chat/completions", body: Any = CHAT) -> httpx.Response:
    return operator.http.post(path, json=body, headers=KEY)


def read(operator: Operator, into: list[bytes]) -> None:
    with operator.http.stream("POST", "/v1/chat/completions", json=CHAT, headers=KEY) as response:
        into += response.iter_raw()


def test_the_bytes_are_those_that_were_set(operator: Operator) -> None:
    """Any status, any header, any body; only as often as asked, and only where the marker is."""
    body = gzip.compress(b'data: {"half \\ud83d\r')
    chunks = [{"base64": base64.b64encode(body[:9]).decode()}]
    chunks.append({"base64": base64.b64encode(body[9:]).decode()})
    headers = {"content-type": "text/html; charset=latin-1", "Content-Encoding": "gzip", "x-odd": "\xfc"}
    rule = {"prompt_contains": "marked", "next_calls": 1, "status": 418, "headers": headers, "chunks": chunks}
    operator.behave(raw_answers=[rule])
    other = {**CHAT, "messages": [{"role": "user", "content": "another question"}]}
    assert post(operator, body=other).json()["object"] == "chat.completion"
    found = post(operator)
    assert (found.status_code, found.content) == (418, b'data: {"half \\ud83d\r')
    assert found.headers["content-type"] == "text/html; charset=latin-1"
    assert found.headers["x-odd"] == "\xfc"
    assert operator.http.get("/behaviour").json()["raw_answers"][0]["next_calls"] == 0
    assert post(operator).status_code == 200


def test_a_connection_that_is_closed_amid_the_body(operator: Operator) -> None:
    """What was sent before arrives."""
    operator.behave(raw_answers=[{"chunks": [{"text": "data: 1\n\n"}], "end": "cut"}])
    came: list[bytes] = []
    with pytest.raises(httpx.RemoteProtocolError):
        read(operator, came)
    assert came == [b"data: 1\n\n"]


def test_the_bill_is_the_one_that_was_set(operator: Operator) -> None:
    """Without a bill the invoice has no entry; with one, its tokens at the model's price."""
    operator.behave(raw_answers=[{"chunks": [{"text": "{}"}]}])
    post(operator)
    assert operator.invoice()["calls"] == 0
    bill = {"input_tokens": 1000, "output_tokens": 100, "cached_tokens": 400}
    operator.behave(raw_answers=[{"chunks": [{"text": "{}"}], "bill": bill, "end": "cut"}])
    with pytest.raises(httpx.RemoteProtocolError):
        post(operator)
    item = operator.billed()
    assert (item["usd"], item["status"]) == ("0.003000000", "dropped")
    assert {name: item[name] for name in bill} == bill


def test_embeddings_have_raw_answers(operator: Operator) -> None:
    """The marker is looked for in their texts, and the price is theirs."""
    rule = {"prompt_contains": "marked", "status": 503, "bill": {"input_tokens": 1_000_000}}
    operator.behave(raw_answers=[rule])
    assert post(operator, "/v1/embeddings", EMBEDDINGS).status_code == 503
    assert operator.billed()["usd"] == "0.020000000"


@pytest.mark.parametrize(
    ("rule", "place"),
    [
        ({"status": 199}, "$.raw_answers[0].status"),
        ({"headers": {"content-length": "3"}}, "frames the body itself"),
        ({"headers": {"a b": "c"}}, "$.raw_answers[0]"),
        ({"headers": {"a": "b\r\nc: d"}}, "$.raw_answers[0].headers"),
        ({"chunks": [{}]}, "either `text` or `base64`"),
        ({"chunks": [{"base64": "="}]}, "$.raw_answers[0].chunks[0].base64"),
        ({"status": 204, "chunks": [{"text": "x"}]}, "has no body"),
        ({"end": "explode"}, "$.raw_answers[0].end"),
        ({"bill": {"input_tokens": 1, "cached_tokens": 2}}, "more than `input_tokens`"),
        ({"bill": {"input_tokens": -1}}, "$.raw_answers[0].bill.input_tokens"),
    ],
)
def test_what_cannot_be_sent_is_refused(operator: Operator, rule: dict[str, Any], place: str) -> None:
    """With the place, and what is wrong there."""
    response = operator.http.put("/behaviour", json={"raw_answers": [rule]})
    assert response.status_code == 422
    assert place in response.json()["error"]["message"]
