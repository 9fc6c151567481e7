"""A connection to ClickHouse that cannot write, for commands that pass on what analysts ask."""

from collections.abc import Iterator
from contextlib import contextmanager

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from streams.errors import ClickHouseUnavailable, HeadraceError

_CONNECT_TIMEOUT_S = 5


class QueryFailed(HeadraceError):
    """ClickHouse refused a statement, or gave up on it."""


@contextmanager
def read_only_client(url: str, database: str, *, timeout_s: float) -> Iterator[Client]:
    """Connect for the block. Whoever the user is, nothing can be written through the connection.

    Raises:
        ClickHouseUnavailable: nobody answers.
        QueryFailed: a statement failed in the block.
    """
    where = url.rpartition("@")[2]  # without the password
    try:
        client = clickhouse_connect.get_client(
            dsn=url,
            database=database,
            connect_timeout=_CONNECT_TIMEOUT_S,
            send_receive_timeout=max(1, round(timeout_s)),
            autogenerate_session_id=False,
        )
    except (ClickHouseError, OSError) as fault:
        raise ClickHouseUnavailable(f"ClickHouse at {where}: {fault}") from fault
    try:
        # A user who may only read is read-only already, and may not set it.
        [(readonly,)] = client.query("SELECT toUInt8(getSetting('readonly'))").result_rows
        if not readonly:
            client.set_client_setting("readonly", "1")
        yield client
    except ClickHouseError as fault:
        # The first line is what ClickHouse says; a stack of its own may follow.
        raise QueryFailed(next(iter(str(fault).strip().splitlines()), repr(fault))) from fault
    except OSError as fault:
        raise ClickHouseUnavailable(f"ClickHouse at {where}: {fault}") from fault
    finally:
        client.close()
