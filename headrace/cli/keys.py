"""`headrace keys …`: API keys. Only their digests are stored, as control records of the kind `key`."""

from datetime import UTC, datetime
from typing import Annotated, Any, get_args

import msgspec
import typer

from headrace.cli import console
from headrace.cli.control import Author, Reason, author, with_writer
from streams.control.specs import ControlId, KeySpec, Scope
from streams.control.writer import ControlWriter
from streams.errors import HeadraceError
from streams.serving.api_keys import digest_of_key, new_key

_KIND = "key"

app = typer.Typer(name="keys", help="API keys: make, list, replace and revoke them.", no_args_is_help=True)

KeyId = Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `headrace keys list` shows it.")]


@app.command(epilog="Example: headrace keys create --tenant acme --tier free --user ann")
def create(
    tenant: Annotated[str, typer.Option(help="Whose key it is.")],
    user: Annotated[str | None, typer.Option(help="The only user that it speaks for.")] = None,
    tier: Annotated[str, typer.Option(help="Whose limits it has.")] = "standard",
    scope: Annotated[
        list[str] | None, typer.Option(help=f"What it opens, repeatable: {', '.join(get_args(Scope))}.")
    ] = None,
    expires: Annotated[
        datetime | None, typer.Option(help="When it ends (UTC), e.g. 2027-01-31 or 2027-01-31T12:00:00.")
    ] = None,
    reason: Reason = "",
    by: Author = None,
    data_dir: console.DataDir = console.DEFAULT_DATA_DIR,
    as_json: console.AsJson = False,
) -> None:
    """Make a key, and print it: it is stored nowhere, and never shown again.

    It is good within two seconds. Without --scope it opens chat and read.
    """
    key_id, key = new_key()
    spec: dict[str, Any] = {"sha256": digest_of_key(key), "tenant": tenant, "tier": tier}
    spec |= {"user": user} if user is not None else {}
    spec |= {"scopes": scope} if scope else {}
    spec |= {"expires_at": expires.replace(tzinfo=UTC).isoformat()} if expires is not None else {}
    changes = {ControlId(_KIND, key_id): spec}
    with_writer(data_dir, lambda it: it.change(changes, author=author(by), reason=reason))
    _show(key_id, key, as_json=as_json)


@app.command("list", epilog="Example: headrace keys list --tenant acme")
def list_(
    tenant: Annotated[str | None, typer.Option(help="Only keys of this tenant.")] = None,
    data_dir: console.DataDir = console.DEFAULT_DATA_DIR,
    as_json: console.AsJson = False,
) -> None:
    """List the keys, without what they are: nobody knows that but their owners."""
    state = with_writer(data_dir, lambda it: it.state())
    found = [
        {"id": name, "created_at": state.records[ControlId(_KIND, name)].at, **_described(spec)}
        for name, spec in sorted(state.specs(KeySpec).items())
        if tenant in (None, spec.tenant)
    ]
    if as_json:
        console.print_json({"keys": found})
        return
    for each in found:
        rest = " ".join(f"{name}={said}" for name, said in each.items() if name != "id" and said is not None)
        console.out.print(f"{each['id']} {rest}", markup=False)
    if not found:
        console.progress("no keys; those of the settings are not listed")


@app.command(epilog="Example: headrace keys rotate key_0123456789ab")
def rotate(
    key_id: KeyId,
    reason: Reason = "",
    by: Author = None,
    data_dir: console.DataDir = console.DEFAULT_DATA_DIR,
    as_json: console.AsJson = False,
) -> None:
    """Replace a key by a new one under the same id; the old one stops within two seconds."""
    _, key = new_key()

    async def replace(writer: ControlWriter) -> None:
        of, state = ControlId(_KIND, key_id), await writer.state()
        spec = state.specs(KeySpec).get(key_id)
        if spec is None:
            raise HeadraceError(f"there is no key {key_id}: `headrace keys list` shows them")
        new = msgspec.structs.replace(spec, sha256=digest_of_key(key))
        await writer.change(
            {of: msgspec.to_builtins(new)},
            author=author(by),
            reason=reason or "rotated",
            expected={of: state.records[of].version},
        )

    with_writer(data_dir, replace)
    _show(key_id, key, as_json=as_json)


@app.command(epilog="Example: headrace keys revoke key_0123456789ab --reason leaked")
def revoke(
    key_id: KeyId,
    reason: Reason = "",
    by: Author = None,
    data_dir: console.DataDir = console.DEFAULT_DATA_DIR,
) -> None:
    """Take a key away. It stops within two seconds, on every replica."""
    changes = {ControlId(_KIND, key_id): None}
    if not with_writer(data_dir, lambda it: it.change(changes, author=author(by), reason=reason)):
        raise HeadraceError(f"there is no key {key_id}: `headrace keys list` shows them")
    console.progress(f"{key_id} is revoked")


def _described(spec: KeySpec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in ("tenant", "user", "tier", "scopes", "expires_at")}


def _show(key_id: str, key: str, *, as_json: bool) -> None:
    if as_json:
        console.print_json({"id": key_id, "key": key})
        return
    console.out.print(key, markup=False)
    console.progress(f"{key_id}: keep the key now, it is not shown again")
