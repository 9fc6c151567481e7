"""`headrace audit`: proves that every accepted request was answered, charged and stored once."""

import asyncio
import time
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from headrace.cli import console
from headrace.ops.audit.auditor import Auditor
from headrace.ops.audit.evidence import AuditWindow
from headrace.ops.audit.report import AuditReport, AuditVerdict, show
from headrace.up.environment import connection_settings
from headrace.up.home import Home
from streams.errors import HeadraceError
from streams.settings import Settings

_EXIT_CODES = {AuditVerdict.BALANCED: 0, AuditVerdict.UNBALANCED: 1, AuditVerdict.OPEN: 3}
_UNREACHABLE = 2
_POLL_S = 1.0

app = typer.Typer()


@app.command(epilog="Example: headrace audit --since 24h --wait 60")
def audit(
    since: Annotated[
        datetime | None,
        console.time_option(help="Begin: 30m, 2h, 1d ago, or a time such as 2026-11-21T08:00Z. Default: 1h."),
    ] = None,
    until: Annotated[
        datetime | None, console.time_option(help="End, in the same form. Default: the newest record.")
    ] = None,
    wait_s: Annotated[
        float, typer.Option("--wait", min=0, help="Seconds to wait for requests under way.")
    ] = 0.0,
    invoice: Annotated[
        str | None,
        typer.Option(
            help="Address of the provider simulator, http://control:PASSWORD@HOST:PORT. Default: that of "
            "`headrace up`."
        ),
    ] = None,
    data_dir: console.DataDir = console.DEFAULT_DATA_DIR,
    as_json: console.AsJson = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Also show what was read of each part.")] = False,
) -> None:
    """Check every accepted request against Kafka, Redis, ClickHouse and the provider's invoice.

    Every accepted request must have one terminal reply, one charge and one row. Ledger, ClickHouse and (where
    the simulator is the provider) the invoice must agree, request by request. The command only reads.

    Exit code 0: it balances. 1: it does not. 3: nothing is wrong, but something is still under way. 2: a part
    does not answer, or an option is wrong.
    """
    window = _window(since or datetime.now(UTC) - timedelta(hours=1), until)
    try:
        settings = connection_settings(data_dir)
        report = asyncio.run(_audit(settings, window, invoice or _simulator(data_dir, settings), wait_s))
    except HeadraceError as fault:
        console.fail(str(fault))
        raise typer.Exit(_UNREACHABLE) from fault
    if as_json:
        console.print_json(report)
    else:
        show(report, console.out, details=verbose)
    raise typer.Exit(_EXIT_CODES[report.verdict])


async def _audit(
    settings: Settings, window: AuditWindow, simulator: str | None, wait_s: float
) -> AuditReport:
    begun = time.monotonic()
    async with aclosing(Auditor(settings, window, simulator=simulator)) as auditor:
        while True:
            report = await auditor.report()
            left_s = begun + wait_s - time.monotonic()
            if not report.waiting or left_s <= 0:
                return report
            console.progress(f"{report.waiting} under way; waiting up to {left_s:.0f} s")
            await asyncio.sleep(min(max(_POLL_S, report.took_s), left_s))


def _window(since: datetime, until: datetime | None) -> AuditWindow:
    if until is not None and until <= since:
        raise typer.BadParameter("--until must be later than --since")
    until_ms = None if until is None else int(until.timestamp() * 1000)
    return AuditWindow(since_ms=int(since.timestamp() * 1000), until_ms=until_ms)


def _simulator(data_dir: Path, settings: Settings) -> str | None:
    with suppress(HeadraceError, OSError, msgspec.MsgspecError):
        endpoints = Home(data_dir).endpoints()
        if endpoints.kafka == settings.kafka_bootstrap:
            return endpoints.simulator_control
    return None
