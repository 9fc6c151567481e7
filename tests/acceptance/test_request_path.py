"""A request goes all the way: HTTP and Kafka in, reply and row out."""

import json
import uuid
from decimal import Decimal

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.acceptance.conftest import System, unique

pytestmark = pytest.mark.acceptance

#: Every field of the mission's request log.
LOG_FIELDS = """
    request_id user_id timestamp prompt_template prompt_version model input_tokens output_tokens latency_ms
    cache_hit guardrail_input_pass guardrail_output_pass cost_usd error
""".split()


def test_a_question_passes_all_five_stages_and_leaves_one_complete_row(healthy: System) -> None:
    """The reply names every stage, and the row has every field of the request log."""
    reply = healthy.chat(unique("What does a sluice gate do?"), user_id="rows").json()
    assert reply["status"] == "answered"
    assert [timing["stage"] for timing in reply["timings"]] == ["guardrail", "cache", "llm", "output", "cost"]
    row = healthy.row(reply["request_id"])
    assert set(LOG_FIELDS) <= row.keys()
    assert row["user_id"] == "rows"
    assert row["prompt_template"] == "general_chat"
    assert row["model"] == reply["model"] == "gpt-4o"
    assert row["input_tokens"] > 0
    assert row["output_tokens"] > 0
    assert Decimal(row["cost_usd"]) > 0
    assert (row["guardrail_input_pass"], row["guardrail_output_pass"], row["error"]) == (True, True, None)
    stages = healthy.sql("SELECT stage FROM stages WHERE request_id = {id:String}", id=reply["request_id"])
    assert sorted(stage["stage"] for stage in stages) == ["cache", "cost", "guardrail", "llm", "output"]


def test_the_sum_of_costs_is_the_providers_invoice(healthy: System) -> None:
    """What answered calls cost is what the providers billed, to the nano-dollar."""
    replies = [healthy.chat(unique(f"Explain gear number {number}")).json() for number in range(5)]
    for reply in replies:
        healthy.row(reply["request_id"])
    # Other tests share the system, with answers that report another usage than is billed: `headrace audit`
    # judges those.
    ids = {reply["request_id"] for reply in replies}
    rows = healthy.sql("SELECT request_id, call_id, cost_usd FROM llm_calls WHERE error IS NULL")
    calls = [row for row in rows if row["request_id"] in ids]
    billed = {item["client_request_id"]: Decimal(item["usd"]) for item in healthy.invoice()["items"]}
    assert len(calls) >= len(replies)
    assert {call["call_id"]: Decimal(call["cost_usd"]) for call in calls} == {
        call["call_id"]: billed[call["call_id"]] for call in calls
    }


def test_a_native_stream_is_the_whole_answer(healthy: System) -> None:
    """The tokens of `/v1/chat` joined are the reply's content, and the stream ends with [DONE]."""
    healthy.behave(latency={"tokens_per_second": 40})
    question = unique("Describe a mill pond.")
    body = {"query": question, "user_id": "s", "stream": True}
    with healthy.http.stream("POST", "/v1/chat", json=body) as response:
        assert response.status_code == 200
        request_id = response.headers["x-request-id"]
        data = [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: ")]
    assert data[-1] == "[DONE]"
    text = "".join(json.loads(line)["token"] for line in data[:-1])
    reply = healthy.http.get(f"/v1/requests/{request_id}").json()
    assert text == reply["content"]
    assert len(data) > 3


async def test_a_plain_kafka_client_gets_its_reply_on_the_topic_it_names(healthy: System) -> None:
    """Spring's reply headers are honoured: topic, partition, correlation id."""
    reply_topic = f"orders.replies.{uuid.uuid4().hex[:8]}"
    bootstrap = healthy.endpoints.kafka
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(reply_topic, 3, 1)])
    await admin.close()

    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await consumer.start()
    await producer.start()
    try:
        consumer.assign([TopicPartition(reply_topic, 2)])
        correlation_id = uuid.uuid4().bytes
        request_id = uuid.uuid4().hex
        await producer.send_and_wait(
            "llm.requests.v1",
            value=json.dumps({"user_id": "kafka-user", "query": unique("What is a flume?")}).encode(),
            headers=[
                ("ce_id", request_id.encode()),
                ("kafka_correlationId", correlation_id),
                ("kafka_replyTopic", reply_topic.encode()),
                ("kafka_replyPartition", (2).to_bytes(4, "big")),
            ],
        )
        record = await consumer.getone()
    finally:
        await producer.stop()
        await consumer.stop()
    reply = json.loads(record.value)
    assert dict(record.headers)["kafka_correlationId"] == correlation_id
    assert (reply["request_id"], reply["status"]) == (request_id, "answered")
    assert reply["content"]
    assert healthy.row(request_id)["user_id"] == "kafka-user"


def test_an_asynchronous_request_can_be_fetched(healthy: System) -> None:
    """POST answers 202 at once; the reply is there to fetch, for its own tenant only."""
    accepted = healthy.http.post("/v1/requests", json={"query": unique("Why is water wet?"), "user_id": "a"})
    assert accepted.status_code == 202
    request_id = accepted.json()["request_id"]
    healthy.row(request_id)
    reply = healthy.http.get(f"/v1/requests/{request_id}")
    assert reply.status_code == 200
    assert reply.json()["status"] == "answered"
    assert healthy.http.get(f"/v1/requests/{uuid.uuid4()}").status_code == 404


def test_the_same_idempotency_key_gives_one_answer_and_one_charge(healthy: System) -> None:
    """A repeat gets the stored reply without another call; another body under the key is refused."""
    key = {"Idempotency-Key": uuid.uuid4().hex}
    body = {"query": unique("What drives a mill?"), "user_id": "i"}
    first = healthy.http.post("/v1/chat", json=body, headers=key).json()
    calls = healthy.invoice()["calls"]
    second = healthy.http.post("/v1/chat", json=body, headers=key).json()
    assert second["response"] == first["response"]
    assert second["request_id"] == first["request_id"]
    assert healthy.invoice()["calls"] == calls
    other = healthy.http.post("/v1/chat", json=body | {"query": "another"}, headers=key)
    assert other.status_code == 409
