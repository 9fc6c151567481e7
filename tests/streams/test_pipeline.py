"""The pipeline as data: what is derived from its rows, and that no second list stands anywhere."""

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from streams import pipeline, topics
from streams.pipeline import CLIENTS, PIPELINE, STAGES, TOPICS, path
from streams.topics import Topic

ROOT = Path(__file__).parents[2]
SOURCES = [file for package in ("streams", "ingest", "agents", "analytics", "headrace", "bench")
           for file in sorted((ROOT / package).rglob("*.py"))]  # fmt: skip

#: The pipeline itself; its tests do not count.
THE_LIST = ROOT / "streams" / "pipeline.py"
#: Names of literals that may stand elsewhere, by file: the one line of wiring per stage; and groups of
#: questions, some of which are called like stages.
ALLOWED = {"bootstrap.py": "BUILDERS", "catalogue.py": "GROUPS"}

#: Where a list may hide.
FORMS = (ast.List, ast.Tuple, ast.Set, ast.Dict, ast.Match, ast.If, ast.BoolOp, ast.Call)
STAGE_NAMES = {spec.name for spec in STAGES}
#: How source refers to a stage, or to a topic that a stage reads: by its row, its class, or its name.
ROWS = {name for name, value in vars(pipeline).items() if value in STAGES}
ROWS |= {f"{spec.name.capitalize()}Stage" for spec in STAGES}
STAGE_TOPICS = {name for name, value in vars(topics).items() if value in [spec.source for spec in STAGES]}
NAMES = {spec.source.name for spec in STAGES} | {spec.group for spec in STAGES} | STAGE_NAMES


def test_a_request_meets_the_stages_in_order() -> None:
    """Each stage reads what the one before it hands on."""
    assert [spec.name for spec in path(topics.REQUESTS)] == ["guardrail", "cache", "llm", "output", "cost"]
    assert [spec.name for spec in path(topics.EMBEDDINGS)] == ["embeddings", "cost"]


def test_a_replay_pays_again_before_the_model_is_called() -> None:
    """And what only passes a record on is never replayed."""
    assert {
        "llm.requests.v1", "llm.embeddings.v1", "llm.guarded.v1", "llm.misses.v1"
    } == pipeline.PAYING  # fmt: skip
    assert {spec.source.name for spec in PIPELINE} - pipeline.REPLAYABLE == {"llm.retries.v1"}


def test_names_topics_and_groups_are_unique() -> None:
    """Two rows with one topic would be two groups that both do the work."""
    assert (
        len({spec.name for spec in PIPELINE}) == len({spec.source.name for spec in PIPELINE}) == len(PIPELINE)
    )


def test_no_group_reads_a_compacted_topic() -> None:
    """Compaction would take away a request that waits behind another of the same key."""
    assert not any(spec.source.compacted for spec in PIPELINE)


def test_every_topic_is_written_and_created() -> None:
    """What a module declares and nobody writes or reads is no topic."""
    declared = {each.name for each in vars(topics).values() if isinstance(each, Topic)}
    written = {each.name for row in (*PIPELINE, *CLIENTS) for each in row.writes}
    assert declared == set(TOPICS) == written


def test_the_documented_table_says_what_the_rows_say() -> None:
    """docs/topics.md: who writes and reads each topic, what it carries, and how long it is kept."""
    table = dict(
        re.findall(r"^\| `(llm\.[\w.-]+)` (\|.*)\|$", (ROOT / "docs/topics.md").read_text(), re.MULTILINE)
    )
    assert list(table) == list(TOPICS)
    for topic in TOPICS.values():
        _, value, parties, kept = (cell.strip() for cell in table[topic.name].strip("|").split("|"))
        assert value == (f"`{topic.event.__name__}`" if topic.event else "the record as it came")
        writers, readers = parties.split(" → ")
        assert writers == ", ".join(_those_that("writes", topic))
        assert readers.split(": ")[0] == (", ".join(_those_that("reads", topic)) or "nobody")
        days = topic.retention_ms // topics.DAY_MS
        expected = "for ever, compacted" if topic.compacted else f"{days} day{'s' * (days > 1)}"
        assert kept == expected


