"""Bad input: a clear error or a dead letter, and the pipeline goes on."""

import json
import uuid

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from tests.acceptance.conftest import System, unique

pytestmark = pytest.mark.acceptance


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({"user_id": "u", "query": "hi", "model": "gpt-99"}, 404, "model_not_found", "model"),
        ({"user_id": "u", "query": "x" * 40_000}, 400, None, "query"),
        ({"user_id": "u", "query": 7}, 400, None, "query"),
        ({"user_id": "u"}, 400, None, "query"),
        ({"query": "hi"}, 400, None, "user_id"),
        ({"user_id": "u", "query": "hi", "temperature": 9}, 400, None, "temperature"),
        ({"user_id": "u", "query": "hi", "max_tokens": 999_999}, 400, None, "max_tokens"),
        ({"user_id": "u", "query": "hi", "template": "nope"}, 400, "template_not_found", "template"),
        (
            {"user_id": "u", "query": "hi", "template": "rag_answer"},
            400,
            "missing_variable",
            "variables.context",
        ),
    ],
)
def test_a_wrong_request_is_told_what_to_change(
    healthy: System, body: dict[str, object], status: int, code: str | None, param: str
) -> None:
    """The error is OpenAI's error object, with the field."""
    response = healthy.http.post("/v1/chat", json=body)
    error = response.json()["error"]
    assert response.status_code == status, response.text
    assert {"message", "type", "code", "param", "request_id"} <= error.keys()
    assert error["param"] == param
    assert code is None or error["code"] == code


def test_invalid_json_and_a_missing_key(healthy: System) -> None:
    """Both are the sender's to mend, and say so."""
    response = healthy.http.post(
        "/v1/chat", content=b"{not json", headers={"content-type": "application/json"}
    )
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_json")
    response = healthy.http.post("/v1/chat", json={}, headers={"Authorization": ""})
    assert response.status_code == 401
    assert response.headers["x-request-id"]


async def test_records_that_do_not_decode_become_dead_letters_and_the_pipeline_goes_on(
    healthy: System,
) -> None:
    """The bytes are kept as they came, the sender is told, the next record is answered."""
    marker = uuid.uuid4().hex
    consumer = AIOKafkaConsumer(bootstrap_servers=healthy.endpoints.kafka, auto_offset_reset="latest")
    producer = AIOKafkaProducer(bootstrap_servers=healthy.endpoints.kafka)
    await consumer.start()
    await producer.start()
    try:
        topics = ("llm.dead-letters.v1", "llm.replies.v1")
        consumer.assign([TopicPartition(topic, number) for topic in topics for number in range(4)])
        await consumer.seek_to_end()
        broken = b"\x00\xff" + marker.encode()
        await producer.send_and_wait(
            "llm.requests.v1", key=marker.encode(), value=broken, headers=[("x-mine", b"\x01")]
        )
        wrong = json.dumps({"request_id": f"{marker}-2", "user_id": "u", "query": "hi", "temperature": "hot"})
        await producer.send_and_wait("llm.requests.v1", value=wrong.encode())
        good = json.dumps({"request_id": f"{marker}-3", "user_id": "u", "query": unique("Still there?")})
        await producer.send_and_wait("llm.requests.v1", value=good.encode())
        dead, replies = [], {}
        while len(dead) < 2 or len(replies) < 3:
            record = await consumer.getone()
            if record.topic == "llm.dead-letters.v1":
                dead.append(record)
            elif marker in (record.key or b"").decode():
                replies[record.key.decode()] = json.loads(record.value)
    finally:
        await producer.stop()
        await consumer.stop()
    letter = next(record for record in dead if record.value == broken)
    headers = dict(letter.headers)
    assert letter.key == marker.encode()
    assert headers["x-mine"] == b"\x01"
    assert headers["__streams.errors.topic"] == b"llm.requests.v1"
    assert headers["__streams.errors.stage"] == b"guardrail"
    assert replies[marker]["error"]["code"] == "invalid_json"
    assert replies[f"{marker}-2"]["error"]["param"] == "temperature"
    assert replies[f"{marker}-3"]["status"] == "answered"
