"""Options of `headrace dlq`, and what they mean together."""

import getpass
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, Literal

import typer

from headrace.cli.console import time_option
from headrace.ops.dlq.letters import LetterId, LetterStatus
from headrace.ops.dlq.reader import LetterFilters
from streams.errors import InputError

ALL_OPEN = LetterFilters(status=LetterStatus.OPEN)
DEFAULT_LIMIT = 100
_MAX_LIMIT = 100_000

Ids = Annotated[
    list[str] | None, typer.Argument(metavar="ID", help="Dead letters, e.g. 2:41 (partition:offset).")
]
Limit = Annotated[
    int, typer.Option(min=1, max=_MAX_LIMIT, help="Maximum number of dead letters, newest first.")
]
Reason = Annotated[str, typer.Option(help="Why, for the audit trail.")]
By = Annotated[str | None, typer.Option(help="Who does it, for the audit trail. Default: the OS user.")]


#: The options by which letters are chosen: `state`, and fields of `LetterFilters`.
_FILTERS: Mapping[str, Any] = {
    "state": Annotated[
        Literal["open", "replayed", "discarded", "all"] | None,
        typer.Option("--state", help="The state. Default: open."),
    ],
    "stage": Annotated[str | None, typer.Option(help="The stage in which the record died.")],
    "exception": Annotated[str | None, typer.Option(help="The fault, e.g. UndecodableRecord.")],
    "topic": Annotated[str | None, typer.Option(help="The topic on which the record died.")],
    "request_id": Annotated[str | None, typer.Option(help="The request that it belongs to.")],
    "tenant": Annotated[str | None, typer.Option(help="The request's tenant, where the record can be read.")],
    "since": Annotated[
        datetime | None, time_option(help="Died at or after: 30m, 2h, 7d ago, or an ISO time (UTC).")
    ],
    "until": Annotated[datetime | None, time_option(help="Died before; the same form as --since.")],
}


def _filters_of(state: str | None, **named: Any) -> LetterFilters | None:
    if state is None and not any(named.values()):
        return None
    return LetterFilters(status=None if state == "all" else LetterStatus(state or "open"), **named)


def with_filters(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `_FILTERS`, and what they choose as its parameter `filters`."""
    own = [each for each in signature(command, eval_str=True).parameters.values() if each.name != "filters"]
    kind = Parameter.KEYWORD_ONLY
    options = [Parameter(name, kind, default=None, annotation=each) for name, each in _FILTERS.items()]

    @wraps(command)
    def run(**given: Any) -> None:
        command(filters=_filters_of(**{name: given.pop(name) for name in _FILTERS}), **given)

    parameters = [*options, *(each.replace(kind=kind) for each in own)]
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def check_choice(ids: Sequence[LetterId], filters: LetterFilters | None) -> None:
    """Refuse ids with filters, and neither: all open letters have to be asked for explicitly."""
    if ids and filters:
        raise typer.BadParameter("name dead letters by id, or filter them: not both")
    if not ids and not filters:
        raise typer.BadParameter("which ones? Name ids, or filter; `--state open` means all that are open")


def letter_ids(texts: Sequence[str]) -> Sequence[LetterId]:
    """Return the ids that texts name. Raises `typer.BadParameter`."""
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
