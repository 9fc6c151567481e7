"""`headrace dlq …`: find, read, replay and discard dead letters."""

import asyncio
import getpass
import os
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any, TypeVar

import typer

from headrace.cli.connection import connection_settings
from headrace.cli.console import fail, out, print_json, progress
from headrace.cli.dlq_options import (
    DEFAULT_LIMIT,
    By,
    DryRun,
    ExceptionName,
    Ids,
    Limit,
    RequestId,
    Since,
    Stage,
    StateOption,
    Tenant,
    TopicName,
    Until,
    Yes,
    check_choice,
    filters_of,
    is_default,
    places_of,
)
from headrace.cli.options import DEFAULT_DATA_DIR, AsJson, DataDir
from headrace.ops.dlq import rendering
from headrace.ops.dlq.actions import ActionResult, DeadLetterActions
from headrace.ops.dlq.filters import LetterFilters
from headrace.ops.dlq.letters import LetterId
from headrace.ops.dlq.reader import DeadLetterReader
from headrace.ops.dlq.selection import LetterSelection, ListedLetter
from headrace.ops.topic_reader import TopicReader
from streams.errors import HeadraceError
from streams.kafka.record_auth import RecordAuth
from streams.publisher import Publisher
from streams.settings import Settings

_CLIENT_ID = "headrace-dlq"

T = TypeVar("T")


class NotConfirmed(HeadraceError):
    """LetterFilters match more than one dead letter, and nobody said yes."""


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    dlq = typer.Typer(
        help="Dead letters: records that could not be worked on. Find, read, replay or discard them.",
        no_args_is_help=True,
    )
    dlq.command("list")(list_)
    dlq.command()(show)
    dlq.command()(replay)
    dlq.command()(discard)
    app.add_typer(dlq, name="dlq")


def list_(
    state: StateOption = None,
    stage: Stage = None,
    exception: ExceptionName = None,
    topic: TopicName = None,
    request_id: RequestId = None,
    tenant: Tenant = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = DEFAULT_LIMIT,
    summary: Annotated[
        bool, typer.Option("--summary", help="Only count them, by stage and exception.")
    ] = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """List dead letters, the oldest first, and where each stands."""
    filters = filters_of(state, stage, exception, topic, request_id, tenant, since, until)
    settings = connection_settings(data_dir)
    selection = _run(settings, lambda letters: letters.select(filters, limit=limit))
    if as_json:
        print_json(
            {
                "matched": selection.matched,
                "summary": [rendering.group_document(each) for each in selection.groups()],
            }
            if summary
            else {
                "matched": selection.matched,
                "letters": [rendering.letter_document(each) for each in selection.letters()],
            }
        )
    elif not selection.matched:
        progress("no dead letters" if is_default(filters) else "no dead letters match")
    elif summary:
        sys.stdout.write(rendering.groups_table(selection.groups()))
    else:
        sys.stdout.write(rendering.letters_table(selection.letters()))
        _say_what_is_left(selection, limit)


def show(
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="The dead letter, e.g. 2:41.")],
    raw: Annotated[
        bool, typer.Option("--raw", help="Write the value's bytes to stdout, and nothing else.")
    ] = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Show one dead letter: its headers, its value, and what was done with it."""
    place = places_of([letter_id])[0]

    async def read(letters: DeadLetterReader) -> tuple[Any, ...] | None:
        found = await letters.find(place)
        if found is None:
            return None
        state = (await letters.states(lambda other: other == place)).of(place)
        return ListedLetter(letter=found[1], state=state), found[0], await letters.history(place)

    known = _run(connection_settings(data_dir), read)
    if known is None:
        fail(f"there is no dead letter {place} (any more)")
        raise typer.Exit(1)
    if raw:
        sys.stdout.buffer.write(known[1].value or b"")
        sys.stdout.buffer.flush()
    elif as_json:
        print_json(rendering.page_document(*known))
    else:
        sys.stdout.write(rendering.letter_page(*known))


def replay(
    ids: Ids = None,
    state: StateOption = None,
    stage: Stage = None,
    exception: ExceptionName = None,
    topic: TopicName = None,
    request_id: RequestId = None,
    tenant: Tenant = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = DEFAULT_LIMIT,
    rate: Annotated[float | None, typer.Option(min=0.001, help="At most so many a second.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also those that were replayed or discarded before.")
    ] = False,
    pay_again: Annotated[
        bool,
        typer.Option("--pay-again", help="Also those whose request has been charged: a model is paid again."),
    ] = False,
    reason: Annotated[str, typer.Option(help="Why, for the audit trail.")] = "",
    by: By = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Send dead letters to the stage they died in once more, with a fresh deadline.

    Name them by id, or filter. HEADRACE_MAX_REPLAYS limits how often one record is replayed. One whose
    request has been charged and that would call a model again is refused with the amount; the others are
    sent. Exit code 1 where one was not replayed.
    """
    filters = filters_of(state, stage, exception, topic, request_id, tenant, since, until)
    places = places_of(ids or ())
    check_choice(places, filters, state)
    settings = connection_settings(data_dir)

    async def work(letters: DeadLetterReader) -> list[ActionResult]:
        chosen = places or await _choose(letters, filters, limit, ask=not (yes or dry_run), verb="replay")
        async with _sender(settings, dry_run=dry_run) as sender:
            desk = DeadLetterActions(letters, sender, by=_who(by), reason=_clean(reason), rate=rate)
            results = desk.replay(chosen, force=force, max_replays=settings.max_replays, pay_again=pay_again)
            return [_told(each, as_json=as_json) async for each in results]

    _finish(_run(settings, work), as_json=as_json)


