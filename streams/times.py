"""Times as people and programs write them: ages, ISO 8601, `now`."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_MICROSECOND = timedelta(microseconds=1)
_AGE = re.compile(r"(\d{1,9})\s*([smhdw])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

#: The earliest time: an age that reaches further back ends here.
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def parse_moment(text: str, *, now: datetime) -> datetime:
    """Return the time that a text names, in UTC; `ValueError` for no time.

    It is `now`, an age such as `90s`, `30m`, `24h`, `7d` or `2w`, or a time in ISO 8601. A time without a
    zone is UTC, as all times in Kafka and in the tables are.
    """
    text = text.strip()
    if text == "now":
        return now.astimezone(UTC)
    age = _AGE.fullmatch(text)
    if age is None:
        return utc(datetime.fromisoformat(text))
    try:
        return max(now.astimezone(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])}), EPOCH)
    except OverflowError:
        return EPOCH


def utc(at: datetime) -> datetime:
    """Return a time in UTC; one without a zone is UTC already. `ValueError` before year 1 and after 9999."""
    if at.tzinfo is None:
        return at.replace(tzinfo=UTC)
    try:
        return at.astimezone(UTC)
    except OverflowError as fault:
        raise ValueError(f"{at} is out of range") from fault


def micros(at: datetime) -> int:
    """Return a time in microseconds since 1970, as ClickHouse's columns hold it."""
    return (at - EPOCH) // _MICROSECOND
