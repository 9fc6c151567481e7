"""The formats of results. ClickHouse writes each of them itself, so that every digit is exact."""

import re
from collections.abc import Mapping
from operator import itemgetter
from typing import Final

import msgspec

from streams.errors import InputError


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


class UnknownFormat(InputError):
    """There is no such format."""


def chosen_format(name: str | None, accept: str) -> ResultFormat:
    """Return the format that a caller asks for, or raise `UnknownFormat`.

    The parameter `format` goes before the header `Accept`.
    """
    if name is not None:
        if name not in FORMATS:
            message = f"format must be one of {', '.join(FORMATS)}, not {name[:64]!r}"
            raise UnknownFormat(message, code="unknown_format", param="format")
        return FORMATS[name]
    for media_range in _by_preference(accept or "*/*"):
        if media_range in _RANGES:
            return _RANGES[media_range]
    types = ", ".join(each.media_type.partition(";")[0] for each in FORMATS.values())
    raise UnknownFormat(
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
