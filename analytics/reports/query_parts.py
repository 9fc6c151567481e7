"""Parts of queries: what several queries of the catalogue begin with, written once.

A part is a file `query_parts/NAME.sql`: a leading comment with a description and parameters, and what stands
in a ``WITH`` clause. A query names the parts that it needs (``-- part: NAME``), in the order in which they
build on each other, and takes over their parameters and their descriptions. What ClickHouse is asked, and
what the documentation shows, is the whole statement.
"""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable

import msgspec

from analytics.reports import query_comment
from analytics.reports.query_parameters import QueryParameter
from streams.errors import ConfigurationError

_KEYS = frozenset({"description", "parameter"})
_WITH = "WITH\n"


class QueryPart(msgspec.Struct, frozen=True, kw_only=True):
    """What a part says of itself, the parameters that its SQL uses besides the standard ones, and the SQL."""

    description: str
    parameters: tuple[QueryParameter, ...]
    sql: str


def load_parts(folder: Traversable | None = None) -> Mapping[str, QueryPart]:
    """Return the parts of a folder by name; Headrace's own by default.

    Raises:
        ConfigurationError: a file is not in the format.
    """
    source = folder if folder is not None else files("analytics.reports") / "query_parts"
    return {
        file.name.removesuffix(".sql"): _parse(file.name, file.read_text("utf-8"))
        for file in source.iterdir()
        if file.name.endswith(".sql")
    }


def joined(sql: str, parts: Sequence[QueryPart]) -> str:
    """Return a statement that begins with the parts' SQL, in this order."""
    if not parts:
        return sql
    clauses = [part.sql for part in parts]
    if sql.startswith(_WITH):  # its own clauses may build on those of the parts
        return _WITH + ",\n".join([*clauses, sql.removeprefix(_WITH)])
    return _WITH + ",\n".join(clauses) + "\n" + sql


def _parse(file: str, text: str) -> QueryPart:
    try:
        fields, sql = query_comment.split(text, _KEYS)
        return QueryPart(
            description=query_comment.only(fields, "description"),
            parameters=tuple(query_comment.parameters(fields)),
            sql=sql,
        )
    except ValueError as fault:
        raise ConfigurationError(f"analytics/reports/query_parts/{file}: {fault}") from fault
