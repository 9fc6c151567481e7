"""`headrace apply` and `headrace control …`: what may change while Headrace runs."""

import asyncio
import getpass
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer

from headrace.cli import console
from headrace.up.environment import connection_settings
from streams.control.document import MAX_BYTES, document_schema, read_document
from streams.control.specs import KINDS, ControlId, InvalidControl
from streams.control.state import described
from streams.control.writer import Changes, ControlWriter
from streams.errors import HeadraceError
from streams.events import ControlRecord

T = TypeVar("T")

app = typer.Typer()
records = typer.Typer(
    name="control",
    help="Control records: limits, keys and whatever else may change while Headrace runs.",
    no_args_is_help=True,
)
app.add_typer(records)

Kind = Annotated[str, typer.Argument(metavar="KIND", help=f"One of: {', '.join(KINDS)}.")]
RecordName = Annotated[str, typer.Argument(metavar="NAME", help="The record's name.")]
Reason = Annotated[str, typer.Option(help="Why, for whoever reads the history.")]
Author = Annotated[str | None, typer.Option("--by", help="Who does it. Default: the user of this machine.")]


@app.command(epilog="Example: headrace apply -f headrace.yaml --dry-run")
def apply(
    file: Annotated[Path, typer.Option("--file", "-f", help="The file, or - for standard input.")],
    reason: Reason = "",
    by: Author = None,
    dry_run: console.DryRun = False,
    data_dir: console.DataDir = console.DEFAULT_DATA_DIR,
    as_json: console.AsJson = False,
) -> None:
    """Make the control records say what a file says: all of it, or nothing where one is wrong.

    What the file does not name stays as it is; what is null is taken away. It is live within two seconds.
    """
    changes = _checked(lambda: read_document(_text(file), name=str(file)))
    _change(changes, by, reason, data_dir, dry_run=dry_run, as_json=as_json)


@records.command("list", epilog="Example: headrace control list limit")
def list_(
    kind: Annotated[str | None, typer.Argument(metavar="KIND", help="Only of this kind.")] = None,
    data_dir: console.DataDir = console.DEFAULT_DATA_DIR,
    as_json: console.AsJson = False,
) -> None:
    """List the records that hold. Those that come with Headrace have version 0."""
    state = with_writer(data_dir, lambda it: it.state())
    listed = [each for each in state.listed() if kind in (None, each["kind"])]
    if as_json:
        console.print_json({"records": listed})
    for each in () if as_json else listed:
        said = msgspec.json.encode(each["spec"]).decode()
        console.out.print(f"{each['kind']:8} {each['name']:28} v{each['version']:<4} {said}", markup=False)


@records.command(epilog="Example: headrace control get limit free")
def get(kind: Kind, name: RecordName, data_dir: console.DataDir = console.DEFAULT_DATA_DIR) -> None:
    """Print a record as it holds, as JSON. Exit code 1: there is none."""
    of = ControlId(kind, name)
    found, _ = with_writer(data_dir, lambda it: it.look(of))
    if found is None:
        console.fail(f"there is no record {of}")
        raise typer.Exit(1)
    console.print_json(found)


@records.command(
    "set", epilog="""Example: headrace control set limit free '{"per_user": {"requests_per_minute": 20}}'"""
)
def set_(
    kind: Kind,
    name: RecordName,
    spec: Annotated[str, typer.Argument(metavar="JSON", help="What it says.")],
    reason: Reason = "",
    by: Author = None,
    dry_run: console.DryRun = False,
    data_dir: console.DataDir = console.DEFAULT_DATA_DIR,
    as_json: console.AsJson = False,
) -> None:
    """Set a record. It is live within two seconds."""
    try:
        said = msgspec.json.decode(spec, type=dict[str, Any])
    except msgspec.DecodeError as fault:
        raise typer.BadParameter(f"no JSON object: {fault}", param_hint="JSON") from fault
    _change({ControlId(kind, name): said}, by, reason, data_dir, dry_run=dry_run, as_json=as_json)


