"""`headrace privacy …`: erase a user."""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Annotated

import typer

from analytics.clickhouse import ClickHouse
from analytics.erasure.row_eraser import RowEraser, UsersRollup
from headrace.cli import console
from headrace.ops.privacy.eraser import Eraser, ErasureReport, ErasureVerdict, lines, requests_of
from headrace.ops.privacy.redis_eraser import RedisEraser
from headrace.ops.topic_reader import TopicReader
from headrace.up.environment import connection_settings
from streams.erasure import ErasureFeed, Subject
from streams.errors import HeadraceError, TransientFault
from streams.events import Erasure, ErasureMode
from streams.kafka.record_auth import RecordAuth
from streams.publisher import Publisher
from streams.redis.connection import connect
from streams.settings import Settings

_CLIENT_ID = "headrace-privacy"
_EXIT_CODES = {
    ErasureVerdict.PLANNED: 0,
    ErasureVerdict.ERASED: 0,
    ErasureVerdict.LEFT: 1,
    ErasureVerdict.UNDER_WAY: 3,
}
_UNREACHABLE = 2
#: A request's entry in the registry is renewed when it is sent again: look a little further back.
_MARGIN_S = 3600

app = typer.Typer(name="privacy", help="Personal data: erase a user.", no_args_is_help=True)


@app.command(epilog="Example: headrace privacy erase ann --tenant acme --dry-run")
def erase(
    user: Annotated[str, typer.Argument(metavar="USER", help="The user id, as requests carry it.")],
    tenant: Annotated[str, typer.Option(help="Whose user it is.")],
    mode: Annotated[
        ErasureMode,
        typer.Option(
            help="anonymise: rows stay under a random name, so that every sum stays as it is. "
            "delete: rows are deleted, and their cost is missing from the sums."
        ),
    ] = "anonymise",
    dry_run: console.DryRun = False,
    yes: console.Yes = False,
    wait_s: Annotated[
        float, typer.Option("--wait", min=0, help="Seconds to wait for requests under way.")
    ] = 90.0,
    data_dir: console.DataDir = console.DEFAULT_DATA_DIR,
    as_json: console.AsJson = False,
) -> None:
    """Erase a user from ClickHouse and Redis, and from what Kafka delivers again later. This is final.

    It covers what the user sent until now. If it is interrupted, run the same command again.

    Exit code 0: nothing is left. 1: something is left. 3: requests of the user are still under way; run it
    again when they have ended. 2: a part does not answer, an option is wrong, or nobody agreed.
    """
    subject = Subject(tenant, user)
    try:
        if not (dry_run or yes):
            console.confirm(
                f"{mode} everything of user {subject.user_id!r} of tenant {subject.tenant!r}?",
                unattended="there is no way back: add --yes to do it, or --dry-run to see what is there",
            )
        settings = connection_settings(data_dir)
        report = asyncio.run(_erase(settings, subject, mode, dry_run=dry_run, wait_s=wait_s))
    except HeadraceError as fault:
        again = "\nWhat was done so far is done; run the same command again."
        console.fail(f"{fault}{again if isinstance(fault, TransientFault) else ''}")
        raise typer.Exit(_UNREACHABLE) from fault
    if as_json:
        console.print_json(report)
    else:
        for line in lines(report):
            console.out.print(line, markup=False)
    raise typer.Exit(_EXIT_CODES[report.verdict])


async def _erase(
    settings: Settings, subject: Subject, mode: ErasureMode, *, dry_run: bool, wait_s: float
) -> ErasureReport:
    async with AsyncExitStack() as stack:
        bootstrap, timeout_s = settings.kafka_bootstrap, settings.kafka_timeout_s
        auth = RecordAuth.from_settings(settings)
        feed = ErasureFeed(bootstrap, client_id=_CLIENT_ID, timeout_s=timeout_s, auth=auth)
        stack.push_async_callback(feed.aclose)
        publisher = await stack.enter_async_context(
            Publisher(bootstrap, client_id=_CLIENT_ID, timeout_s=timeout_s, auth=auth)
        )
        reader = await stack.enter_async_context(
            TopicReader(bootstrap, client_id=_CLIENT_ID, timeout_s=timeout_s)
        )
        redis = connect(settings.redis_url, timeout_s=settings.redis_timeout_s)
        stack.push_async_callback(redis.aclose)
        clickhouse = ClickHouse(
            settings.clickhouse_url,
            database=settings.clickhouse_database,
            timeout_s=settings.clickhouse_timeout_s,
            cluster=settings.clickhouse_cluster,
        )
        stack.push_async_callback(clickhouse.close)

        async def find_requests(subject: Subject, erasure: Erasure) -> set[str]:
            since_s = erasure.until.timestamp() - settings.registry_ttl_s - _MARGIN_S
            return await requests_of(reader, subject, since_ms=int(since_s * 1000), until=erasure.until)

        eraser = Eraser(
            feed=feed,
            publisher=publisher,
            rows=RowEraser(clickhouse),
            rollup=UsersRollup(clickhouse, statement_s=settings.clickhouse_timeout_s),
            redis=RedisEraser(redis),
            find_requests=find_requests,
            clock=lambda: datetime.now(UTC),
            progress=console.progress,
        )
        if dry_run:
            return await eraser.plan(subject, mode)
        return await eraser.erase(subject, mode, wait_s=wait_s)
