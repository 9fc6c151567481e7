"""`POST /v1/embeddings` on a running system, asked by OpenAI's official client as it comes."""

import base64
import json
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import numpy as np
import openai
import pytest
from openai import OpenAI

from ingest.submit.identification import request_id_for
from tests.acceptance.conftest import System, headrace, running, unique, wait_for
from tests.acceptance.test_audit import audit, breaking, now, produce

pytestmark = pytest.mark.acceptance

SMALL, LARGE, ADA = "text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002"


@pytest.fixture(scope="module", autouse=True)
def begun() -> str:
    """When the first test of this module began."""
    return now()


@pytest.fixture
def client(healthy: System) -> Iterator[OpenAI]:
    """The client, without retries of its own."""
    url = f"{healthy.endpoints.ingest}/v1"
    with OpenAI(api_key=healthy.endpoints.api_key, base_url=url, max_retries=0, timeout=60) as sdk:
        yield sdk


def vectors(found: Any) -> Any:
    return np.array([each.embedding for each in found.data], dtype="<f4")


def extension(found: Any) -> dict[str, Any]:
    """What is ours in an answer."""
    return dict(found.model_extra["headrace"])


def billed(system: System, since: int) -> list[dict[str, Any]]:
    """The items for embeddings on the invoice, after so many: chats of other tests may still be under way."""
    return [item for item in system.invoice()["items"] if item["model"] in {SMALL, LARGE, ADA}][since:]


def calls(system: System) -> int:
    return len(billed(system, 0))


@pytest.mark.parametrize(("model", "dimensions"), [(SMALL, 1536), (LARGE, 3072), (ADA, 1536)])
def test_the_same_vectors_in_either_encoding(
    client: OpenAI, healthy: System, model: str, dimensions: int
) -> None:
    """As many as there are texts, of the model's length, nearest to its like; booked to the last digit."""
    before, texts = calls(healthy), ["a mill at the river", "the river at a mill", unique("bread")]
    floats = client.embeddings.create(model=model, input=texts, encoding_format="float")
    packed = client.embeddings.create(model=model, input=texts)
    assert vectors(floats).shape == (3, dimensions)
    assert np.array_equal(vectors(floats), vectors(packed))
    one, like, other = vectors(floats)
    assert one @ like > one @ other
    assert floats.usage.prompt_tokens == floats.usage.total_tokens > 0

    items = billed(healthy, before)
    rows = [healthy.row(extension(each)["request_id"]) for each in (floats, packed)]
    assert [row["model"] for row in rows] == [model] * 2
    assert [Decimal(row["cost_usd"]) for row in rows] == [Decimal(item["usd"]) for item in items]
    assert all(Decimal(row["cost_usd"]) > 0 for row in rows)


def test_shorter_vectors_and_a_lone_text(client: OpenAI) -> None:
    """`dimensions` is the model's to obey."""
    found = client.embeddings.create(model=LARGE, input="alone", dimensions=64)
    assert vectors(found).shape == (1, 64)


def test_the_most_of_the_longest(client: OpenAI) -> None:
    """128 vectors of 3,072 numbers come through every topic, and out again exactly."""
    texts = [f"text {number}" for number in range(128)]
    found = client.embeddings.create(model=LARGE, input=texts)
    assert vectors(found).shape == (128, 3072)
    assert np.array_equal(
        vectors(found)[7],
        vectors(client.embeddings.create(model=LARGE, input="text 7"))[0],
    )


def test_the_provider_sees_no_personal_data(client: OpenAI, healthy: System) -> None:
    """A vector is that of the redacted text, and the row says what was in it."""
    found = client.embeddings.create(
        model=SMALL, input=["Write to ann@example.com", "Write to [REDACTED_EMAIL]"]
    )
    first, second = vectors(found)
    assert np.array_equal(first, second)
    row = healthy.row(extension(found)["request_id"])
    assert row["pii_types"] == ["email"]


