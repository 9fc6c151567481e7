"""`headrace limits …`: what a key may do, and what of it is in use."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Annotated

import msgspec
import typer

from headrace.cli import console
from headrace.up.environment import connection_settings
from ingest.limits.address import client_address
from streams.control.specs import LimitSpec
from streams.control.state import ControlState
from streams.control.writer import ControlWriter
from streams.errors import ConfigurationError, HeadraceError
from streams.limits.limiter import RateLimiter, Standing
from streams.limits.subjects import LimitKind, Requester, subjects_of
from streams.redis.connection import connect
from streams.serving.api_keys import DEFAULT_USER, ApiKeys, Caller
from streams.settings import Settings

_CLIENT_ID = "headrace-limits"
_UNREACHABLE = 2

app = typer.Typer(name="limits", help="Rate limits: what a key may do, and what it has used.")


class LimitReading(msgspec.Struct, frozen=True, kw_only=True):
    """One limit, and how much of it is in use."""

    scope: str
    subject: str
    limit: LimitKind
    size: int
    used: int
    remaining: int


class KeyReading(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of a key; none where its tier limits nothing, or has no record (`has_record`)."""

    key: str
    tenant: str
    tier: str
    has_record: bool
    limits: tuple[LimitReading, ...]


@app.callback()
def limits() -> None:
    """Rate limits: what a key may do, and what it has used."""


@app.command("test", epilog="Example: headrace limits test key_3f2a91c07b55 --user ada")
def show(
    key: Annotated[
        str,
        typer.Argument(
            metavar="KEY", help="The id of an API key, or - to read an id or a key from standard input."
        ),
    ],
    user: Annotated[
        str | None, typer.Option(help="Whose requests. Default: the key's user, or who names none.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="A client's address, to see its limits too.")] = None,
    data_dir: console.DataDir = console.DEFAULT_DATA_DIR,
    as_json: console.AsJson = False,
) -> None:
    """Show the limits of an API key: their sizes, what the last minute has counted, and what remains.

    It counts nothing itself. Exit code 2: the key is unknown, or a part does not answer.
    """
    given = sys.stdin.readline().strip() if key == "-" else key
    at = _address(address)
    try:
        found = asyncio.run(_read(connection_settings(data_dir), given, user, at))
    except HeadraceError as fault:
        console.fail(str(fault))
        raise typer.Exit(_UNREACHABLE) from fault
    if as_json:
        console.print_json(found)
        return
    for line in _lines(found):
        console.out.print(line, markup=False)


def _address(text: str | None) -> IPv4Address | IPv6Address | None:
    try:
        return None if text is None else ip_address(text)
    except ValueError as fault:
        raise typer.BadParameter(f"{text!r} is no IP address", param_hint="--address") from fault


async def _read(
    settings: Settings, key: str, user: str | None, address: IPv4Address | IPv6Address | None
) -> KeyReading:
    async with AsyncExitStack() as stack:
        control = await stack.enter_async_context(ControlWriter.of(settings, client_id=_CLIENT_ID))
        state = await control.state()
        caller = _owner(settings, state, key)
        redis = connect(settings.redis_url, timeout_s=settings.redis_timeout_s)
        stack.push_async_callback(redis.aclose)
        spec = state.specs(LimitSpec).get(caller.tier)
        who = Requester(
            key=caller.key,
            tenant=caller.tenant,
            tier=caller.tier,
            user=user or caller.user or DEFAULT_USER,
            address=None if address is None else client_address(str(address), (), ()),
        )
        subjects = subjects_of(spec or LimitSpec(), who)
        standings = await RateLimiter(redis).look(subjects) if subjects else ()
    return KeyReading(
        key=caller.key,
        tenant=caller.tenant,
        tier=caller.tier,
        has_record=spec is not None,
        limits=tuple(reading for each in standings for reading in _readings(each)),
    )


def _owner(settings: Settings, state: ControlState, key: str) -> Caller:
    keys = ApiKeys.of(settings)
    keys.follow(state)
    found = keys.named(key)
    if found is None:
        found = keys.caller(key)  # raises for a key that is unknown
    if not found.key:
        raise ConfigurationError("HEADRACE_ADMIN_KEY sends no requests, so that nothing limits it")
    return found


def _readings(standing: Standing) -> Iterator[LimitReading]:
    for kind in LimitKind:
        size, remaining = kind.of(standing.subject.bounds), standing.remaining(kind)
        if size is not None and remaining is not None:
            yield LimitReading(
                scope=standing.subject.scope,
                subject=standing.subject.name,
                limit=kind,
                size=size,
                used=standing.used(kind),
                remaining=remaining,
            )


def _lines(found: KeyReading) -> Iterator[str]:
    yield f"key {found.key}: tenant {found.tenant}, tier {found.tier}"
    if not found.has_record:
        yield f"there is no record limits.{found.tier}: nothing limits this key"
    elif not found.limits:
        yield f"limits.{found.tier} limits nothing here"
    for each in found.limits:
        unit = "at a time" if each.limit is LimitKind.CONCURRENT else "a minute"
        what = "requests" if each.limit is LimitKind.CONCURRENT else each.limit
        yield (
            f"{each.scope} {each.subject}: {each.size:,} {what} {unit}; "
            f"{each.used:,} in use, {each.remaining:,} left"
        )
