"""Options of `headrace dlq`, and what they mean together."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from headrace.cli.options import parse_time_option
from headrace.ops.dlq.filters import LetterFilters
from headrace.ops.dlq.letters import LetterId
from headrace.ops.dlq.states import LetterStatus
from streams.errors import InputError

DEFAULT_LIMIT = 100
_MAX_LIMIT = 100_000

Ids = Annotated[
    list[str] | None, typer.Argument(metavar="ID", help="Dead letters, e.g. 2:41 (partition:offset).")
]
StateOption = Annotated[
    str | None, typer.Option("--state", help="open (the default), replayed, discarded, or all.")
]
Stage = Annotated[str | None, typer.Option(help="The stage it died in.")]
ExceptionName = Annotated[str | None, typer.Option("--exception", help="The fault, e.g. UndecodableRecord.")]
TopicName = Annotated[str | None, typer.Option("--topic", help="The topic it died on.")]
RequestId = Annotated[str | None, typer.Option(help="The request it belongs to.")]
Tenant = Annotated[str | None, typer.Option(help="Whose request it is, where the record can be read.")]
Since = Annotated[str | None, typer.Option(help="Died at or after: 30m, 2h, 7d ago, or an ISO time (UTC).")]
Until = Annotated[str | None, typer.Option(help="Died before: as --since.")]
Limit = Annotated[int, typer.Option(min=1, max=_MAX_LIMIT, help="At most so many; the newest are taken.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
By = Annotated[str | None, typer.Option(help="Who does it, for the audit trail. Default: the OS user.")]


def filters_of(
    state: str | None,
    stage: str | None,
    exception: str | None,
    topic: str | None,
    request_id: str | None,
    tenant: str | None,
    since: str | None,
    until: str | None,
) -> LetterFilters:
    """Return the filters that options name; without a state, what is open.

    Raises:
        typer.BadParameter: an option says what it cannot.
    """
    now = datetime.now(UTC)
    state = state or LetterStatus.OPEN.value
    if state not in ("all", *LetterStatus):
        raise typer.BadParameter("is one of open, replayed, discarded, all", param_hint="--state")
    return LetterFilters(
        status=None if state == "all" else LetterStatus(state),
        stage=stage,
        exception=exception,
        topic=topic,
        request_id=request_id,
        tenant=tenant,
        since=None if since is None else parse_time_option(since, "--since", now=now),
        until=None if until is None else parse_time_option(until, "--until", now=now),
    )


def is_default(filters: LetterFilters) -> bool:
    """Whether no filter was given."""
    return filters == LetterFilters(status=LetterStatus.OPEN)


def check_choice(places: Sequence[LetterId], filters: LetterFilters, state: str | None) -> None:
    """Refuse what is unclear: everything that is open must be asked for in so many words.

    Raises:
        typer.BadParameter: ids and filters are both given, or neither.
    """
    filtered = state is not None or not is_default(filters)
    if places and filtered:
        raise typer.BadParameter("name dead letters by id, or filter them: not both")
    if not places and not filtered:
        raise typer.BadParameter("which ones? Name ids, or filter; `--state open` means all that are open")


def places_of(ids: Sequence[str]) -> Sequence[LetterId]:
    """Return the places that ids name.

    Raises:
        typer.BadParameter: one is no id.
    """
    try:
        return [LetterId.parse(each) for each in ids]
    except InputError as fault:
        raise typer.BadParameter(fault.message) from fault