def test_errors_are_the_clients_own_classes(client: OpenAI, healthy: System) -> None:
    """Wrong input is refused before it costs anything; where the provider fails, no other model stands in."""
    before, create = calls(healthy), client.embeddings.create
    with pytest.raises(openai.NotFoundError):
        create(model="gpt-4o", input="x")
    for wrong in (
        {"input": ""},
        {"input": [1, 2]},
        {"input": ["x"] * 129},
        {"input": "x", "dimensions": 9_999},
    ):
        with pytest.raises(openai.BadRequestError):
            create(model=SMALL, **wrong)
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").embeddings.create(model=SMALL, input="x")
    healthy.behave(faults=[{"kind": "rate_limit", "rate": 1, "retry_after_s": 0.1}])
    with pytest.raises(openai.RateLimitError) as limited:
        create(model=SMALL, input="x")
    assert limited.value.response.headers["retry-after"]
    healthy.behave(faults=[{"kind": "hang", "rate": 1}])
    with pytest.raises(openai.InternalServerError) as late:
        create(model=SMALL, input="x", extra_headers={"X-Headrace-Deadline-Ms": "1500"})
    assert late.value.status_code in (503, 504)
    assert calls(healthy) >= before


def test_one_key_is_one_charge(client: OpenAI, healthy: System) -> None:
    """Sent twice at once and once more later, in other encodings: one call, the same vectors."""
    before, headers = calls(healthy), {"Idempotency-Key": uuid.uuid4().hex}
    healthy.behave(latency={"first_token_ms": 300})

    def ask(encoding: Any) -> Any:
        return client.embeddings.create(
            model=SMALL,
            input=["once", "only"],
            encoding_format=encoding,
            extra_headers=headers,
        )

    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(ask, ("float", openai.omit)))
    again = ask("float")
    assert np.array_equal(vectors(both[0]), vectors(both[1]))
    assert np.array_equal(vectors(both[0]), vectors(again))
    assert extension(again)["repeat"] is True
    assert calls(healthy) == before + 1
    with pytest.raises(openai.ConflictError):
        client.embeddings.create(model=SMALL, input="other", extra_headers=headers)


def test_a_cancelled_request_is_booked(client: OpenAI, healthy: System) -> None:
    """`DELETE` stops the call; what the provider bills for it is in the row."""
    before, others = calls(healthy), running(healthy)
    healthy.behave(latency={"first_token_ms": 20_000})
    raised: list[BaseException] = []

    def ask() -> None:
        try:
            client.embeddings.create(
                model=SMALL, input=unique("cancel me"), extra_headers={"Idempotency-Key": key}
            )
        except openai.APIStatusError as fault:
            raised.append(fault)

    key = uuid.uuid4().hex
    thread = threading.Thread(target=ask)
    thread.start()
    assert wait_for(lambda: running(healthy) - others, 20)
    request_id = request_id_for("default", key)
    assert healthy.http.delete(f"/v1/requests/{request_id}").status_code == 202
    thread.join(timeout=30)
    assert [type(fault) for fault in raised] == [openai.ConflictError]
    row = healthy.row(request_id)
    (item,) = wait_for(lambda: billed(healthy, before), 10)
    assert (row["status"], Decimal(row["cost_usd"])) == ("cancelled", Decimal(item["usd"]))


def test_a_client_that_leaves_can_cancel(client: OpenAI, healthy: System) -> None:
    """By the header that chat has; the call is stopped, and what it cost is booked."""
    before = calls(healthy)
    healthy.behave(latency={"first_token_ms": 20_000})
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=6).embeddings.create(
            model=SMALL, input=unique("never mind"), extra_headers={"X-Headrace-On-Disconnect": "cancel"}
        )
    (item,) = wait_for(lambda: billed(healthy, before), 20)
    (row,) = wait_for(
        lambda: healthy.sql(
            "SELECT r.status AS status, r.cost_usd AS cost_usd FROM llm_calls AS c "
            "JOIN requests AS r USING (request_id) WHERE c.call_id = {id:String}",
            id=item["client_request_id"],
        ),
        20,
    )
    assert (row["status"], Decimal(row["cost_usd"])) == ("cancelled", Decimal(item["usd"]))


