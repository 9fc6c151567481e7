"""A query of the catalogue as a Grafana panel sends it: time macros and a variable in place of parameters."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from analytics.reports.query import Query, QueryParameter
from streams.errors import ConfigurationError

#: What stands for the parameters that every query has. The macros are those of Grafana's ClickHouse plugin;
#: `sqlstring` is Grafana's own quoting.
STANDARD: Mapping[str, str] = {
    "since": "toDateTime64($__fromTime_ms, 6, 'UTC')",
    "until": "toDateTime64($__toTime_ms, 6, 'UTC')",
    "tenant": "${tenant:sqlstring}",
}

_PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*):[^{}]+\}")
_NUMBER = re.compile(r"(U?Int|Float)\d+")


def grafana_sql(query: Query, given: Mapping[str, str] | None = None) -> str:
    """Return a query's statement for a panel.

    Args:
        query: the query.
        given: values of further parameters, as a user would type them; the others have their defaults.

    Raises:
        ConfigurationError: a parameter has neither value nor default, or no form that fits into a panel.
    """
    values = dict(given or {})
    parameters = {parameter.name: parameter for parameter in query.parameters}
    literals = {
        name: STANDARD[name] if name in STANDARD else _literal(query, parameter, values.pop(name, None))
        for name, parameter in parameters.items()
    }
    if values:
        raise ConfigurationError(f"the query {query.name} has no parameter {', '.join(sorted(values))}")
    return _PLACEHOLDER.sub(lambda match: literals[match[1]], query.sql)


def _literal(query: Query, parameter: QueryParameter, given: str | None) -> str:
    text = given if given is not None else parameter.default
    if text is None:
        raise ConfigurationError(f"a panel of {query.name} needs a value for {parameter.name}")
    value = parameter.value(text, datetime.now(UTC))
    if _NUMBER.fullmatch(parameter.type):
        return str(value)
    if parameter.type == "String":
        quoted = str(value).replace("\\", "\\\\").replace("'", "\\'")
        return f"'{quoted}'"
    raise ConfigurationError(f"a panel cannot hold {parameter.name} of {query.name}, a {parameter.type}")
