"""What structured personal data looks like: one detector a format, each a bounded regex and a validator.

Every detector is written so that it can be followed over a stream:

* `body` has a bounded length and no lookahead;
* `before` looks only to the left (text that has been seen already);
* `after` looks at most at what `peek` describes, so `body + peek` covers all that a decision reads.

`hold` is the same pattern that also demands one more character that no text holds. Searched with
`partial=True` it finds the first place from which a match could still reach past the end of the text.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import regex

from agents.checks import phone
from streams.settings import PII_TYPES, PiiType

CONTEXT_CHARS = 48
"""How far to the left of a candidate its context words are looked for (characters)."""

NEVER = "\U0010ffff"
"""A noncharacter that ends every `hold` pattern: text does not contain it, so only partial matches remain."""

Accept = Callable[[str, str], int]
"""(candidate, text on its left) → how many of its characters are personal data; 0 rejects it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """One format of personal data. Of formats that start and end together the first of `DETECTORS` wins."""

    type: PiiType
    before: str
    body: str
    after: str
    accept: Accept
    peek: str = ""
    gate: str = ""
    pattern: "regex.Pattern[str]" = field(init=False)

    def __post_init__(self) -> None:
        compiled = regex.compile(f"{self.before}(?:{self.body}){self.after}", regex.IGNORECASE)
        object.__setattr__(self, "pattern", compiled)


_CARD_CONTEXT = re.compile(
    r"\b(?:cards?|credit|debit|visa|mastercard|amex|maestro|discover|cc)\b", re.IGNORECASE
)
_NOT_A_CARD = re.compile(r"\b(?:isbn|ean|barcode|gtin|imei|tracking|timestamp)\b", re.IGNORECASE)
_SSN_CONTEXT = re.compile(r"\b(?:ssns?|social[ -]security|tax ?id|tin)\b", re.IGNORECASE)
_VERSION = re.compile(
    r"(?:\bv(?:ersion|er)?\.?|\brelease|\bbuild|\bfirmware|§|\bsection|\bchapter)\W{0,3}$", re.IGNORECASE
)

# Issuer prefixes and lengths: ISO/IEC 7812 ranges as the networks publish them.
_ISSUERS = re.compile(
    r"""4(?:\d{12}|\d{15}|\d{18})                                   # Visa
      |5[1-5]\d{14}|2(?:2(?:2[1-9]|[3-9]\d)|[3-6]\d\d|7[01]\d|720)\d{12}  # Mastercard
      |3[47]\d{13}                                                  # American Express
      |3(?:0[0-59]|[689]\d)\d{11,16}                                # Diners Club
      |(?:6011|64[4-9]\d|65\d\d|62\d\d)\d{12,15}                    # Discover, UnionPay
      |(?:2131|1800)\d{11,12}|35\d{14}                        # JCB
      |(?:5[06-8]|6\d)\d{10,17}                                     # Maestro
    """,
    re.VERBOSE,
)
_LUHN_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
_SEPARATORS = str.maketrans("", "", " -.\u00a0\r\n")
#: Between the groups of a card number.
_GAP = r"[ .\u00a0\r\n-]{1,2}"


def luhn(digits: str) -> bool:
    """Return whether the check digit is right (ISO/IEC 7812-1, annex B)."""
    numbers = [ord(character) - 48 for character in reversed(digits)]
    return (sum(numbers[::2]) + sum(_LUHN_DOUBLED[number] for number in numbers[1::2])) % 10 == 0


def _accept_card(candidate: str, left: str) -> int:
    digits = candidate.translate(_SEPARATORS)
    if len(set(digits)) == 1:
        return 0
    grouped = len(digits) != len(candidate)
    if _CARD_CONTEXT.search(left):  # a mistyped card number is still somebody's card number
        return len(candidate) if grouped or luhn(digits) else 0
    valid = luhn(digits) and _ISSUERS.fullmatch(digits) and not _NOT_A_CARD.search(left)
    return len(candidate) if valid else 0


def _accept_ssn(candidate: str, left: str) -> int:
    digits = candidate.translate(_SEPARATORS)
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    # Never issued: area 000, 666 and 900-999, group 00, serial 0000 (SSA, POMS RM 10201.035).
    if area in {"000", "666"} or area[0] == "9" or group == "00" or serial == "0000":
        return 0
    plain = "-" in candidate
    return len(candidate) if plain or _SSN_CONTEXT.search(left) else 0