@records.command(epilog="Example: headrace control remove limit trial")
def remove(
    kind: Kind,
    name: RecordName,
    reason: Reason = "",
    by: Author = None,
    data_dir: console.DataDir = console.DEFAULT_DATA_DIR,
    as_json: console.AsJson = False,
) -> None:
    """Take a record away. What comes with Headrace under this name holds again."""
    _change({ControlId(kind, name): None}, by, reason, data_dir, as_json=as_json)


@records.command(epilog="Example: headrace control history limit free")
def history(
    kind: Kind,
    name: RecordName,
    data_dir: console.DataDir = console.DEFAULT_DATA_DIR,
    as_json: console.AsJson = False,
) -> None:
    """Show every version of a record, the oldest first: who, when, why, and what it said."""
    of = ControlId(kind, name)
    versions = with_writer(data_dir, lambda it: it.history(of))
    if as_json:
        console.print_json({"history": [described(each) for each in versions]})
        return
    for each in versions:
        why = f" ({each.reason})" if each.reason else ""
        line = f"v{each.version} {each.at:%Y-%m-%d %H:%M:%S} {each.author}{why}: {_said(each)}"
        console.out.print(line, markup=False)


@records.command(epilog="Example: headrace control rollback limit free")
def rollback(
    kind: Kind,
    name: RecordName,
    reason: Reason = "",
    by: Author = None,
    data_dir: console.DataDir = console.DEFAULT_DATA_DIR,
    as_json: console.AsJson = False,
) -> None:
    """Say again what the version before the last one said. It is live within two seconds."""
    of = ControlId(kind, name)
    _report(
        with_writer(data_dir, lambda it: it.roll_back(of, author=author(by), reason=reason)),
        as_json=as_json,
    )


@records.command("sign-again", epilog="Example: headrace control sign-again")
def sign_again(data_dir: console.DataDir = console.DEFAULT_DATA_DIR) -> None:
    """Sign every version with the first of HEADRACE_RECORD_KEYS, before an old key is taken away."""
    versions = with_writer(data_dir, lambda it: it.sign_again())
    console.progress(f"{versions} versions are signed with the present key")


@records.command(epilog="Example: headrace control schema > headrace.schema.json")
def schema() -> None:
    """Print the JSON Schema of headrace.yaml, for editors."""
    console.print_json(document_schema())


def with_writer(data_dir: Path, work: Callable[[ControlWriter], Awaitable[T]]) -> T:
    """Return what `work` returns of the Headrace that is meant; a wrong record ends the command."""
    settings = connection_settings(data_dir)

    async def run() -> T:
        async with ControlWriter.of(settings, client_id="headrace-control") as writer:
            return await work(writer)

    return _checked(lambda: asyncio.run(run()))


def author(given: str | None) -> str:
    """Return who does it."""
    return given or getpass.getuser()


def _checked(work: Callable[[], T]) -> T:
    try:
        return work()
    except InvalidControl as fault:
        raise HeadraceError(fault.message) from fault


def _text(file: Path) -> bytes:
    try:
        with sys.stdin.buffer if str(file) == "-" else file.open("rb") as source:
            return source.read(MAX_BYTES + 1)
    except OSError as fault:
        raise HeadraceError(f"cannot read {file}: {fault.strerror}") from fault


def _said(record: ControlRecord) -> str:
    return "taken away" if record.spec is None else msgspec.json.encode(record.spec).decode()


def _change(
    changes: Changes, by: str | None, reason: str, data_dir: Path, *, dry_run: bool = False, as_json: bool
) -> None:
    new = with_writer(
        data_dir, lambda it: it.change(changes, author=author(by), reason=reason, dry_run=dry_run)
    )
    _report(new, dry_run=dry_run, as_json=as_json)


def _report(new: Sequence[ControlRecord], *, dry_run: bool = False, as_json: bool) -> None:
    if as_json:
        changed = [described(each) for each in new]
        console.print_json({"changed": changed, "written": bool(new) and not dry_run})
        return
    for each in new:
        console.out.print(f"{each.kind} {each.name} v{each.version}: {_said(each)}", markup=False)
    if not new:
        console.progress("nothing to change")
    elif dry_run:
        console.progress("nothing was written: this was a dry run")
