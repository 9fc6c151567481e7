"""Options of `headrace dlq`, and what they mean together."""

import getpass
import os
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
State = Annotated[str | None, typer.Option("--state", help="open (default), replayed, discarded, or all.")]
Stage = Annotated[str | None, typer.Option(help="The stage in which the record died.")]
ExceptionName = Annotated[str | None, typer.Option("--exception", help="The fault, e.g. UndecodableRecord.")]
TopicName = Annotated[str | None, typer.Option("--topic", help="The topic on which the record died.")]
RequestId = Annotated[str | None, typer.Option(help="The request that it belongs to.")]
Tenant = Annotated[str | None, typer.Option(help="The request's tenant, where the record can be read.")]
Since = Annotated[str | None, typer.Option(help="Died at or after: 30m, 2h, 7d ago, or an ISO time (UTC).")]
Until = Annotated[str | None, typer.Option(help="Died before; the same form as --since.")]
Limit = Annotated[
    int, typer.Option(min=1, max=_MAX_LIMIT, help="Maximum number of dead letters, newest first.")
]
Reason = Annotated[str, typer.Option(help="Why, for the audit trail.")]
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
    """Return the filters that options name. Without a state: open letters.

    Raises:
        typer.BadParameter: an option has no such value.
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


def check_choice(ids: Sequence[LetterId], filters: LetterFilters, state: str | None) -> None:
    """Refuse an unclear choice: all open letters have to be asked for explicitly.

    Raises:
        typer.BadParameter: ids and filters are both given, or neither.
    """
    filtered = state is not None or not is_default(filters)
    if ids and filtered:
        raise typer.BadParameter("name dead letters by id, or filter them: not both")
    if not ids and not filtered:
        raise typer.BadParameter("which ones? Name ids, or filter; `--state open` means all that are open")


def letter_ids(texts: Sequence[str]) -> Sequence[LetterId]:
    """Return the ids that texts name.

    Raises:
        typer.BadParameter: one is no id.
    """
    try:
        return [LetterId.parse(each) for each in texts]
    except InputError as fault:
        raise typer.BadParameter(fault.message) from fault


def operator_name(by: str | None) -> str:
    """Return who acts: what `--by` says, or the OS user."""
    if by:
        return encodable(by)
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return f"uid {os.getuid()}"


def encodable(text: str) -> str:
    """Return an argument as text that can be encoded, whatever bytes were typed."""
    return text.encode("utf-8", "replace").decode()
