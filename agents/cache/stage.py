"""The cache stage: chooses the prompt, renders it, and looks for an answer that may be given again."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial

import msgspec
import structlog

from agents.cache.similar import STATIC_THRESHOLD, SimilarQuestions
from agents.cache.slot import cache_slot
from agents.checks.output_policy import OutputPolicy
from agents.embeddings.minilm import MiniLmEmbedder
from agents.intake.replies import input_error_info, outcome_emits
from agents.prompts import DEFAULT_TEMPLATE, PromptCatalogue
from agents.stage import Delivery
from agents.stores.answer_cache import AnswerCache, CachedAnswer
from agents.worker_ports import WorkerPorts, embedder_of
from streams import pipeline
from streams.control.catalogue import LiveCatalogue
from streams.errors import InvalidRequest, StoreUnavailable, TransientFault
from streams.events import (
    CacheKind,
    CacheLookup,
    CacheMissed,
    CacheSlot,
    Completion,
    Envelope,
    Message,
    PromptRef,
    RequestGuarded,
    Status,
    Usage,
)
from streams.model_catalogue import Model
from streams.publisher import Emit
from streams.request_rules.cache_directives import CacheDirectives, cache_directives
from streams.request_rules.chat import unknown_model

_BYPASS = CacheLookup(kind=CacheKind.BYPASS)

log = structlog.get_logger(__name__)


class CacheSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`threshold` is the least cosine of two queries that may have the same answer.

    `checked_by` is the fingerprint of the output policy.
    """

    threshold: float
    default_model: str
    default_max_tokens: int
    checked_by: str = ""
    max_temperature: float = 1.0


class _Rendered(msgspec.Struct, frozen=True, kw_only=True):
    messages: tuple[Message, ...]
    model: str
    max_output_tokens: int
    prompt: PromptRef | None = None


class _LookedUp(msgspec.Struct, frozen=True, kw_only=True):
    """What a look into the cache gave. `slot` has the vectors that were computed for it."""

    slot: CacheSlot
    lookup: CacheLookup
    answer: CachedAnswer | None = None
    miss_noted: bool = False


