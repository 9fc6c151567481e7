"""A query of the catalogue, its parameters with what a text must be to become one, and its result's formats.

A value goes to ClickHouse beside the query (`{name:Type}`), never inside it. `DateTime64` values are handed
over as text in UTC with six decimals, because the client library cuts a `datetime` to whole seconds.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from operator import itemgetter
from typing import Any, Final, NamedTuple

import msgspec

from streams.errors import InputError
from streams.model_catalogue import PRICED_MODELS, ModelPrices
from streams.times import EPOCH, parse_moment, utc

#: The one type of an instant; it says its zone, so that the server's own does not matter.
INSTANT = "DateTime64(6, 'UTC')"
#: (price version, model, service tier, 1 for long prompts, the prices of `streams.model_catalogue.Rates`).
PRICES = f"Array(Tuple(String, String, String, UInt8{', Decimal(18, 9)' * 6}))"

Prices = Iterable[ModelPrices]
SHIPPED_PRICES: Prices = PRICED_MODELS.values()

#: The last day that ClickHouse's `Date` holds: no row is accepted later.
_LAST = datetime(2149, 6, 6, tzinfo=UTC)
#: The longest text; the longest id is 256 characters.
_MAX_TEXT_CHARS = 1_000
_CURRENT = "current"


class UnknownQuery(InputError):
    """There is no query of this name."""


class WrongParameter(InputError):
    """A parameter that the query does not have, or a value that it does not take."""


class QueryParameter(msgspec.Struct, frozen=True, kw_only=True):
    """One parameter of a query.

    `type` is ClickHouse's, `default` as a user would type it (None: it must be given); `low` and `high` bound
    a number, `choices` a text.
    """

    name: str
    type: str
    default: str | None
    doc: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    def value(self, given: object, now: datetime) -> Any:
        """Return what ClickHouse is given, or raise `WrongParameter`."""
        convert, expected = TYPES[self.type]
        try:
            value = convert(given, now)
        except (ArithmeticError, TypeError, ValueError) as fault:
            message = f"{self.name}: {_shown(given)} is not {expected}"
            raise WrongParameter(message, param=self.name) from fault
        if self.choices and value not in self.choices:
            raise WrongParameter(
                f"{self.name} must be one of {', '.join(self.choices)}, not {_shown(given)}", param=self.name
            )
        if self.low is not None and self.high is not None and not self.low <= value <= self.high:
            raise WrongParameter(
                f"{self.name} must be {self.low:g} to {self.high:g}, not {_shown(given)}", param=self.name
            )
        return value


#: What every query takes. A query's own header may give another default.
STANDARD = (
    QueryParameter(
        name="since",
        type=INSTANT,
        default="7d",
        doc="requests accepted at this time or later: a time (UTC where it names no zone), or an age",
    ),
    QueryParameter(name="until", type=INSTANT, default="now", doc="requests accepted before this time"),
    QueryParameter(name="tenant", type="String", default="", doc="requests of this tenant; empty: of all"),
)


def instant(given: object, now: datetime) -> datetime:
    """Return the time that is meant (``now``, an age such as ``7d``, or ISO 8601), or raise `ValueError`.

    A time without a zone is UTC, as all times in the tables are.
    """
    at = utc(given) if isinstance(given, datetime) else parse_moment(str(given), now=now)
    return min(max(at, EPOCH), _LAST)


def _text(given: object, _now: datetime) -> str:
    text = str(given)
    if "\0" in text or len(text) > _MAX_TEXT_CHARS:
        raise ValueError
    return text


def _whole(given: object, _now: datetime) -> int:
    value = given if isinstance(given, int) and not isinstance(given, bool) else int(str(given))
    if not 0 <= value < 1 << 32:
        raise ValueError
    return value


def _real(given: object, _now: datetime) -> float:
    value = float(str(given))
    if not math.isfinite(value):
        raise ValueError
    return value


def _price_rows(models: Prices) -> list[tuple[Any, ...]]:
    return [
        (model.price_version, model.name, tier, int(is_long), *msgspec.structs.astuple(rates))
        for model in models
        for tier, is_long, rates in model.price_list()
    ]


def _shown(given: object) -> str:
    text = repr(given if isinstance(given, str | int | float) else str(given))
    return text if len(text) <= 80 else f"{text[:77]}…"


#: What a parameter may be: how a value is converted, and what a wrong one should have been.
TYPES: Mapping[str, tuple[Callable[[object, datetime], Any], str]] = {
    INSTANT: (
        lambda given, now: f"{instant(given, now):%Y-%m-%d %H:%M:%S.%f}",
        "a time (2026-11-21T08:00Z), an age (90s, 30m, 24h, 7d) or now",
    ),
    "String": (_text, f"a text of at most {_MAX_TEXT_CHARS} characters"),
    "UInt32": (_whole, "a whole number from 0 to 4294967295"),
    "Float64": (_real, "a finite number"),
    # Nobody can hand in prices: `Query.bind` has them. `index` refuses whatever else is given.
    PRICES: (
        lambda given, _now: [_CURRENT].index(str(given)),
        f"the prices that this Headrace knows ({_CURRENT})",
    ),
}


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One column of a result, in the order of the result."""

    name: str
    unit: str
    doc: str


