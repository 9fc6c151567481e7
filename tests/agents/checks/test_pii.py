"""Structured personal data: what is found, what is left alone, and that redaction is stable."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.checks.pii import PiiSpan, Redaction, canonical, find, label, redact
from agents.checks.pii_patterns import luhn


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("My SSN is 123-45-6789, can you help me?", "My SSN is [REDACTED_SSN], can you help me?"),
        ("social security number 123456789.", "social security number [REDACTED_SSN]."),
        ("card 4111 1111 1111 1111 12/25", "card [REDACTED_CREDIT_CARD] 12/25"),
        ("Amex 3782 822463 10005", "Amex [REDACTED_CREDIT_CARD]"),
        ("5555555555554444", "[REDACTED_CREDIT_CARD]"),
        ("my credit card is 1234-5678-9012-3456", "my credit card is [REDACTED_CREDIT_CARD]"),
        ("Mail first.last+tag@sub.example.co.uk.", "Mail [REDACTED_EMAIL]."),
        ("josé@correo.example is mine", "[REDACTED_EMAIL] is mine"),
        ("IBAN GB82 WEST 1234 5698 7654 32 please", "IBAN [REDACTED_IBAN] please"),
        ("to de89370400440532013000,", "to [REDACTED_IBAN],"),
        ("host 203.0.113.7:8080/x", "host [REDACTED_IP]:8080/x"),
        ("from 2001:db8:85a3::8a2e:370:7334.", "from [REDACTED_IP]."),
        ("call 555-123-4567 at 2 pm", "call [REDACTED_PHONE] at 2 pm"),
        ("(602)272-9781 ext. 12", "[REDACTED_PHONE]"),
        ("5551234567 is my phone; phone 5551234567", "5551234567 is my phone; phone [REDACTED_PHONE]"),
        ("+44 (0)20 7946 0958 or +1-984-182-0190x7", "[REDACTED_PHONE] or [REDACTED_PHONE]"),
        ("01.84.17.61.18", "[REDACTED_PHONE]"),
        ("call 434 14 557 or 434 14 558", "call [REDACTED_PHONE] or [REDACTED_PHONE]"),
        ("781 1704 office", "[REDACTED_PHONE] office"),
    ],
)
def test_personal_data_is_replaced(text: str, redacted: str) -> None:
    """Each format, grouped or not, becomes its label; what surrounds it stays."""
    assert redact(text).text == redacted


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("بطاقة ٤١١١١١١١١١١١١١١١ شكرا", "بطاقة [REDACTED_CREDIT_CARD] شكرا"),
        ("４１１１ １１１１ １１１１ １１１１", "[REDACTED_CREDIT_CARD]"),
        ("card 4111\u20111111\u20111111\u20111111.", "card [REDACTED_CREDIT_CARD]."),
        ("4111\u202f1111\u202f1111\u202f1111", "[REDACTED_CREDIT_CARD]"),
        ("4111.1111.1111.1111", "[REDACTED_CREDIT_CARD]"),
        ("4111  1111  1111  1111", "[REDACTED_CREDIT_CARD]"),
        ("4111\n1111\n1111\n1111", "[REDACTED_CREDIT_CARD]"),
        ("a 4111\u200b1111\u200b1111\u200b1111\u200b b", "a [REDACTED_CREDIT_CARD]\u200b b"),
        ("123–45–6789", "[REDACTED_SSN]"),
        ("ａｎｎ＠ｅｘａｍｐｌｅ．ｃｏｍ", "[REDACTED_EMAIL]"),
        ("an\u00adn@exam\u200dple.com", "[REDACTED_EMAIL]"),
        ("GB82 WEST 1234 5698 7654 32".replace("S", "\u017f"), "[REDACTED_IBAN]"),
        ("KZ86 125K ZT50 0410 0100".replace("K", "\u212a"), "[REDACTED_IBAN]"),
        ("１９２.168.0.77", "[REDACTED_IP]"),
    ],
)
def test_another_spelling_hides_nothing(text: str, redacted: str) -> None:
    """Digits of any script, typographic dashes and blanks, full width, what cannot be seen."""
    assert redact(text).text == redacted


@pytest.mark.parametrize("digit", ["４", "٤", "۴", "४", "৪", "𝟒"])
def test_a_long_number_of_any_script_is_no_fault(digit: str) -> None:
    """Sixteen equal digits are no card; looking at them failed before, and the request with it."""
    assert redact(f"{digit * 11}٣ and {digit * 16}").types == ()


@pytest.mark.parametrize("text", ["1999—2004", "no 12—34—5678 here", "👨\u200d👩\u200d👧 12345"])
def test_long_dashes_and_joiners_make_no_number(text: str) -> None:
    """They set apart, or belong to what is not personal data."""
    assert redact(text).text == text


@pytest.mark.parametrize(
    "text",
    [
        "000-12-3456, 666-12-3456, 900-12-3456, 123-00-4567 and 123-45-0000",
        "order 4111111111111112",
        "version 4111.1111.1111.1112",
        "GB82 WEST 1234 5698 7654 33",
        "version 1.2.3.4 and 999.1.1.1 and 1.2.3.4.5",
        "127.0.0.1, 0.0.0.0, ::1, std::vector and 12:30:45",
        "2024-05-01, 01.02.2024 and 1999-2004",
        "It costs 1,234,567.89 dollars, $5551234567 in all",
        "epoch 1700000000, pi is 3.1415926535",
        "order id 5403926876",
        "call it a day; 12 of 34 people, 100 000 000 stars",
        "not an email: a@b, @user, user@, foo@bar.",
        "uuid 123e4567-e89b-12d3-a456-426614174000",
        "[REDACTED_SSN] [REDACTED_PHONE]",
    ],
)
def test_other_numbers_stay(text: str) -> None:
    """Impossible values, dates, versions, amounts, ids and localhost are nobody's data."""
    assert redact(text).text == text


