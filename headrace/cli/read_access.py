"""A connection to ClickHouse that cannot write, for commands that hand on what analysts ask."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import clickhouse_connect
import msgspec
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from pydantic_settings import BaseSettings

from headrace.up.home import Home, NotRunning
from streams.errors import ClickHouseUnavailable, ConfigurationError, HeadraceError
from streams.settings import Settings

_CONNECT_TIMEOUT_S = 5


class QueryFailed(HeadraceError):
    """ClickHouse refused a statement, or gave up on it."""


class _Named(BaseSettings):
    """What the environment (or `.env`) says of ClickHouse: nothing else is needed to read."""

    model_config = Settings.model_config

    clickhouse_url: str | None = None
    clickhouse_reader_url: str | None = None
    clickhouse_database: str = "headrace"


class ReadAccess(msgspec.Struct, frozen=True, kw_only=True):
    """Where ClickHouse is, and as whom to read it."""

    url: str
    database: str


def read_access(data_dir: Path) -> ReadAccess:
    """Return the ClickHouse that is meant: the environment's, or that of a running `headrace up`.

    `HEADRACE_CLICKHOUSE_READER_URL`, the address with a user who may only read, goes before
    `HEADRACE_CLICKHOUSE_URL`.

    Args:
        data_dir: the folder of a `headrace up`.

    Raises:
        ConfigurationError: neither says where ClickHouse is.
    """
    named = _Named()
    url = named.clickhouse_reader_url or named.clickhouse_url
    if url is None:
        try:
            endpoints = Home(data_dir).endpoints()
            url = endpoints.clickhouse_reader or endpoints.clickhouse
        except (NotRunning, OSError, msgspec.MsgspecError) as fault:
            raise ConfigurationError(
                f"where is ClickHouse? {fault}; or name the folder of a running `headrace up` with "
                "--data-dir; or set HEADRACE_CLICKHOUSE_READER_URL or HEADRACE_CLICKHOUSE_URL"
            ) from fault
    return ReadAccess(url=url, database=named.clickhouse_database)


@contextmanager
def reading(access: ReadAccess, *, timeout_s: float) -> Iterator[Client]:
    """Connect for the block; whoever the user is, nothing can be written through the connection.

    Args:
        access: where, and as whom.
        timeout_s: what one statement may take, in seconds.

    Raises:
        ClickHouseUnavailable: nobody answers.
        QueryFailed: a statement failed in the block.
    """
    where = access.url.rpartition("@")[2]  # without the password
    try:
        client = clickhouse_connect.get_client(
            dsn=access.url,
            database=access.database,
            connect_timeout=_CONNECT_TIMEOUT_S,
            send_receive_timeout=max(1, round(timeout_s)),
            autogenerate_session_id=False,
        )
    except (ClickHouseError, OSError) as fault:
        raise ClickHouseUnavailable(f"ClickHouse at {where}: {fault}") from fault
    try:
        _forbid_writing(client)
        yield client
    except ClickHouseError as fault:
        raise QueryFailed(_first_line(fault)) from fault
    except OSError as fault:
        raise ClickHouseUnavailable(f"ClickHouse at {where}: {fault}") from fault
    finally:
        client.close()


def _forbid_writing(client: Client) -> None:
    """Make every statement a read-only one; a user who may only read is so already, and may not say so."""
    [(readonly,)] = client.query("SELECT toUInt8(getSetting('readonly'))").result_rows
    if not readonly:
        client.set_client_setting("readonly", "1")


def _first_line(fault: Exception) -> str:
    """Return what ClickHouse says, without the stack of its own that may follow."""
    return str(fault).strip().splitlines()[0] if str(fault).strip() else repr(fault)
