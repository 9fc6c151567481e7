"""The invoice on disk: one JSON line an item, so that it survives a restart.

The operating system has a line before the caller sees its answer: it survives the death of the process, not
that of the machine. A line torn by a crash is the last one; the next start cuts it off.
"""

import fcntl
import os
from itertools import islice
from pathlib import Path
from typing import Self

import msgspec

from headrace.simulator.billing.invoice_items import InvoiceItem, InvoiceTotals

RETAINED_ITEMS = 200_000
_FILE_NAME = "invoice.jsonl"
_COMPACT_ABOVE = 2 * RETAINED_ITEMS


class InvoiceFileError(Exception):
    """The data folder cannot be used; the message says why and what to do."""


class _CarriedTotals(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a compacted file: what its removed lines add up to."""

    carried: InvoiceTotals


class InvoiceFile:
    """An append-only file of items, held by one process at a time."""

    def __init__(self, fd: int, path: Path) -> None:
        self._fd = fd
        self._path = path
        self._encoder = msgspec.json.Encoder()

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open or create the file in `folder` and lock it.

        Raises:
            InvoiceFileError: If the folder cannot be written or another simulator holds it.
        """
        path = folder / _FILE_NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise InvoiceFileError(
                f"cannot write {path}: {error.strerror}; choose another --data-dir"
            ) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            raise InvoiceFileError(
                f"{path} is held by another simulator; stop it or choose another --data-dir"
            ) from error
        return cls(fd, path)

    def load(self) -> tuple[InvoiceTotals, list[InvoiceItem]]:
        """Return what removed items add up to and the items; cut off a torn last line.

        Raises:
            InvoiceFileError: If a line before the last is not an item.
        """
        data = self._path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole != len(data):
            os.ftruncate(self._fd, whole)
        carried, items = self._parse(data[:whole].splitlines())
        if len(items) > _COMPACT_ABOVE:
            carried, items = self._compact(carried, items)
        return carried, items

    def _parse(self, lines: list[bytes]) -> tuple[InvoiceTotals, list[InvoiceItem]]:
        carried = InvoiceTotals()
        items: list[InvoiceItem] = []
        decoder = msgspec.json.Decoder(InvoiceItem)
        for number, line in enumerate(lines, start=1):
            try:
                if number == 1 and line.startswith(b'{"carried"'):
                    carried = msgspec.json.decode(line, type=_CarriedTotals).carried
                else:
                    items.append(decoder.decode(line))
            except msgspec.DecodeError as error:
                raise InvoiceFileError(
                    f"{self._path}, line {number}, is not an invoice item ({error}); "
                    "repair the line, or move the file away to start a new invoice"
                ) from error
        return carried, items

    def _compact(
        self, carried: InvoiceTotals, items: list[InvoiceItem]
    ) -> tuple[InvoiceTotals, list[InvoiceItem]]:
        for item in islice(items, len(items) - RETAINED_ITEMS):
            carried = carried.plus(item)
        kept = items[-RETAINED_ITEMS:]
        fresh = self._path.with_suffix(".new")
        lines = [self._encoder.encode(_CarriedTotals(carried=carried)), *map(self._encoder.encode, kept)]
        with fresh.open("wb") as file:
            file.write(b"\n".join(lines) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        fd = os.open(fresh, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fresh.replace(self._path)
        os.close(self._fd)
        self._fd = fd
        return carried, kept

    def append(self, item: InvoiceItem) -> None:
        """Write one item."""
        line = memoryview(self._encoder.encode(item) + b"\n")
        while line:
            line = line[os.write(self._fd, line) :]

    def clear(self) -> None:
        """Remove all items."""
        os.ftruncate(self._fd, 0)

    def close(self) -> None:
        """Release the file."""
        os.close(self._fd)
