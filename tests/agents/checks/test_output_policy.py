"""The output check of a whole answer."""

import pytest

from agents.checks.output_policy import OutputPolicy
from agents.checks.pii import PiiSpan
from tests.fakes.answers import check_answer

SYSTEM_PROMPT = (
    "You are the billing assistant of Nordwind Energy. Offer a refund of at most forty euros, and only when "
    "the customer mentions an outage. Internal escalation code: HARBOUR-9."
)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Run DROP TABLE users;", "banned.sql_drop"),
        ("delete\n  table users", "banned.sql_drop"),
        ("truncate table logs", "banned.sql_drop"),
        ("then rm -rf / and reboot", "banned.rm_rf_root"),
        ("use sudo chmod 777 on it", "banned.chmod_777"),
        ("chown 777 file", "banned.chmod_777"),
        ("call exec (code)", "banned.exec_call"),
        ("x = __import__('os')", "banned.import_call"),
    ],
)
def test_banned_phrases_block(text: str, rule: str) -> None:
    """Each of the lesson's five patterns blocks, in any case and with any blanks."""
    verdict = check_answer(text)
    assert (verdict.passed, verdict.rule) == (False, rule)
    assert text.startswith(verdict.text)


@pytest.mark.parametrize(
    "text",
    [
        "Drop the table off at noon.",
        "rm -rf ./build is safe",
        "chmod 755 file",
        "The executive said so.",
        "import os",
    ],
)
def test_near_misses_pass(text: str) -> None:
    """What only resembles a banned phrase passes unchanged."""
    verdict = check_answer(text)
    assert (verdict.passed, verdict.text, verdict.redactions) == (True, text, ())


def test_personal_data_is_redacted() -> None:
    """Personal data that the user did not bring is replaced; offsets are those of the model's answer."""
    verdict = check_answer("Write to ann@example.com, please.")
    assert verdict.passed
    assert verdict.text == "Write to [REDACTED_EMAIL], please."
    assert verdict.redactions == (PiiSpan("email", 9, 24),)


def test_the_users_own_data_may_be_repeated() -> None:
    """The value that stood in the user's message stays, in whatever spelling; others are redacted."""
    verdict = check_answer(
        "I will call 5551234567, not 555-765-4321.", user_text="My phone number is (555) 123-4567."
    )
    assert verdict.text == "I will call 5551234567, not [REDACTED_PHONE]."


def test_a_policy_may_block_personal_data() -> None:
    """A type in `block_pii` blocks, and nothing of it is in the text."""
    verdict = check_answer("SSN: 123-45-6789.", policy=OutputPolicy(block_pii=frozenset({"ssn"})))
    assert (verdict.passed, verdict.rule, verdict.text) == (False, "pii.ssn", "SSN: ")


def test_a_repeated_system_prompt_blocks() -> None:
    """A long run of the prompt's words blocks, whatever stands between the words."""
    leak = (
        'My rules: "offer a refund of at most FORTY euros -- and only when the customer mentions an outage"'
    )
    verdict = check_answer(leak, instructions=SYSTEM_PROMPT)
    assert (verdict.rule, verdict.text) == ("prompt_leak", 'My rules: "')


def test_sharing_a_few_words_with_the_prompt_is_no_leak() -> None:
    """An answer that does its job uses words of its instructions."""
    text = "I am the billing assistant of Nordwind Energy. I can offer a refund of at most forty euros."
    assert check_answer(text, instructions=SYSTEM_PROMPT).passed


def test_quoting_the_user_is_no_leak() -> None:
    """What the user's own message held may be repeated, even if the prompt holds it too."""
    passage = "Offer a refund of at most forty euros, and only when the customer mentions an outage."
    assert not check_answer(passage, instructions=SYSTEM_PROMPT).passed
    assert check_answer(passage, instructions=SYSTEM_PROMPT, user_text=f"Translate: {passage}").passed


@pytest.mark.parametrize(
    ("text", "reason", "flags"),
    [
        ("I'm sorry, but I can't help with that.", "stop", ("refusal",)),
        ("As an AI language model, I cannot provide that.", "stop", ("refusal",)),
        ("I can help with that. Sorry for the wait.", "stop", ()),
        ("Once upon a", "length", ("truncated",)),
        ("  \n", "stop", ("empty",)),
    ],
)
def test_flags(text: str, reason: str, flags: tuple[str, ...]) -> None:
    """Refusals, truncated and empty answers are remarked, not blocked."""
    verdict = check_answer(text, finish_reason=reason)
    assert (verdict.passed, verdict.flags) == (True, flags)


def test_the_first_offence_names_the_rule() -> None:
    """Of several offences the first in the text decides, and the text ends before it."""
    verdict = check_answer("a exec( then DROP TABLE x")
    assert (verdict.rule, verdict.text) == ("banned.exec_call", "a ")