class QueryPart(msgspec.Struct, frozen=True, kw_only=True):
    """What a part says of itself, the parameters that its SQL uses besides the standard ones, and the SQL."""

    description: str
    parameters: tuple[QueryParameter, ...]
    sql: str


class Query(QueryPart, frozen=True, kw_only=True):
    """One query of the catalogue. `since`, `until` and `tenant` come first among its parameters."""

    name: str
    title: str
    group: str
    columns: tuple[Column, ...]

    def bind(
        self, given: Mapping[str, object], *, now: datetime | None = None, prices: Prices = SHIPPED_PRICES
    ) -> "Bound":
        """Return the statement and the values of all its parameters, or raise `WrongParameter`.

        Values may be typed texts or of the right kind; ages count from `now`, by default the present time.
        `prices` are those that calls were booked at, by default the shipped ones.
        """
        names = [parameter.name for parameter in self.parameters]
        for name in given:
            if name not in names:
                raise WrongParameter(
                    f"the query {self.name} has no parameter {name!r}{did_you_mean(name, names)}; it takes "
                    + ", ".join(names),
                    param=name,
                )
        at = now or datetime.now(UTC)
        values = {parameter.name: self._value(parameter, given, at) for parameter in self.parameters}
        values |= {each.name: _price_rows(prices) for each in self.parameters if each.type == PRICES}
        if values["since"] >= values["until"]:  # as text: all of the same length
            raise WrongParameter(
                f"since ({values['since']}) must be earlier than until ({values['until']})", param="since"
            )
        return Bound(sql=self.sql, parameters=values)

    def _value(self, parameter: QueryParameter, given: Mapping[str, object], now: datetime) -> Any:
        value = given.get(parameter.name, parameter.default)
        if value is None:
            raise WrongParameter(
                f"the query {self.name} needs {parameter.name}: {parameter.doc}", param=parameter.name
            )
        return parameter.value(value, now)


class Bound(NamedTuple):
    """A statement with the values of its parameters, ready for `clickhouse-connect`."""

    sql: str
    parameters: dict[str, Any]


def did_you_mean(name: str, names: list[str]) -> str:
    """Return the names that are near a wrong one, in parentheses; empty where there are none."""
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    near += [each for each in names if name and name in each and each not in near][: 3 - len(near)]
    return f" (did you mean {' or '.join(near)}?)" if near else ""


class ResultFormat(msgspec.Struct, frozen=True, kw_only=True):
    """One format."""

    name: str
    media_type: str
    clickhouse: str
    settings: Mapping[str, str]


#: RFC 3339, in UTC.
_ISO_TIMES: Final = {"date_time_output_format": "iso"}

JSON: Final = ResultFormat(
    name="json",
    media_type="application/json",
    clickhouse="JSONEachRow",
    settings={
        **_ISO_TIMES,
        "output_format_json_array_of_rows": "1",
        "output_format_json_quote_decimals": "0",
        "output_format_json_quote_64bit_integers": "0",
        "output_format_json_quote_denormals": "0",  # infinities and NaN are null
    },
)
CSV: Final = ResultFormat(
    name="csv",
    media_type="text/csv; charset=utf-8",
    clickhouse="CSVWithNames",
    settings={**_ISO_TIMES, "format_csv_null_representation": ""},
)
ARROW: Final = ResultFormat(
    name="arrow",
    media_type="application/vnd.apache.arrow.stream",
    clickhouse="ArrowStream",
    # Not every reader of Arrow, JavaScript's for one, can decompress.
    settings={"output_format_arrow_compression_method": "none", "output_format_arrow_string_as_string": "1"},
)
FORMATS: Final = {each.name: each for each in (JSON, CSV, ARROW)}

_QUALITY: Final = re.compile(r"\d(?:\.\d*)?")
_RANGES: Final = {
    **{each.media_type.partition(";")[0]: each for each in FORMATS.values()},
    "text/*": CSV,
    "application/*": JSON,
    "*/*": JSON,
}


def chosen_format(name: str | None, accept: str) -> ResultFormat:
    """Return the format that a caller asks for, or raise `WrongParameter`.

    The parameter `format` goes before the header `Accept`.
    """
    if name is not None:
        if name not in FORMATS:
            message = f"format must be one of {', '.join(FORMATS)}, not {name[:64]!r}"
            raise WrongParameter(message, code="unknown_format", param="format")
        return FORMATS[name]
    for media_range in _by_preference(accept or "*/*"):
        if media_range in _RANGES:
            return _RANGES[media_range]
    types = ", ".join(each.media_type.partition(";")[0] for each in FORMATS.values())
    raise WrongParameter(
        f"none of the types in Accept is available: send one of {types}, or the parameter format",
        code="not_acceptable",
    )


def _by_preference(accept: str) -> list[str]:
    """Return the media ranges of a header, the most wanted first (RFC 9110, 12.5.1)."""
    wanted: list[tuple[float, str]] = []
    for part in accept.lower().replace(" ", "").split(","):
        media_range, *parameters = part.split(";")
        quality = next((text[2:] for text in parameters if text.startswith("q=")), "1")
        weight = float(quality) if _QUALITY.fullmatch(quality) else 0.0
        if weight > 0:
            wanted.append((-weight, media_range))
    return [media_range for _, media_range in sorted(wanted, key=itemgetter(0))]
