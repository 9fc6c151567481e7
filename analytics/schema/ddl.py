"""The same DDL for one server and for a cluster of replicas: statements are rewritten when they are applied.

Migrations are written for one server, and their files never change once they are deployed. For a cluster each
statement gets `ON CLUSTER`, tables of the MergeTree family become replicated ones under the server's
default path (`/clickhouse/tables/{uuid}/{shard}`, replica `{replica}`), and settings that only tables of
one server know get the names that replicated ones have.

Statements are taken apart into tokens, so that nothing inside a string, a comment or a longer name is
touched. What is not known to be right on a cluster is refused.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Self

import msgspec

from streams.errors import ConfigurationError

_TOKENS = re.compile(
    r"""
    (?P<space> \s+ | --[^\n]* | /\*.*?\*/ )
    | (?P<text> '(?:[^'\\]|\\.|'')*' )
    | (?P<name> [A-Za-z_][A-Za-z0-9_]* | `(?:[^`\\]|\\.)+` | "(?:[^"\\]|\\.)+" )
    | (?P<sign> . )
    """,
    re.VERBOSE | re.DOTALL,
)
_CLUSTER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
_MERGE_TREE = re.compile(r"(?!Replicated|Shared)[A-Za-z]*MergeTree")
#: Its path in Keeper and its replica's name come before what the engine itself takes.
_REPLICATED = re.compile(
    r"Replicated(?P<family>[A-Za-z]*MergeTree)\('(?:[^'\\]|\\.)*', '(?:[^'\\]|\\.)*'(?:, |(?=\)))"
)

#: How long tokens of inserts are remembered: the default of one hour is less than an outage may take.
_DEDUPLICATION_S = 7 * 86_400

#: What tables of one server call it, and what replicated ones do.
_SETTINGS: Mapping[str, Callable[[str], str]] = {
    "non_replicated_deduplication_window": lambda value: (
        f"replicated_deduplication_window = {value}, "
        f"replicated_deduplication_window_seconds = {_DEDUPLICATION_S}"
    )
}

#: Their rows, not the schema: whichever replica runs them, the tables replicate what they did.
_OF_ROWS = ("INSERT",)


class _Token(msgspec.Struct, frozen=True):
    """A word, quoted name, string or sign, and where in the statement it is."""

    kind: str
    text: str
    start: int
    depth: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    @property
    def word(self) -> str:
        """What a keyword is compared by."""
        return self.text.upper() if self.kind == "name" else self.text


class _Edit(msgspec.Struct, frozen=True):
    start: int
    end: int
    text: str


class _Statement(msgspec.Struct, frozen=True):
    text: str
    tokens: Sequence[_Token]

    @classmethod
    def of(cls, text: str) -> Self:
        tokens: list[_Token] = []
        depth = 0
        for match in _TOKENS.finditer(text):
            kind = str(match.lastgroup)
            if kind == "space":
                continue
            depth -= match[0] == ")"
            tokens.append(_Token(kind, match[0], match.start(), depth))
            depth += match[0] == "("
        return cls(text, tokens)

    def begins(self, place: int, *words: str) -> bool:
        found = [token.word for token in self.tokens[place : place + len(words)]]
        return found == list(words)

    def edited(self, edits: Sequence[_Edit]) -> str:
        text = self.text
        for edit in sorted(edits, key=lambda each: each.start, reverse=True):
            text = text[: edit.start] + edit.text + text[edit.end :]
        return text


def on_cluster(statement: str, cluster: str) -> str:
    """Return a statement of the schema as all replicas of `cluster` are to have it.

    Args:
        statement: one statement, as it is for a single server.
        cluster: the name of the cluster; empty for a single server, whose statements stay as they are.

    Raises:
        ConfigurationError: the cluster's name is no name, or the statement is not known here.
    """
    if not cluster:
        return statement
    name = cluster_name(cluster)
    parsed = _Statement.of(statement)
    if parsed.tokens and parsed.tokens[0].word in _OF_ROWS:
        return statement
    kind, place = _object(parsed)
    last = _end_of_name(parsed, place)
    if parsed.begins(last + 1, "ON", "CLUSTER"):
        raise _unknown(statement, "it names a cluster itself")
    edits = [_Edit(parsed.tokens[last].end, parsed.tokens[last].end, f" ON CLUSTER {name}")]
    if kind == "CREATE TABLE":
        edits += _replicated(parsed, last + 1)
    return parsed.edited(edits)


def on_one_server(engine: str) -> str:
    """Return a replicated table's engine, with all that follows, as that of a table of one server.

    Args:
        engine: `engine_full` of `system.tables`.

    Raises:
        ConfigurationError: it does not look as the engine of a replicated table does.
    """
    match = _REPLICATED.match(engine)
    if match is None:
        raise ConfigurationError(f"not known how to make a table of one server like this one: {engine[:200]}")
    return f"{match['family']}({engine[match.end() :]}"


def cluster_name(cluster: str) -> str:
    """Return a cluster's name as it is written in statements.

    Raises:
        ConfigurationError: it is no name.
    """
    if _CLUSTER.fullmatch(cluster) is None:
        raise ConfigurationError(
            f"HEADRACE_CLICKHOUSE_CLUSTER is {cluster!r}: it is a name of letters, digits, _ . and -"
        )
    return f"`{cluster}`"


def _object(parsed: _Statement) -> tuple[str, int]:
    """Return what a statement does to what, and the place of the thing's name."""
    verb = parsed.tokens[0].word if parsed.tokens else ""
    place = 1
    if verb == "CREATE" and parsed.begins(place, "OR", "REPLACE"):
        place += 2
    thing = parsed.tokens[place].word if place < len(parsed.tokens) else ""
    known = {"CREATE": ("DATABASE", "TABLE", "VIEW"), "DROP": ("TABLE", "VIEW"), "ALTER": ("TABLE",)}
    if thing not in known.get(verb, ()):
        raise _unknown(parsed.text, f"it is {verb} {thing}".rstrip())
    place += 1
    for condition in (("IF", "NOT", "EXISTS"), ("IF", "EXISTS")):
        if parsed.begins(place, *condition):
            place += len(condition)
    return f"{verb} {thing}", place


def _end_of_name(parsed: _Statement, place: int) -> int:
    """Return the place of the last part of a name, which a database may stand before."""
    if place + 2 < len(parsed.tokens) and parsed.tokens[place + 1].text == ".":
        place += 2
    if place >= len(parsed.tokens) or parsed.tokens[place].kind != "name":
        raise _unknown(parsed.text, "it has no name where one is expected")
    return place


def _replicated(parsed: _Statement, begin: int) -> list[_Edit]:
    """Return what makes a table a replicated one; nothing for an engine that keeps no rows."""
    tokens = parsed.tokens
    engines = [
        place
        for place in range(begin, len(tokens) - 2)
        if parsed.begins(place, "ENGINE", "=") and tokens[place].depth == 0
    ]
    if len(engines) != 1:
        raise _unknown(parsed.text, "it does not state the engine of its table")
    engine = tokens[engines[0] + 2]
    if engine.text == "Null":
        return []
    if _MERGE_TREE.fullmatch(engine.text) is None:
        raise _unknown(parsed.text, f"rows of the engine {engine.text} are on one server only")
    edits = [_Edit(engine.start, engine.start, "Replicated")]
    for place in range(engines[0] + 3, len(tokens) - 2):
        rename = _SETTINGS.get(tokens[place].text)
        if rename is not None and tokens[place].depth == 0 and tokens[place + 1].text == "=":
            value, end = _number(parsed, place + 2)
            edits.append(_Edit(tokens[place].start, end, rename(value)))
    return edits


def _number(parsed: _Statement, place: int) -> tuple[str, int]:
    match = re.compile(r"\d+").match(parsed.text, parsed.tokens[place].start)
    if match is None:
        raise _unknown(parsed.text, "a setting of its table is no number")
    return match[0], match.end()


def _unknown(statement: str, why: str) -> ConfigurationError:
    begin = " ".join(statement.split())[:80]
    return ConfigurationError(f"not known how to run on a cluster, because {why}: {begin}")