def test_over_kafka_as_over_http(client: OpenAI, healthy: System) -> None:
    """Any producer gets the vectors, once a key; what is not a request is a dead letter, and answered."""
    body = {"inputs": ["over kafka", "twice"], "model": SMALL, "user_id": "k", "tenant": "default"}
    name = uuid.uuid4().hex
    records: Any = [
        ("llm.embeddings.v1", name.encode(), body, [("kafka_correlationId", b"first")]),
        ("llm.embeddings.v1", name.encode(), body, [("kafka_correlationId", b"second")]),
        ("llm.embeddings.v1", f"{name}-none".encode(), body | {"inputs": []}, []),
        ("llm.embeddings.v1", f"{name}-model".encode(), body | {"model": "gpt-4o"}, []),
    ]
    before = calls(healthy)
    produce(healthy, records)
    found = wait_for(lambda: _answered(healthy, name), 30)
    expected = vectors(client.embeddings.create(model=SMALL, input=body["inputs"]))  # type: ignore[arg-type]
    made = found["embeddings"]
    numbers = np.frombuffer(base64.b64decode(made["vectors"]), dtype="<f4")
    assert np.array_equal(numbers.reshape(made["count"], made["dimensions"]), expected)
    assert calls(healthy) == before + 2  # the first record, and the comparison
    refused = wait_for(lambda: _answered(healthy, f"{name}-model"), 30)
    assert refused["error"]["code"] == "model_not_found"
    letters = json.loads(headrace("dlq", "list", "--json", data_dir=healthy.data_dir))
    assert f"{name}-none" in json.dumps(letters)


def _answered(system: System, request_id: str) -> dict[str, Any] | None:
    response = system.http.get(f"/v1/requests/{request_id}")
    found: dict[str, Any] = response.json()
    return found if response.is_success and "cost_usd" in found else None


def test_a_killed_workers_call_is_booked_and_the_books_balance(client: OpenAI, healthy: System) -> None:
    """Kill -9 while calls are made: each is answered, each call is in the books, and ledger = invoice."""
    since, before, others = now(), calls(healthy), running(healthy)
    # Longer than all of them need to get there and the kill to come, on a machine with other work too.
    healthy.behave(latency={"first_token_ms": 6_000})
    with ThreadPoolExecutor(6) as pool:
        asked = [
            pool.submit(client.embeddings.create, model=SMALL, input=unique(f"kill {number}"))
            for number in range(6)
        ]
        assert wait_for(lambda: len(running(healthy) - others) == 6, 20)
        time.sleep(0.5)  # until the provider has them all, and has answered none
        healthy.kill("worker-0")
        found = [each.result(timeout=90) for each in asked]
    assert all(vectors(each).shape == (1, 1536) for each in found)
    healthy.behave_well()

    code, report = audit(healthy, since, "--wait", "90")
    assert (code, breaking(report)) == (0, {})
    figures = report["figures"]
    assert (figures["accepted"], figures["answered"]) == (6, 6)
    assert figures["orphaned_calls"] >= 1
    invoiced = sum(Decimal(item["usd"]) for item in billed(healthy, before))
    assert Decimal(figures["ledger_usd"]) == invoiced


def test_the_models_are_listed(client: OpenAI) -> None:
    """Beside those that chat."""
    assert {SMALL, LARGE, ADA, "gpt-4o"} <= {model.id for model in client.models.list()}


def test_the_whole_books_balance(healthy: System, begun: str) -> None:
    """After everything that the tests above did to the system."""
    code, report = audit(healthy, begun, "--wait", "60")
    assert (code, breaking(report)) == (0, {})
    assert report["figures"]["accepted"] > 10
