"""What a call costs, and the invoice: every billed call, in an SQLite file where it must survive a restart.

The charges share the price table with Headrace's ledger, and none of its arithmetic: comparing the invoice
with the ledger compares two computations. The operating system has an item before the caller sees its answer:
the item survives the death of the process, not that of the machine.
"""

import os
import sqlite3
import weakref
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec

from streams.model_catalogue import STANDARD_TIER, Model, ProviderProtocol
from streams.times import micros

_MILLION = 1_000_000
_NANO_USD = Decimal("0.000000001")
_TokenCount = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]


class BilledUsage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The tokens that a call is billed for, and the service tier.

    `input_tokens` includes `cached_tokens` and `cache_write_tokens`, and those the ones written for an hour;
    `output_tokens` includes `reasoning_tokens`.
    """

    input_tokens: _TokenCount = 0
    output_tokens: _TokenCount = 0
    cached_tokens: _TokenCount = 0
    cache_write_tokens: _TokenCount = 0
    cache_write_1h_tokens: _TokenCount = 0
    reasoning_tokens: _TokenCount = 0
    service_tier: Annotated[str, msgspec.Meta(max_length=32)] = STANDARD_TIER

    def __post_init__(self) -> None:
        if self.cached_tokens + self.cache_write_tokens > self.input_tokens:
            raise ValueError("`cached_tokens` and `cache_write_tokens` are more than `input_tokens`")
        if self.cache_write_1h_tokens > self.cache_write_tokens:
            raise ValueError("`cache_write_1h_tokens` is more than `cache_write_tokens`")
        if self.reasoning_tokens > self.output_tokens:
            raise ValueError("`reasoning_tokens` is more than `output_tokens`")


def charge_usd(model: Model, usage: BilledUsage) -> Decimal:
    """Return what a chat call costs, in US dollars, to the nano-dollar."""
    price = model.service_tiers.get(usage.service_tier) or model.price
    hourly, written = usage.cache_write_1h_tokens, usage.cache_write_tokens
    sent = (
        (usage.input_tokens - usage.cached_tokens - written) * price.input_usd
        + usage.cached_tokens * price.cached_input_usd
        + (written - hourly) * price.cache_write_usd
        + hourly * price.cache_write_1h_usd
    )
    said = (
        usage.output_tokens - usage.reasoning_tokens
    ) * price.output_usd + usage.reasoning_tokens * price.reasoning_usd
    long = model.long_context
    if long is not None and usage.input_tokens > long.above_tokens:
        sent, said = sent * long.input_times, said * long.output_times
    return _per_million(sent + said)


def embedding_charge_usd(usd_per_million: Decimal, usage: BilledUsage) -> Decimal:
    """Return what an embeddings call costs, in US dollars, to the nano-dollar."""
    return _per_million(usage.input_tokens * usd_per_million)


def _per_million(usd: Decimal) -> Decimal:
    return (usd / _MILLION).quantize(_NANO_USD)


_NANO_DIGITS = 9
_FILE_NAME = "invoice.sqlite3"
_MAX_LISTED = 200_000


class BilledAs(StrEnum):
    """How a billed call ended."""

    COMPLETED = "completed"
    DROPPED = "dropped"
    CANCELLED = "cancelled"


class InvoiceItem(BilledUsage, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """One billed call; `usd` has nine decimals."""

    call_id: str
    provider: ProviderProtocol
    model: str
    at: datetime
    usd: str
    status: BilledAs
    stream: bool
    client_request_id: str | None = None


class InvoiceFileError(Exception):
    """The data folder cannot be used; the message says why and what to do."""


class Invoice:
    """The billed calls, kept in a folder (None: not beyond the process), and what they add up to.

    A report lists the newest `max_listed`. Raises `InvoiceFileError`: the folder cannot be written, another
    simulator holds it, or it is damaged.
    """

    def __init__(self, folder: Path | None = None, *, max_listed: int = _MAX_LISTED) -> None:
        self._max_listed = max_listed
        # An empty name is a temporary file of SQLite's own, so that long runs do not fill the memory.
        self._database = _open("" if folder is None else _private_file(folder))
        weakref.finalize(self, self._database.close)  # an application that never started has no shutdown

    def add(self, item: InvoiceItem) -> None:
        """Bill one call."""
        nano_usd = int(Decimal(item.usd).scaleb(_NANO_DIGITS))
        row = (micros(item.at), nano_usd, msgspec.json.encode(item))
        self._database.execute("INSERT INTO items (at_us, nano_usd, item) VALUES (?, ?, ?)", row)

    def clear(self) -> None:
        """Start again from nothing."""
        self._database.execute("DELETE FROM items")

    def close(self) -> None:
        """Release the file."""
        self._database.close()

    def report(self, *, since: datetime | None = None, list_items: bool = True) -> dict[str, Any]:
        """Return the invoice as `GET /invoice` sends it; `complete`: all its items are listed."""
        start_us = 0 if since is None else micros(since)
        total = "SELECT count(*), coalesce(sum(nano_usd), 0) FROM items WHERE at_us >= ?"
        [(calls, nano_usd)] = self._database.execute(total, (start_us,))
        total_usd = f"{Decimal(nano_usd).scaleb(-_NANO_DIGITS):.9f}"
        report = {"calls": calls, "total_usd": total_usd, "complete": True}
        if not list_items:
            return report
        newest = "SELECT item FROM items WHERE at_us >= ? ORDER BY number DESC LIMIT ?"
        rows = self._database.execute(newest, (start_us, self._max_listed)).fetchall()
        items = [msgspec.Raw(item) for (item,) in reversed(rows)]
        return report | {"complete": len(items) == calls, "items": items}


def _private_file(folder: Path) -> Path:
    path = folder / _FILE_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise InvoiceFileError(f"cannot write {path}: {error.strerror}; choose another --data-dir") from error
    return path


def _open(path: Path | str) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        # The lock is held for as long as the file is open; a commit is a write without a sync.
        database.executescript(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; "
            "CREATE TABLE IF NOT EXISTS items (number INTEGER PRIMARY KEY, "
            "at_us INTEGER NOT NULL, nano_usd INTEGER NOT NULL, item BLOB NOT NULL)"
        )
    except sqlite3.Error as error:
        database.close()
        if isinstance(error, sqlite3.OperationalError):
            reason = f"is held by another simulator ({error}); stop it or choose another --data-dir"
        else:
            reason = f"is damaged ({error}); move it away to start a new invoice"
        raise InvoiceFileError(f"{path} {reason}") from error
    return database
