"""The pipeline as data agrees with the stages it names."""

from agents.bootstrap import _BUILDERS
from agents.cache.stage import CacheStage
from agents.cost.stage import CostStage
from agents.guardrail.stage import GuardrailStage
from agents.llm.stage import LlmStage
from agents.output.stage import OutputStage
from agents.pipeline import STAGES
from streams.topics import COMPLETIONS, GUARDED, MISSES, OUTCOMES, REQUESTS

CLASSES = (GuardrailStage, CacheStage, LlmStage, OutputStage, CostStage)


def test_every_stage_of_the_diagram_can_be_built() -> None:
    """And nothing is built that the diagram does not name."""
    assert set(_BUILDERS) == set(STAGES)
    assert tuple(each.name for each in CLASSES) == STAGES


def test_the_stages_read_their_topics_in_order() -> None:
    """Each reads what the one before it writes; a consumer group belongs to one stage and topic."""
    assert [each.source for each in CLASSES] == [REQUESTS, GUARDED, MISSES, COMPLETIONS, OUTCOMES]


def test_no_stage_reads_a_compacted_topic() -> None:
    """Compaction would take away a request that waits behind another of the same key."""
    assert not any(each.source.compacted for each in CLASSES)
