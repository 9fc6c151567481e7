"""`headrace dlq …`: find, read, replay and discard dead letters."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, TypeVar

import typer

from headrace.cli import console
from headrace.cli import dlq_options as options
from headrace.ops.dlq import rendering
from headrace.ops.dlq.actions import ActionResult, DeadLetterActions
from headrace.ops.dlq.letters import LetterId, summary_of
from headrace.ops.dlq.reader import DeadLetterReader, LetterFilters, LetterSelection, ListedLetter
from headrace.ops.topic_reader import TopicReader
from headrace.up.environment import connection_settings
from streams.kafka.record_auth import RecordAuth
from streams.publisher import Publisher
from streams.settings import Settings

_CLIENT_ID = "headrace-dlq"

T = TypeVar("T")

app = typer.Typer(
    name="dlq",
    help="Dead letters: records that could not be processed. Find, read, replay or discard them.",
    no_args_is_help=True,
    epilog="Example: headrace dlq list --summary",
)


@app.command("list", epilog="Example: headrace dlq list --stage llm --since 2h")
@options.with_filters
def list_(
    filters: LetterFilters | None = None,
    limit: options.Limit = options.DEFAULT_LIMIT,
    summary: Annotated[
        bool, typer.Option("--summary", help="Only count them, by stage and exception.")
    ] = False,
    data_dir: console.DataDir = console.DEFAULT_DATA_DIR,
    as_json: console.AsJson = False,
) -> None:
    """List dead letters and their state, oldest first."""
    settings = connection_settings(data_dir)
    selection = _run(settings, lambda letters, _: letters.select(filters or options.ALL_OPEN, limit=limit))
    if as_json and summary:
        groups = [rendering.group_document(each) for each in selection.groups()]
        console.print_json({"matched": selection.matched, "summary": groups})
    elif as_json:
        listed = [rendering.letter_document(each) for each in selection.letters()]
        console.print_json({"matched": selection.matched, "letters": listed})
    elif not selection.matched:
        console.progress("no dead letters" if filters is None else "no dead letters match")
    elif summary:
        sys.stdout.write(rendering.groups_table(selection.groups()))
    else:
        sys.stdout.write(rendering.letters_table(selection.letters()))
        _say_what_is_left(selection, limit)


@app.command(epilog="Example: headrace dlq show 2:41")
def show(
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="The dead letter, e.g. 2:41.")],
    raw: Annotated[
        bool, typer.Option("--raw", help="Write the value's bytes to stdout, and nothing else.")
    ] = False,
    data_dir: console.DataDir = console.DEFAULT_DATA_DIR,
    as_json: console.AsJson = False,
) -> None:
    """Show one dead letter: its headers, its value, and what was done with it."""
    wanted = options.letter_ids([letter_id])[0]

    async def read(letters: DeadLetterReader, _: Publisher | None) -> tuple[Any, ...] | None:
        dead = await letters.find(wanted)
        if dead is None:
            return None
        state = (await letters.states(lambda other: other == wanted)).of(wanted)
        return ListedLetter(letter=summary_of(dead), state=state), dead, await letters.history(wanted)

    known = _run(connection_settings(data_dir), read)
    if known is None:
        console.fail(f"there is no dead letter {wanted} (any more)")
        raise typer.Exit(1)
    if raw:
        sys.stdout.buffer.write(known[1].value or b"")
        sys.stdout.buffer.flush()
    elif as_json:
        console.print_json(rendering.page_document(*known))
    else:
        sys.stdout.write(rendering.letter_page(*known))


@app.command(epilog='Example: headrace dlq replay 2:41 --reason "redis is back"')
@options.with_filters
def replay(
    ids: options.Ids = None,
    filters: LetterFilters | None = None,
    limit: options.Limit = options.DEFAULT_LIMIT,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Maximum replays per second.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Include those that were replayed or discarded before.")
    ] = False,
    pay_again: Annotated[
        bool, typer.Option("--pay-again", help="Include requests that were charged: a model is paid again.")
    ] = False,
    reason: options.Reason = "",
    by: options.By = None,
    dry_run: console.DryRun = False,
    yes: console.Yes = False,
    data_dir: console.DataDir = console.DEFAULT_DATA_DIR,
    as_json: console.AsJson = False,
) -> None:
    """Send dead letters to their stage again, with a new deadline.

    Name them by id, or filter. HEADRACE_MAX_REPLAYS limits how often one record is replayed. A record whose
    request was charged, and that would call a model again, is refused with the amount; the others are sent.

    Exit code 1 if one was not replayed.
    """
    named = options.letter_ids(ids or ())
    options.check_choice(named, filters)
    settings = connection_settings(data_dir)

    async def work(letters: DeadLetterReader, publisher: Publisher | None) -> list[ActionResult]:
        ask = not (yes or dry_run)
        chosen = named or await _choose(letters, filters, limit, ask=ask, verb="replay")
        actions = DeadLetterActions(
            letters, publisher, by=options.operator_name(by), reason=options.encodable(reason), rate=rate
        )
        results = actions.replay(chosen, force=force, max_replays=settings.max_replays, pay_again=pay_again)
        return [_told(each, as_json=as_json) async for each in results]

    _finish(_run(settings, work, dry_run=dry_run), as_json=as_json)


@app.command(epilog='Example: headrace dlq discard 2:41 --reason "the sender is fixed"')
@options.with_filters
def discard(
    reason: options.Reason,
    ids: options.Ids = None,
    filters: LetterFilters | None = None,
    limit: options.Limit = options.DEFAULT_LIMIT,
    by: options.By = None,
    dry_run: console.DryRun = False,
    yes: console.Yes = False,
    data_dir: console.DataDir = console.DEFAULT_DATA_DIR,
    as_json: console.AsJson = False,
) -> None:
    """Record that dead letters need nothing more. The records stay until they expire.

    Name them by id, or filter. Exit code 1 if one was not discarded.
    """
    named = options.letter_ids(ids or ())
    options.check_choice(named, filters)
    if not reason.strip():
        raise typer.BadParameter("say why, for whoever reads the audit trail", param_hint="--reason")

    async def work(letters: DeadLetterReader, publisher: Publisher | None) -> list[ActionResult]:
        ask = not (yes or dry_run)
        chosen = named or await _choose(letters, filters, limit, ask=ask, verb="discard")
        actions = DeadLetterActions(
            letters, publisher, by=options.operator_name(by), reason=options.encodable(reason)
        )
        return [_told(each, as_json=as_json) async for each in actions.discard(chosen)]

    _finish(_run(connection_settings(data_dir), work, dry_run=dry_run), as_json=as_json)


def _run(
    settings: Settings,
    work: Callable[[DeadLetterReader, Publisher | None], Awaitable[T]],
    *,
    dry_run: bool = True,
) -> T:
    """Connect for the work; without a publisher where it is a dry run."""
    auth = RecordAuth.from_settings(settings)
    address, timeout_s = settings.kafka_bootstrap, settings.kafka_timeout_s

    async def connected() -> T:
        async with TopicReader(address, client_id=_CLIENT_ID, timeout_s=timeout_s) as topics:
            letters = DeadLetterReader(topics, auth)
            if dry_run:
                return await work(letters, None)
            async with Publisher(address, client_id=_CLIENT_ID, timeout_s=timeout_s, auth=auth) as publisher:
                return await work(letters, publisher)

    return asyncio.run(connected())


async def _choose(
    letters: DeadLetterReader, filters: LetterFilters | None, limit: int, *, ask: bool, verb: str
) -> Sequence[LetterId]:
    """Return the letters that match. Where they are several, ask first."""
    selection = await letters.select(filters or options.ALL_OPEN, limit=limit)
    chosen = [each.letter.letter_id for each in selection.letters()]
    _say_what_is_left(selection, limit)
    if ask and len(chosen) > 1:
        console.confirm(
            f"{verb} {len(chosen)} dead letters?",
            details=rendering.groups_table(selection.groups()),
            unattended=f"{len(chosen)} dead letters match: add --yes to {verb} them, or --dry-run to see",
        )
    return chosen


def _told(result: ActionResult, *, as_json: bool) -> ActionResult:
    if not as_json:
        style = None if result.outcome.good else "red"
        console.out.print(rendering.result_line(result), markup=False, emoji=False, style=style)
    return result


def _finish(results: Sequence[ActionResult], *, as_json: bool) -> None:
    if as_json:
        console.print_json({"results": [rendering.result_document(each) for each in results]})
    elif not results:
        console.progress("no dead letters match")
    if not all(each.outcome.good for each in results):
        raise typer.Exit(1)


def _say_what_is_left(selection: LetterSelection, limit: int) -> None:
    if selection.matched > limit:
        console.progress(f"{selection.matched - limit} older ones match too; --limit takes more")
