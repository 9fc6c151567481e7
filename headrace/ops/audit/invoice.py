"""Reads what the provider billed. Only the simulator (`headrace/simulator`) tells it call by call."""

from datetime import UTC, datetime

import httpx
import msgspec

from headrace.ops.audit.evidence import BilledCall, InvoiceEvidence, nano_usd
from streams.errors import HeadraceError


class InvoiceUnavailable(HeadraceError):
    """The simulator does not show its invoice."""


class _Item(msgspec.Struct, frozen=True):
    usd: str
    at: datetime
    input_tokens: int = 0
    output_tokens: int = 0
    client_request_id: str | None = None


class _Invoice(msgspec.Struct, frozen=True):
    items: tuple[_Item, ...]
    complete: bool


async def read_invoice(client: httpx.AsyncClient, url: str, *, since_ms: int) -> InvoiceEvidence:
    """Return what was billed at or after a time.

    Raises:
        InvoiceUnavailable: no answer in time, or it is not an invoice.
    """
    since = datetime.fromtimestamp(since_ms / 1000, UTC).isoformat()
    try:
        response = await client.get(f"{url.rstrip('/')}/invoice", params={"since": since})
        response.raise_for_status()
        invoice = msgspec.json.decode(response.content, type=_Invoice)
    except (httpx.HTTPError, httpx.InvalidURL, msgspec.DecodeError) as fault:
        raise InvoiceUnavailable(
            f"the simulator at {url.rpartition('@')[2]} does not show its invoice: {fault!r}; "
            "without one leave out --invoice"
        ) from fault
    evidence = InvoiceEvidence(complete=invoice.complete)
    for item in invoice.items:
        if item.client_request_id is None:
            continue
        known = evidence.items.setdefault(
            item.client_request_id,
            BilledCall(
                cost_nano=0,
                at_ms=int(item.at.timestamp() * 1000),
                input_tokens=item.input_tokens,
                output_tokens=item.output_tokens,
                times=0,
            ),
        )
        known.times += 1
        known.cost_nano += nano_usd(item.usd)
    return evidence