# Length of an IBAN by country: the SWIFT IBAN registry.
_IBAN_LENGTHS: dict[int, str] = {
    15: "NO", 16: "BE", 18: "DK FI FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU XK",
    21: "CH HR LI LV", 22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST", 26: "IS TR",
    27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HU LB NI PL SV", 29: "BR EG PS QA UA",
    30: "JO KW MU", 31: "MT SC", 32: "LC", 33: "RU",
}  # fmt: skip
_IBAN_BODY = "|".join(
    rf"(?:{'|'.join(countries.split())})\d\d(?:[ -]?[A-Z0-9]){{{length - 4}}}"
    for length, countries in _IBAN_LENGTHS.items()
)


def _accept_iban(candidate: str, left: str) -> int:  # noqa: ARG001  # one shape for every validator
    compact = candidate.translate(_SEPARATORS).upper()
    number = "".join(str(int(character, 36)) for character in compact[4:] + compact[:4])
    return len(candidate) if int(number) % 97 == 1 else 0  # ISO 7064 mod 97-10


def _accept_ip(candidate: str, left: str) -> int:
    try:
        address = ipaddress.ip_address(candidate)
    except ValueError:
        return 0
    if address.is_loopback or address.is_unspecified or candidate.startswith("255."):
        return 0  # localhost and netmasks name nobody, and questions about code are full of them
    if address.version == 6 and not any(character.isdigit() for character in candidate):
        return 0  # `ad::be` is more likely a name in a program
    return 0 if _VERSION.search(left) else len(candidate)


_LETTER = "A-Za-z0-9\u00c0-\u024f"
_HEX = "[0-9A-F]{1,4}"
_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"

DETECTORS: tuple[Detector, ...] = (
    Detector(
        type="email",
        gate="@",
        before=rf"(?<![{_LETTER}._%+'-])",
        body=rf"[{_LETTER}_%+](?:[{_LETTER}._%+'-]{{0,62}}[{_LETTER}_%+-])?"
        rf"@(?:[{_LETTER}](?:[{_LETTER}-]{{0,61}}[{_LETTER}])?\.){{1,5}}(?:xn--[a-z0-9-]{{2,20}}|[a-z]{{2,24}})",
        after=rf"(?![{_LETTER}])",
        accept=lambda candidate, _left: len(candidate),
    ),
    Detector(
        type="iban",
        before=r"(?<!\w)",
        body=_IBAN_BODY,
        after=r"(?!\w)",
        accept=_accept_iban,
    ),
    Detector(
        type="credit_card",
        before=r"(?<!\w)(?<!\d[.,-])",
        body=rf"\d{{4}}{_GAP}\d{{4}}{_GAP}\d{{4}}{_GAP}\d{{4}}|\d{{4}}{_GAP}\d{{6}}{_GAP}\d{{4,5}}"
        r"|\d{12,19}",
        after=r"(?!\w)",
        accept=_accept_card,
    ),
    Detector(
        type="ssn",
        before=r"(?<!\w)(?<!\d-)",
        body=r"\d{3}-\d{2}-\d{4}|\d{3} \d{2} \d{4}|\d{3}\.\d{2}\.\d{4}|\d{9}",
        after=r"(?!\w)(?!-\d)",
        peek="-?",
        accept=_accept_ssn,
    ),
    Detector(
        type="ip",
        before=r"(?<![\w.])",
        body=rf"(?:{_OCTET}\.){{3}}{_OCTET}",
        after=r"(?!\w)(?!\.\d)",
        peek=r"\.?",
        accept=_accept_ip,
    ),
    Detector(
        type="ip",
        gate=":",
        before=r"(?<![\w:.])",
        body=rf"(?:{_HEX}:){{7}}{_HEX}|(?:{_HEX}:){{1,6}}(?::{_HEX}){{1,6}}",
        after=r"(?!\w)(?!:\w)",
        peek=":?",
        accept=_accept_ip,
    ),
    Detector(
        type="phone",
        gate="+",
        before=r"(?<![\w+])",
        body=phone.INTERNATIONAL,
        after=r"(?!\w)",
        accept=phone.accept_international,
    ),
    Detector(
        type="phone",
        before=phone.BEFORE_NATIONAL,
        body=phone.NATIONAL,
        after=r"(?!\w)",
        accept=phone.accept_national,
    ),
)


@lru_cache(maxsize=16)
def hold(types: frozenset[PiiType] = PII_TYPES) -> "regex.Pattern[str]":
    """Return what finds the first place from which data of these types could reach past the end of a text."""
    sought = (detector for detector in DETECTORS if detector.type in types)
    return regex.compile("|".join(f"{d.before}(?:{d.body}){d.peek}{NEVER}" for d in sought), regex.IGNORECASE)
