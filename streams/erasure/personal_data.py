"""The types of personal data that are recognised."""

from typing import Final, Literal

PiiType = Literal["email", "credit_card", "ssn", "iban", "ip", "phone"]

ALL_TYPES: Final[frozenset[PiiType]] = frozenset(("email", "credit_card", "ssn", "iban", "ip", "phone"))
