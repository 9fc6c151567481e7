"""The invoice: exact totals, filters, forgetting, and what survives a restart."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import pytest

from headrace.simulator.billing.invoice import Invoice
from headrace.simulator.billing.invoice_file import InvoiceFile, InvoiceFileError
from headrace.simulator.billing.invoice_items import BilledAs, InvoiceItem, InvoiceTotals
from streams.models import EMBEDDING_USD_PER_MILLION, ProviderName
from tests.headrace.simulator.conftest import Operator

_START = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)


def _item(usd: str, after_s: int = 0) -> InvoiceItem:
    return InvoiceItem(
        call_id="x",
        provider=ProviderName.OPENAI,
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
    expected = tokens * EMBEDDING_USD_PER_MILLION["text-embedding-3-large"] / 1_000_000
    assert Decimal(operator.billed()["usd"]) == expected


def test_forgets_items_but_not_their_cost() -> None:
    """Beyond the limit the oldest items go, the totals stay, and a period that needs them is not complete."""
    invoice = Invoice(retained=3)
    for number in range(5):
        invoice.add(_item("0.100000001", after_s=number))
    report = invoice.report()
    assert (report["calls"], report["total_usd"], len(report["items"])) == (5, "0.500000005", 3)
    assert invoice.report(since=_START)["complete"] is False
    later = invoice.report(since=_START + timedelta(seconds=3))
    assert (later["complete"], later["calls"], later["total_usd"]) == (True, 2, "0.200000002")


def test_file_survives(tmp_path: Path) -> None:
    """What was billed is there after a restart, to the nano-dollar, and a torn last line is cut off."""
    file = InvoiceFile.open(tmp_path)
    invoice = Invoice(file)
    for _ in range(3):
        invoice.add(_item("0.123456789"))
    before = invoice.report()
    file.close()
    path = tmp_path / "invoice.jsonl"
    path.write_bytes(path.read_bytes() + b'{"call_id":"half')

    again = InvoiceFile.open(tmp_path)
    carried, items = again.load()
    reloaded = Invoice(again, carried=carried, items=items)
    assert reloaded.report() == before
    reloaded.add(_item("0.000000001"))
    again.close()
    assert len(path.read_text().splitlines()) == 4
    assert json.loads(path.read_text().splitlines()[-1])["usd"] == "0.000000001"


def test_file_is_compacted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long file is shortened at the start of the simulator; totals are carried over."""
    monkeypatch.setattr("headrace.simulator.billing.invoice_file._COMPACT_ABOVE", 4)
    monkeypatch.setattr("headrace.simulator.billing.invoice_file.RETAINED_ITEMS", 2)
    file = InvoiceFile.open(tmp_path)
    for number in range(6):
        file.append(_item(f"0.00000000{number}"))
    file.close()
    for _ in range(2):
        again = InvoiceFile.open(tmp_path)
        carried, items = again.load()
        again.close()
        assert carried == InvoiceTotals(calls=4, nano_usd=0 + 1 + 2 + 3)
        assert [item.usd for item in items] == ["0.000000004", "0.000000005"]
    assert len((tmp_path / "invoice.jsonl").read_text().splitlines()) == 3


def test_file_is_held_by_one(tmp_path: Path) -> None:
    """A second simulator on the same folder is told so."""
    file = InvoiceFile.open(tmp_path)
    with pytest.raises(InvoiceFileError, match="held by another simulator"):
        InvoiceFile.open(tmp_path)
    file.close()
    InvoiceFile.open(tmp_path).close()


def test_file_with_a_broken_line(tmp_path: Path) -> None:
    """A line that is no item stops the start, with its number; nothing is dropped in silence."""
    (tmp_path / "invoice.jsonl").write_text('{"call_id":\n')
    file = InvoiceFile.open(tmp_path)
    with pytest.raises(InvoiceFileError, match="line 1"):
        file.load()
    file.close()


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A data folder that is a file is refused with its path."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(InvoiceFileError, match="choose another --data-dir"):
        InvoiceFile.open(tmp_path / "taken")
