"""Plausible words about a prompt, drawn from a seed. Every answer says that it is simulated."""

import re
from random import Random
from typing import Any

import msgspec

SIMULATED = "(simulated)"

_WORD = re.compile(r"[^\W\d_][\w'-]{3,30}")
_ASKED = re.compile(r"\bquestion:", re.IGNORECASE)
_MAX_READ_CHARS = 20_000
_MAX_KEY_WORDS = 12
_STOP_WORDS = frozenset(
    "about above after again also another answer because been before being below between could does doing "
    "each explain from give have having here into just know like list make many more most much need only "
    "other over please same should show simulated some such tell than that their them then there these they "
    "this those through under until using very want were what when where which while will with "
    "would your".split()
)

_OPENINGS = (
    "Here is a short answer about {a}.",
    "In brief, {a} comes down to {b}.",
    "The question is about {a}, and the answer depends on {b}.",
    "Let us look at {a} first.",
    "{A} is best understood together with {b}.",
)
_MIDDLES = (
    "In most cases {a} is settled before {b} comes into play.",
    "A careful reading of {a} shows that {b} matters more than it seems.",
    "If {a} changes, then {b} has to be looked at again.",
    "People often mix up {a} and {b}, although they differ in cost and in time.",
    "The usual way is to write down {a}, check it against {b}, and decide within {n} days.",
    "About {n} in a hundred cases of {a} need a second look.",
    "There are {n} steps from {a} to {b}, and each of them can be repeated safely.",
    "Where {a} is unclear, {b} gives the better hint.",
    "Keep a record of {a}; it saves time when {b} is questioned later.",
)
_CLOSINGS = (
    "That is what can be said about {a} without more detail.",
    "With more detail on {b}, the answer could be more exact.",
    "So start with {a}.",
    "Anything beyond {a} would be a guess.",
)


def key_words(text: str) -> tuple[str, ...]:
    """Return the words that a text is about, in the order in which they appear.

    In a prompt made of a template these are the words behind the last "Question:", not the template's.
    """
    found: dict[str, None] = {}
    asked = _ASKED.split(text[:_MAX_READ_CHARS])[-1]
    for word in _WORD.findall(asked if _WORD.search(asked) else text[:_MAX_READ_CHARS]):
        if word.lower() not in _STOP_WORDS:
            found.setdefault(word)
        if len(found) == _MAX_KEY_WORDS:
            break
    return tuple(found) or ("your request",)


def sentences(question: str, random: Random) -> str:
    """Return two to seven sentences about the question."""
    words = key_words(question)
    middles = random.sample(_MIDDLES, random.randint(0, 5))
    chosen = [random.choice(_OPENINGS), *middles, random.choice(_CLOSINGS)]
    lead = _fill(chosen[0], words[0], words[1 % len(words)], random)
    rest = (_fill(line, random.choice(words), random.choice(words), random) for line in chosen[1:])
    return " ".join((SIMULATED, lead, *rest))


def _fill(sentence: str, first: str, second: str, random: Random) -> str:
    return sentence.format(a=first, A=first[:1].upper() + first[1:], b=second, n=random.randint(2, 30))


def about_results(results: tuple[str, ...], question: str) -> str:
    """Return an answer that quotes what the tools returned."""
    quoted = "; ".join(result[:500] for result in results)
    return f"{SIMULATED} According to the tools, the answer about {key_words(question)[0]} is: {quoted}"


def json_object(question: str, random: Random) -> str:
    """Return a JSON object about the question, for a request that names no schema."""
    body: dict[str, Any] = {
        "simulated": True,
        "topic": key_words(question)[0],
        "answer": sentences(question, random),
    }
    return msgspec.json.encode(body).decode()
