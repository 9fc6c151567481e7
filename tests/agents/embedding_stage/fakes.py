"""The stage on fakes: a scripted provider, a journal and a registry in memory, a clock that does not wait."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from itertools import count
from typing import Any

import numpy as np

from agents.checks.pii import Redaction
from agents.embedding_stage.stage import EmbeddingsStage
from agents.intake.intake import Intake
from agents.paid_calls.call_policy import CallPolicy, CircuitBreakers
from agents.paid_calls.paid_request import CallPorts
from agents.providers.faults import ProviderFault
from agents.providers.provider import Embedded, EmbeddingCall
from agents.stage import Delivery, Record
from streams.codec import encode
from streams.events import Embeddings, EmbeddingsRequested, OutcomeReached, Usage
from streams.model_catalogue import ProviderProtocol
from streams.publisher import Emit
from streams.redelivery import FIRST_DELIVERY, Redelivery
from streams.topics import EMBEDDINGS, OUTCOMES
from tests.agents.llm.fakes import NOW, FakeClock, FakeJournal, never
from tests.fakes.providers import clients_of
from tests.fakes.registries import ScriptedRegistry
from tests.fakes.settings import settings_of

SMALL = "text-embedding-3-small"
HANGS = object()
"""Nothing comes."""


def vectors(*numbers: float) -> Embeddings:
    """One vector."""
    packed = np.array(numbers, dtype="<f4").tobytes()
    return Embeddings(count=1, dimensions=len(numbers), vectors=packed)


def embedded(**fields: Any) -> Embedded:
    """An answer to one text."""
    given: dict[str, Any] = {
        "embeddings": vectors(0.5, -0.25),
        "model": SMALL,
        "usage": Usage(input_tokens=1_000),
    }
    return Embedded(**(given | fields))


Step = Embedded | ProviderFault | BaseException | object


class FakeEmbedder:
    """Does the next thing of its script at each call."""

    name = ProviderProtocol.OPENAI

    def __init__(self, script: Iterable[Step], *, before: Callable[[], None] | None = None) -> None:
        self._script = list(script)
        self._before = before
        self.calls: list[EmbeddingCall] = []
        self.stopped = 0

    async def embed(self, call: EmbeddingCall) -> Embedded:
        self.calls.append(call)
        if self._before is not None:
            self._before()
        step = self._script.pop(0)
        if step is HANGS:
            try:
                await asyncio.Event().wait()
            finally:
                self.stopped += 1
        if isinstance(step, BaseException):
            raise step
        assert isinstance(step, Embedded)
        return step

    async def aclose(self) -> None:
        """Nothing to close."""


def wanted(*inputs: str, **fields: Any) -> EmbeddingsRequested:
    """A request of acme's."""
    given: dict[str, Any] = {
        "request_id": "r-1",
        "tenant": "acme",
        "user_id": "ann",
        "inputs": inputs or ("What is a headrace?",),
        "model": SMALL,
        "accepted_at": NOW,
    }
    return EmbeddingsRequested(**(given | fields))


def delivery(
    event: EmbeddingsRequested | None = None,
    *,
    offset: int = 7,
    headers: tuple[tuple[str, bytes], ...] = (),
    again: Redelivery = FIRST_DELIVERY,
    at: datetime = NOW,
) -> Delivery[EmbeddingsRequested]:
    """The event in its record."""
    event = event or wanted()
    record = Record(
        topic=EMBEDDINGS.name,
        partition=0,
        offset=offset,
        timestamp_ms=int(at.timestamp() * 1000),
        key=(event.request_id or "").encode(),
        value=encode(event),
        headers=headers,
        again=again,
    )
    return Delivery(event=event, record=record)


def outcome(emits: Iterable[Emit]) -> OutcomeReached:
    """The one record that the stage sends: the outcome."""
    (emit,) = emits
    assert (emit.topic, emit.key) == (OUTCOMES.name, "r-1")
    assert isinstance(emit.value, OutcomeReached)
    return emit.value


def hide_ann(text: str) -> Redaction:
    """Redact a name."""
    return Redaction(text=text.replace("Ann", "[NAME]"), types=("name",) if "Ann" in text else ())


class Bench:
    """A stage and everything around it."""

    def __init__(
        self,
        script: Iterable[Step] | FakeEmbedder = (),
        *,
        journal: FakeJournal | None = None,
        registry: ScriptedRegistry | None = None,
        pause: Callable[[float], Awaitable[None]] = never,
        served: bool = True,
        redact: Any = hide_ann,
        breakers: CircuitBreakers | None = None,
        **policy: Any,
    ) -> None:
        self.clock = FakeClock()
        self.journal = journal or FakeJournal()
        self.registry = registry or ScriptedRegistry()
        self.provider = script if isinstance(script, FakeEmbedder) else FakeEmbedder(script)
        numbers = count(1)
        self.stage = EmbeddingsStage(
            intake=Intake(
                self.registry,  # type: ignore[arg-type]  # a fake of the same shape
                has_topic=_has_topic,
                reply_topics=(),
                default_deadline_ms=60_000,
            ),
            providers=clients_of({ProviderProtocol.OPENAI: self.provider} if served else {}),
            redact=redact,
            settings=settings_of(embedding_max_inputs=4, max_input_tokens=10_000),
            policy=CallPolicy(**policy),
            ports=CallPorts(
                journal=self.journal,
                clock=self.clock,
                new_call_id=lambda: f"call-{next(numbers)}",
                jitter=lambda: 0.5,
                pause=pause,
            ),
        )
        if breakers is not None:
            self.stage.loop.breakers = breakers

    async def run(self, event: EmbeddingsRequested | None = None) -> OutcomeReached:
        """Send one request through the stage, to the end."""
        given = delivery(event)
        emits = await self.stage.handle(given)
        await self.stage.delivered(given)
        return outcome(emits)


async def _has_topic(topic: str, partition: int | None) -> bool:
    return topic == "llm.replies.v1" and (partition or 0) < 4
