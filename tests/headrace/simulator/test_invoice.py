"""The invoice: exact totals, filters, forgetting, and what survives a restart."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import openai
import pytest

from headrace.simulator.invoice import BilledAs, Invoice, InvoiceFileError, InvoiceItem
from streams.model_catalogue import EMBEDDING_MODELS, ProviderProtocol
from tests.headrace.simulator.conftest import Operator

_START = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)


def _item(usd: str, after_s: int = 0) -> InvoiceItem:
    return InvoiceItem(
        call_id="x",
        provider=ProviderProtocol.OPENAI,
        model="m",
        at=_START + timedelta(seconds=after_s),
        input_tokens=1,
        output_tokens=1,
        usd=usd,
        status=BilledAs.COMPLETED,
        stream=False,
    )


def test_total_is_the_exact_sum(gpt: openai.OpenAI, operator: Operator) -> None:
    """After concurrent calls of several kinds, the total equals the sum of the items to the nano-dollar."""

    def call(number: int) -> None:
        prompt: Any = [{"role": "user", "content": f"Question number {number}"}]
        if number % 3 == 0:
            gpt.embeddings.create(model="text-embedding-3-small", input=f"text {number}")
        elif number % 3 == 1:
            gpt.chat.completions.create(model="gpt-4o-mini", messages=prompt)
        else:
            list(gpt.chat.completions.create(model="gpt-4o", messages=prompt, stream=True))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call, range(60)))
    invoice = operator.invoice()
    assert invoice["calls"] == len(invoice["items"]) == 60
    assert Decimal(invoice["total_usd"]) == sum(Decimal(item["usd"]) for item in invoice["items"])
    assert len({item["call_id"] for item in invoice["items"]}) == 60
    assert invoice["complete"] is True


def test_call_id_of_the_client(gpt: openai.OpenAI, operator: Operator) -> None:
    """The header X-Headrace-Call-Id is on the item, so that a ledger can be compared call by call."""
    gpt.embeddings.create(
        model="text-embedding-3-small", input="x", extra_headers={"X-Headrace-Call-Id": "call-17"}
    )
    assert operator.billed()["client_request_id"] == "call-17"


def test_cached_tokens_are_priced_and_reported(gpt: openai.OpenAI, operator: Operator) -> None:
    """A share of a long input counts as cached: in the usage, on the invoice, in the price."""
    operator.behave(cached_input_share=0.5, answers=[{"text": "ok"}])
    prompt: Any = [{"role": "user", "content": "word " * 2000}]
    usage = gpt.chat.completions.create(model="gpt-4o", messages=prompt).usage
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    cached = usage.prompt_tokens_details.cached_tokens
    assert cached == 896  # 7 × 128, the most that fits in a half of 2,008
    billed = operator.billed()
    assert billed["cached_tokens"] == cached
    expected = (usage.prompt_tokens - cached) * Decimal("2.5") + cached * Decimal("1.25") + Decimal(10)
    assert Decimal(billed["usd"]) == expected / 1_000_000


def test_filters(operator: Operator, gpt: openai.OpenAI) -> None:
    """`since` limits the period, `items=false` leaves the list out; a wrong time is refused."""
    gpt.embeddings.create(model="text-embedding-3-small", input="x")
    assert operator.invoice(since="2020-01-01T00:00:00Z")["calls"] == 1
    assert operator.invoice(since="2999-01-01T00:00:00+01:00") | {"items": []} == {
        "calls": 0,
        "total_usd": "0.000000000",
        "complete": True,
        "items": [],
    }
    assert "items" not in operator.invoice(items="false")
    for since in ("yesterday", "2026-01-01T00:00:00"):
        response = operator.http.get("/invoice", params={"since": since})
        assert response.status_code == 422
        assert "since" in response.json()["error"]["message"]
    assert operator.http.delete("/invoice").json()["calls"] == 0


def test_embeddings_price(gpt: openai.OpenAI, operator: Operator) -> None:
    """Embeddings cost their tokens times the price of the model."""
    tokens = gpt.embeddings.create(
        model="text-embedding-3-large", input=["one two", "three"]
    ).usage.total_tokens
    expected = tokens * EMBEDDING_MODELS["text-embedding-3-large"].price.input_usd / 1_000_000
    assert Decimal(operator.billed()["usd"]) == expected


def test_lists_the_newest_and_counts_all() -> None:
    """Beyond the limit the oldest items are not listed; the figures have them, and `complete` says so."""
    invoice = Invoice(max_listed=3)
    for number in range(5):
        invoice.add(_item("0.100000001", after_s=number))
    report = invoice.report()
    assert (report["calls"], report["total_usd"], report["complete"]) == (5, "0.500000005", False)
    assert [msgspec.json.decode(item)["at"][-3:] for item in report["items"]] == ["02Z", "03Z", "04Z"]
    later = invoice.report(since=_START + timedelta(seconds=3))
    assert (later["complete"], later["calls"], later["total_usd"]) == (True, 2, "0.200000002")
    invoice.close()


def test_a_file_survives(tmp_path: Path) -> None:
    """What was billed is there after a restart, to the nano-dollar, and only its owner can read it."""
    invoice = Invoice(tmp_path)
    for _ in range(3):
        invoice.add(_item("0.123456789"))
    before = invoice.report()
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    invoice.close()
    again = Invoice(tmp_path)
    assert msgspec.json.encode(again.report()) == msgspec.json.encode(before)
    again.add(_item("0.000000001"))
    assert again.report()["total_usd"] == "0.370370368"
    again.close()


def test_a_file_is_held_by_one(tmp_path: Path) -> None:
    """A second simulator on the same folder is told so."""
    invoice = Invoice(tmp_path)
    with pytest.raises(InvoiceFileError, match="held by another simulator"):
        Invoice(tmp_path)
    invoice.close()
    Invoice(tmp_path).close()


def test_a_damaged_file(tmp_path: Path) -> None:
    """A file that is no invoice stops the start; nothing is dropped in silence."""
    (tmp_path / "invoice.sqlite3").write_bytes(b"no database " * 100)
    with pytest.raises(InvoiceFileError, match="is damaged"):
        Invoice(tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A data folder that is a file is refused with its path."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(InvoiceFileError, match="choose another --data-dir"):
        Invoice(tmp_path / "taken")