def discard(
    reason: Annotated[str, typer.Option(help="Why, for the audit trail.")],
    ids: Ids = None,
    state: StateOption = None,
    stage: Stage = None,
    exception: ExceptionName = None,
    topic: TopicName = None,
    request_id: RequestId = None,
    tenant: Tenant = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = DEFAULT_LIMIT,
    by: By = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Note that dead letters need nothing more. The records stay until they expire.

    Name them by id, or filter. Exit code 1 where one was not discarded.
    """
    filters = filters_of(state, stage, exception, topic, request_id, tenant, since, until)
    places = places_of(ids or ())
    check_choice(places, filters, state)
    if not reason.strip():
        raise typer.BadParameter("say why, for whoever reads the audit trail", param_hint="--reason")
    settings = connection_settings(data_dir)

    async def work(letters: DeadLetterReader) -> list[ActionResult]:
        chosen = places or await _choose(letters, filters, limit, ask=not (yes or dry_run), verb="discard")
        async with _sender(settings, dry_run=dry_run) as sender:
            desk = DeadLetterActions(letters, sender, by=_who(by), reason=_clean(reason))
            return [_told(each, as_json=as_json) async for each in desk.discard(chosen)]

    _finish(_run(settings, work), as_json=as_json)


def _run(settings: Settings, work: Callable[[DeadLetterReader], Coroutine[Any, Any, T]]) -> T:
    async def with_reader() -> T:
        async with TopicReader(
            settings.kafka_bootstrap, client_id=_CLIENT_ID, timeout_s=settings.kafka_timeout_s
        ) as topics:
            return await work(DeadLetterReader(topics, RecordAuth.from_settings(settings)))

    return asyncio.run(with_reader())


@asynccontextmanager
async def _sender(settings: Settings, *, dry_run: bool) -> AsyncGenerator[Publisher | None, None]:
    async with AsyncExitStack() as stack:
        publisher = Publisher(
            settings.kafka_bootstrap,
            client_id=_CLIENT_ID,
            timeout_s=settings.kafka_timeout_s,
            auth=RecordAuth.from_settings(settings),
        )
        yield None if dry_run else await stack.enter_async_context(publisher)


async def _choose(
    letters: DeadLetterReader, filters: LetterFilters, limit: int, *, ask: bool, verb: str
) -> Sequence[LetterId]:
    """Return the letters that the filters mean, once somebody has agreed where they are several."""
    selection = await letters.select(filters, limit=limit)
    chosen = [each.letter.letter_id for each in selection.letters()]
    _say_what_is_left(selection, limit)
    if ask and len(chosen) > 1:
        if not sys.stdin.isatty():
            raise NotConfirmed(
                f"{len(chosen)} dead letters match: add --yes to {verb} them, or --dry-run to see"
            )
        sys.stderr.write(rendering.groups_table(selection.groups()))
        if not typer.confirm(f"{verb} {len(chosen)} dead letters?", err=True):
            raise NotConfirmed("nothing was done")
    return chosen


def _finish(results: Sequence[ActionResult], *, as_json: bool) -> None:
    if as_json:
        print_json({"results": [rendering.result_document(each) for each in results]})
    elif not results:
        progress("no dead letters match")
    if not all(each.outcome.good for each in results):
        raise typer.Exit(1)


def _told(result: ActionResult, *, as_json: bool) -> ActionResult:
    if not as_json:
        out.print(
            rendering.result_line(result),
            markup=False,
            emoji=False,
            style=None if result.outcome.good else "red",
        )
    return result


def _say_what_is_left(selection: LetterSelection, limit: int) -> None:
    if selection.matched > limit:
        progress(f"{selection.matched - limit} older ones match too; --limit takes more")


def _who(by: str | None) -> str:
    if by:
        return _clean(by)
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return f"uid {os.getuid()}"


def _clean(text: str) -> str:
    """Return what a command line says as text that can be encoded, whatever bytes were typed."""
    return text.encode("utf-8", "replace").decode()
