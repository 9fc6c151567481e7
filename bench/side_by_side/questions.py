"""Questions that no cache has seen, built from words: the same for the same seed.

A question has seven words drawn from lists of twenty and more, so that two of them rarely share more than the
frame; `part` numbers tell apart what an embedding would not.
"""

import random
from collections.abc import Iterator

_FRAMES = (
    "How does a {a} {n} change the {m} of a {b} {o} in {p}?",
    "Which {n} did the {a} {o} near {p} use for its {b} {m}?",
    "Why would the {m} of a {a} {n} matter to the {b} {o} of {p}?",
    "What is the {m} between a {a} {o} and the {b} {n} in {p}?",
    "Explain how {p} keeps its {a} {n} from the {b} {o}, with regard to {m}.",
)
_ADJECTIVES = (
    "wooden brittle silent copper northern hollow woven heavy shallow salted frozen narrow painted ancient "
    "double folded curved dusty green spare twisted hidden amber coarse humid"
).split()
_NOUNS = (
    "turbine orchard violin ferry glacier loom bakery lantern canal beehive telescope quarry sail harp kiln "
    "meadow piston library anvil harbour compass vineyard granary bridge saddle mirror tunnel whistle cello "
    "furnace pasture rudder chimney thimble plough"
).split()
_MEASURES = (
    "weight colour balance price pitch texture lifetime strength warmth rhythm span depth yield flavour "
    "shape noise taste speed"
).split()
_PLACES = (
    "Lisbon Oslo Kyoto Quito Tunis Malmö Turin Perth Dakar Graz Cusco Hanoi Leeds Nantes Izmir Riga Basel "
    "Varna Bergen Porto Accra Lima Sapporo Galway Split"
).split()


def new_questions(seed: int) -> Iterator[str]:
    """Yield questions without end, no two of them the same."""
    drawn, seen = random.Random(seed), set[str]()
    while True:
        first, second = drawn.sample(_NOUNS, 2)
        one, two = drawn.sample(_ADJECTIVES, 2)
        question = drawn.choice(_FRAMES).format(
            a=one, b=two, n=first, o=second, m=drawn.choice(_MEASURES), p=drawn.choice(_PLACES)
        )
        if question not in seen:
            seen.add(question)
            yield question


def text_of_bytes(size: int, seed: int) -> str:
    """Return a long prompt of about so many bytes: a question, and notes that belong to it."""
    questions = new_questions(seed)
    parts, length = [next(questions), "\nNotes:"], 0
    while length < size:
        parts.append(next(questions).replace("?", "."))
        length += len(parts[-1]) + 1
    return " ".join(parts)[:size]


def text_of_tokens(tokens: int, seed: int) -> str:
    """Return a prompt of about so many tokens of OpenAI's vocabularies, at 4.6 characters each."""
    return text_of_bytes(max(40, round(tokens * 4.6)), seed)