def test_the_result_names_types_and_places() -> None:
    """Spans point into the text that was given; types come once each, in order."""
    result = redact("a@b.io, 123-45-6789, c@d.io")
    assert find("a@b.io, 123-45-6789, c@d.io") == (
        PiiSpan("email", 0, 6),
        PiiSpan("ssn", 8, 19),
        PiiSpan("email", 21, 27),
    )
    assert result.types == ("email", "ssn")
    assert redact("nothing here").types == ()


def test_the_users_spelling_does_not_matter() -> None:
    """Two spellings of one value have one canonical form."""
    assert canonical("(555) 123-4567") == canonical("555.123.4567")
    assert canonical("GB82 WEST") == canonical("gb82west")


def test_the_check_digit() -> None:
    """Luhn's check digit is right for a known number and wrong for each of its single-digit changes."""
    number = "4539578763621486"
    assert luhn(number)
    assert not any(luhn(f"{number[:i]}{(int(number[i]) + 1) % 10}{number[i + 1 :]}") for i in range(16))


VALUES = st.sampled_from(
    (
        "bob@x.example.com", "4111 1111 1111 1111", "378282246310005", "123-45-6789",
        "GB82 WEST 1234 5698 7654 32",
        "203.0.113.7", "2001:db8:85a3::8a2e:370:7334", "+44 20 7946 0958", "(555) 123-4567",
        "call 434 14 557", "phone",
        "555 123 4567 4111 1111 1111 1111", "order id", "12", "0", "-", "[REDACTED_PHONE]", "x12", "1.",
        "+1 ", "@", "office",
    )
)  # fmt: skip
FOREIGN = st.text(alphabet="0٤۴４𝟒 \u00a0\u2009-\u2011–\u200b＠@aKſİ.", max_size=24)
TEXTS = st.lists(
    st.one_of(VALUES, st.text(alphabet="0123456789 -.()+@:abx\n", max_size=16), FOREIGN, st.text(max_size=5)),
    max_size=12,
).flatmap(lambda parts: st.sampled_from(("", " ", ", ")).map(lambda gap: gap.join(parts)))


@settings(max_examples=220)
@given(text=TEXTS)
def test_a_redaction_is_complete_and_changes_nothing_else(text: str) -> None:
    """Nothing is left to redact in the result; spans never overlap, and the text between them is kept."""
    result, position, rebuilt = redact(text), 0, ""
    for span in find(text):
        assert position <= span.start < span.end <= len(text)
        rebuilt += text[position : span.start] + label(span.type)
        position = span.end
    assert result.text == rebuilt + text[position:]
    assert redact(result.text) == Redaction(result.text)