def _those_that(what: str, topic: Topic) -> list[str]:
    found = [client.name for client in CLIENTS if topic in getattr(client, what)]
    if what == "reads":
        return [spec.name for spec in PIPELINE if spec.source == topic] + found
    stages = [spec.name for spec in STAGES if topic in spec.writes]
    others = [spec.name for spec in PIPELINE if spec not in STAGES and topic in spec.writes]
    return [*(["every stage"] if len(stages) == len(STAGES) else stages), *others, *found]


def test_no_second_list_of_stages_or_their_topics() -> None:
    """Whatever names two stages, or two topics that stages read, in one literal is derived from the rows."""
    found = {
        str(file.relative_to(ROOT)): lists
        for file in SOURCES
        if file != THE_LIST and (lists := list(second_lists(file.read_text(), ALLOWED.get(file.name))))
    }
    assert len(SOURCES) > 300
    assert found == {}


@pytest.mark.parametrize("page", ["ingest/web/view.js", "analytics/web/view-latency.js"])
def test_pages_name_the_stages_of_a_chat_in_their_order(page: str) -> None:
    """Scripts of pages cannot import the rows: each list in them is compared."""
    (found,) = re.findall(r'\[("guardrail"[^\]]*)\]', (ROOT / page).read_text())
    assert re.findall(r'"(\w+)"', found) == [spec.name for spec in path(topics.REQUESTS)]


@pytest.mark.parametrize(
    "planted",
    [
        "ORDER = ('guardrail', 'cache')",
        "LIMITS = {'llm': 3, 'cost': 4}",
        "SOURCES = [topics.REQUESTS, topics.GUARDED]",
        "SOURCES = {topic.name for topic in (MISSES, OUTCOMES)}",
        "NAMES = (REQUESTS.name, EMBEDDINGS.name)",
        "GROUPS = 'headrace.llm headrace.cost'.split()",
        "def f(stage):\n match stage:\n  case 'llm': return 1\n  case 'cost': return 2",
        "def f(stage):\n if stage == 'llm': return 1\n elif stage == 'output': return 2",
        "PAID = {pipeline.LLM, pipeline.EMBEDDINGS}",
        "CLASSES = [GuardrailStage, CostStage]",
        "DASHBOARD = {'llm.requests.v1', 'llm.misses.v1'}",
    ],
)
def test_a_planted_list_is_found(planted: str) -> None:
    """In whatever form it comes."""
    assert list(second_lists(planted))


def second_lists(source: str, allowed: str | None = None) -> Iterator[str]:
    """Yield the literals that name more than one stage, or more than one topic that a stage reads."""
    nodes = list(ast.walk(ast.parse(source)))
    skipped = {
        id(inner)
        for node in nodes
        if allowed and isinstance(node, ast.AnnAssign | ast.Assign) and allowed in _targets(node)
        for inner in ast.walk(node)
    }
    for node in nodes:
        if isinstance(node, FORMS) and id(node) not in skipped:
            found = {name for each in _members(node) for name in _named(each)}
            if len(found) > 1:
                yield f"line {getattr(node, 'lineno', 0)}: {sorted(found)}"


def _targets(node: ast.AnnAssign | ast.Assign) -> set[str]:
    targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets
    return {each.id for each in targets if isinstance(each, ast.Name)}


def _members(node: ast.AST) -> Sequence[ast.AST]:  # noqa: PLR0911  # one per form of a list
    match node:
        case ast.List() | ast.Tuple() | ast.Set():
            return node.elts
        case ast.Dict():
            return [each for each in node.keys if each is not None] + node.values
        case ast.Match():
            return [case.pattern for case in node.cases]
        case ast.If(test=test, orelse=[ast.If() as other]):
            return [test, *_members(other), other.test]
        case ast.BoolOp():
            return node.values
        case ast.Call(func=ast.Attribute(value=ast.Constant(value=str(text)), attr="split")):
            return [ast.Constant(word) for word in text.split()]
    return ()


def _named(node: ast.AST) -> Iterator[str]:
    """Yield the stages and stage topics that a member of a literal refers to."""
    match node:
        case ast.Constant(value=str(text)) if text in NAMES:
            yield text
        case ast.Name(id=name) | ast.Attribute(attr=name) if name in ROWS | STAGE_TOPICS:
            yield name
        case ast.Attribute(value=inner, attr="name" | "source" | "group"):
            yield from _named(inner)
        case ast.MatchValue(value=inner) | ast.Compare(comparators=[inner]):
            yield from _named(inner)
        case ast.Compare(comparators=inner):
            for each in inner:
                yield from _named(each)