class CacheStage:
    """Renders the prompt and answers from the cache where an earlier answer is right.

    Similar queries are found by the vectors of `embedder`; without one there are exact matches only.
    """

    spec = pipeline.CACHE

    def __init__(
        self,
        settings: CacheSettings,
        prompts: PromptCatalogue,
        cache: AnswerCache,
        embedder: MiniLmEmbedder | None,
        models: LiveCatalogue,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._prompts = prompts
        self._cache = cache
        self._vectors = embedder.name if embedder else ""
        self._similar = SimilarQuestions(cache, embedder) if embedder else None
        self._models = models
        self._clock = clock

    async def handle(self, delivery: Delivery[RequestGuarded]) -> Sequence[Emit]:
        """Return the cached answer, or the rendered prompt for the model."""
        envelope = delivery.event.envelope
        try:
            rendered = self._render(envelope)
        except InvalidRequest as fault:
            return outcome_emits(envelope, Status.FAILED, error=input_error_info(fault))
        envelope = msgspec.structs.replace(envelope, prompt=rendered.prompt)
        slot = cache_slot(
            envelope,
            rendered.messages,
            rendered.prompt,
            model=rendered.model,
            max_temperature=self._settings.max_temperature,
            vectors=self._vectors,
            checked_by=self._settings.checked_by,
        )
        wanted = cache_directives(envelope.request.headrace_cache)
        if slot is None or not wanted.store:
            return self._miss(envelope, rendered, None, _BYPASS)
        asker = f"{envelope.request_id}:{envelope.replay}"
        looked_up = await self._look_up(slot, rendered.messages, asker, wanted)
        if looked_up.answer is not None:
            return _hit(envelope, looked_up.lookup, looked_up.answer)
        if not looked_up.miss_noted:
            try:
                await self._cache.note_miss(asker)
            except StoreUnavailable as fault:
                log.warning("cache.miss_not_noted", request=asker, error=str(fault))
        return self._miss(envelope, rendered, looked_up.slot, looked_up.lookup)

    async def delivered(self, delivery: Delivery[RequestGuarded]) -> None:
        """Nothing to note: a miss was noted before it was sent, and a second hit does no harm."""

    def _render(self, envelope: Envelope) -> _Rendered:
        request, settings = envelope.request, self._settings
        prompt, messages = None, request.messages
        name, max_tokens = settings.default_model, settings.default_max_tokens
        if messages is None:
            template, prompt = self._prompts.resolve(request.template or DEFAULT_TEMPLATE, envelope.user_id)
            text = template.render({**(request.variables or {}), "query": request.query or ""})
            messages = (Message(role="user", content=text),)
            name, max_tokens = template.model, template.max_output_tokens
        model = self._model(request.model or name)
        return _Rendered(
            messages=messages,
            model=model.name,
            max_output_tokens=min(request.max_tokens or max_tokens, model.max_output_tokens),
            prompt=prompt,
        )

    def _model(self, name: str) -> Model:
        """Return a model; it may have been taken away since the request was checked."""
        catalogue = self._models.current
        if (model := catalogue.chat_model(name)) is None:
            raise unknown_model(name, catalogue)
        return model

    async def _look_up(
        self, slot: CacheSlot, messages: tuple[Message, ...], asker: str, wanted: CacheDirectives
    ) -> _LookedUp:
        """Look for an answer. Where Redis or the embedder fails, the result is a miss.

        A record that is delivered again after its miss was sent is a miss again, whatever is in the cache by
        now: a model is being asked, and the one outcome must hold the cost of that.
        """
        missed = CacheLookup(kind=CacheKind.MISS) if wanted.read else _BYPASS
        try:
            # After tools have acted, a question is about their results.
            if self._similar and not any(each.role == "tool" or each.tool_calls for each in messages):
                slot = self._similar.with_static_vector(slot)
            if not wanted.read:
                return _LookedUp(slot=slot, lookup=missed)
            found = await self._cache.look_up(
                slot, asker=asker, least=STATIC_THRESHOLD, any_age=wanted.max_age_s is None
            )
            if found.exact is not None and self._is_fresh(found.exact, wanted.max_age_s):
                lookup = self._found(CacheKind.EXACT, 1.0, found.exact)
                return _LookedUp(slot=slot, lookup=lookup, answer=found.exact)
            may_serve = partial(self._is_fresh, max_age_s=wanted.max_age_s)
            nearest = await self._similar.nearest(slot, found.similar, may_serve) if self._similar else None
        except TransientFault as fault:
            log.warning("cache.unavailable", error=str(fault))
            return _LookedUp(slot=slot, lookup=missed)
        if nearest is None:
            return _LookedUp(slot=slot, lookup=missed, miss_noted=found.missed)
        slot, cosine, answer = nearest
        if cosine >= self._settings.threshold:
            lookup = self._found(CacheKind.SEMANTIC, cosine, answer)
            return _LookedUp(slot=slot, lookup=lookup, answer=answer)
        return _LookedUp(slot=slot, lookup=msgspec.structs.replace(missed, similarity=cosine))

    def _found(self, kind: CacheKind, similarity: float, answer: CachedAnswer) -> CacheLookup:
        return CacheLookup(
            kind=kind,
            similarity=similarity,
            source_request_id=answer.request_id,
            age_s=int(self._age_s(answer)),
        )

    def _is_fresh(self, answer: CachedAnswer, max_age_s: int | None) -> bool:
        return max_age_s is None or self._age_s(answer) <= max_age_s

    def _age_s(self, answer: CachedAnswer) -> float:
        return max(0.0, (self._clock() - answer.cached_at).total_seconds())

    def _miss(
        self, envelope: Envelope, rendered: _Rendered, slot: CacheSlot | None, lookup: CacheLookup
    ) -> Sequence[Emit]:
        event = CacheMissed(
            envelope=msgspec.structs.replace(envelope, cache=lookup),
            messages=rendered.messages,
            default_model=rendered.model,
            max_output_tokens=rendered.max_output_tokens,
            cache_slot=slot,
        )
        return (Emit.to(self.spec.next, event, key=envelope.request_id),)


def _hit(envelope: Envelope, lookup: CacheLookup, answer: CachedAnswer) -> Sequence[Emit]:
    completion = Completion(
        content=answer.content,
        model=answer.model,
        provider=answer.provider,
        finish_reason=answer.finish_reason,
        usage=Usage(),
    )
    return outcome_emits(
        msgspec.structs.replace(envelope, cache=lookup), Status.CACHED, completion=completion
    )


async def build(ports: WorkerPorts, resources: AsyncExitStack) -> CacheStage:
    """Return the stage, with its embedding model loaded."""
    settings = ports.settings
    embedder = await embedder_of(settings, ports.loaded)
    if embedder is not None:
        resources.callback(embedder.close)
    return CacheStage(
        CacheSettings(
            threshold=settings.cache_threshold,
            default_model=settings.default_model,
            default_max_tokens=settings.default_max_tokens,
            max_temperature=settings.cache_max_temperature,
            checked_by=OutputPolicy.from_settings(settings).fingerprint,
        ),
        ports.prompts,
        ports.cache,
        embedder,
        ports.models,
    )
