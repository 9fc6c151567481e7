"""The provider's bill against what ClickHouse has booked, call by call."""

import httpx
import msgspec

_TIMEOUT_S = 120.0


class Calls(msgspec.Struct, frozen=True, kw_only=True):
    """Provider calls.

    Attributes:
        invoiced: by the provider.
        booked: in `llm_calls`.
        orphaned: of those, the ones whose answer was lost with its worker.
        unbooked: invoiced, and not in `llm_calls`: spend that nobody knows of.
        invoiced_twice: two bills for one call.
        booked_twice: two rows for one call.
    """

    invoiced: int
    booked: int
    orphaned: int
    unbooked: int
    invoiced_twice: int
    booked_twice: int

    @property
    def balanced(self) -> bool:
        """Whether every bill has its one booking."""
        return not (self.unbooked or self.invoiced_twice or self.booked_twice)


def check_provider(simulator: str, clickhouse: str) -> Calls:
    """Compare the simulator's invoice with the view `llm_calls`."""
    invoice = httpx.get(f"{simulator}/invoice", timeout=_TIMEOUT_S).raise_for_status().json()
    sql = "SELECT call_id, orphaned FROM headrace.llm_calls FORMAT TSV"
    answer = httpx.post(clickhouse, content=sql, timeout=_TIMEOUT_S).raise_for_status().text
    billed = [item["client_request_id"] for item in invoice["items"]]
    rows = [line.split("\t") for line in answer.splitlines()]
    return compare(
        billed, [call for call, _ in rows], orphaned=sum(flag in ("1", "true") for _, flag in rows)
    )


def compare(billed: list[str | None], booked: list[str], *, orphaned: int) -> Calls:
    """Compare by the id of the call."""
    return Calls(
        invoiced=len(billed),
        booked=len(booked),
        orphaned=orphaned,
        unbooked=len(set(billed) - set(booked)),
        invoiced_twice=len(billed) - len(set(billed)),
        booked_twice=len(booked) - len(set(booked)),
    )
