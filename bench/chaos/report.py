"""What a run says at its end: one value, as JSON for machines and as a table for people."""

from collections.abc import Sequence
from statistics import median
from typing import Any

import msgspec

from bench.chaos.invoice import Calls
from bench.chaos.ledger import Verdict
from bench.chaos.recovery import Recovery
from bench.chaos.stock import StockVerdict

#: What issue 4 promises, in seconds.
WORKER_BACK_S, BROKER_BACK_S = 10.0, 30.0
_SHOWN = 20


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a run found out. `audit_code` is the exit status of `headrace audit`: 0 balanced."""

    command: str
    seed: int
    duration_s: float
    senders: Verdict
    kills: dict[str, int]
    rebalances: int
    recoveries: tuple[Recovery, ...]
    audit_code: int
    audit: dict[str, Any]
    provider: Calls
    memory_mib: dict[str, int]
    in_flight_at_kills: tuple[int, ...]
    client_retries: dict[str, int]
    gave_up: tuple[str, ...]
    missed: tuple[str, ...]
    restarts: dict[str, int]
    stock: StockVerdict | None = None

    @property
    def balanced(self) -> bool:
        """Whether the senders' own check and the audit both say that nothing is missing or double."""
        whole = self.senders.balanced and self.provider.balanced and not self.gave_up
        return whole and self.audit_code == 0


def slow_recoveries(recoveries: Sequence[Recovery]) -> list[Recovery]:
    """Return the recoveries of single kills that took longer than is promised for a worker and the broker."""
    limits = {"worker": WORKER_BACK_S, "kafka": BROKER_BACK_S}
    return [
        each
        for each in recoveries
        if each.alone
        and "kill -9" in each.fault
        and any(role in each.fault and each.worst_s > limit_s for role, limit_s in limits.items())
    ]


def as_json(report: Report) -> bytes:
    """Return the report as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(report) + b"\n", indent=2)


def as_text(report: Report) -> str:
    """Return the report as people read it."""
    senders = report.senders
    lines = [
        (
            f"load: {report.duration_s:.0f} s, seed {report.seed}; "
            f"in flight at the kills: {_spread(report.in_flight_at_kills)}"
        ),
        _row("submissions accepted", senders.accepted, f"of {senders.sent} sent"),
        *(_row(f"  {kind}", count) for kind, count in sorted(senders.by_kind.items())),
        *(_row(f"  {channel}", count) for channel, count in sorted(senders.by_channel.items())),
        *(_row(f"  replies: {status}", count) for status, count in sorted(senders.by_status.items())),
        _row(
            "reply records", senders.reply_records, f"{senders.repeated_records} of them repeats for a reader"
        ),
        _row("kills", sum(report.kills.values()), _pairs(report.kills)),
        _row("forced rebalances", report.rebalances),
        *_recovery_lines(report.recoveries),
        _row("client retries", sum(report.client_retries.values()), _pairs(report.client_retries)),
        _row("restarts by the supervisor", sum(report.restarts.values()), _pairs(report.restarts)),
        _row("provider calls", report.provider.invoiced, _pairs(msgspec.structs.asdict(report.provider))),
        "most memory, MiB: " + _pairs(report.memory_mib),
        _row("faults not done as planned", len(report.missed)),
        *(f"  {each}" for each in report.missed[:_SHOWN]),
        _row("senders' findings", len(senders.findings)),
        *(f"  {each.what}: {each.submission} {each.details}" for each in senders.findings[:_SHOWN]),
        _row("senders that gave up", len(report.gave_up)),
        *(f"  {each}" for each in report.gave_up[:_SHOWN]),
        f"headrace audit: exit status {report.audit_code}",
        *(
            f"  {name}: {value}"
            for name, value in report.audit.items()
            if isinstance(value, int | str | float)
        ),
        *_stock_lines(report),
        "BALANCED" if report.balanced else "DOES NOT BALANCE",
    ]
    return "\n".join(lines)


def _recovery_lines(recoveries: Sequence[Recovery]) -> list[str]:
    by_fault: dict[str, list[float]] = {}
    for each in recoveries:
        name = each.fault if each.alone else f"{each.fault} (with another fault)"
        by_fault.setdefault(name, []).append(each.worst_s)
    return [
        f"  served again after {fault}: {median(times):.1f} s, at most {max(times):.1f} s, {len(times)} times"
        for fault, times in sorted(by_fault.items())
    ]


def _stock_lines(report: Report) -> list[str]:
    if report.stock is None:
        return []
    stock, ours = report.stock, report.senders
    missing = sum(1 for each in ours.findings if each.what == "no reply")
    return [
        f"side by side{'':16}{'accepted':>10}{'kills':>8}{'lost':>8}",
        f"  Headrace{'':18}{ours.accepted:>10}{sum(report.kills.values()):>8}{missing:>8}",
        f"  stock Faust{'':15}{stock.accepted:>10}{stock.kills:>8}{stock.lost:>8}"
        + ("" if stock.drained else "   (had not drained)"),
    ]


def _row(name: str, value: int, remark: str = "") -> str:
    return f"{name:32}{value:>9}  {remark}".rstrip()


def _spread(counts: Sequence[int]) -> str:
    if not counts:
        return "no kills"
    return f"{min(counts)} at least, {median(counts):.0f} in the middle, {max(counts)} at most"


def _pairs(values: dict[str, int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(values.items()))
