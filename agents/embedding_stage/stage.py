"""The embeddings stage: takes a request in, claims it, asks its model, and says what came of it.

It does in one hop what the guardrail and the LLM stage do for chat, by the same rules: the registry knows
repeats, the journal has each call before it is sent, and the outcome goes to *cost* with every call in it.
Texts are not searched for injections: an embedding model follows no instructions.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack

from agents.checks import pii
from agents.checks.pii import Redact
from agents.embedding_stage.embedding_calls import (
    EmbeddingCalls,
    EmbeddingRequest,
    conclude,
    not_served,
    redacted_request,
)
from agents.intake.intake import Admitted, Intake
from agents.intake.replies import input_error_info, outcome_emits
from agents.paid_calls.call_loop import CallLoop
from agents.paid_calls.call_policy import CallPolicy
from agents.paid_calls.paid_request import CallPorts, StageLog
from agents.paid_calls.paid_work import PaidWork
from agents.providers.adapters import embedding_clients
from agents.providers.clients import ProviderClients
from agents.providers.openai.embeddings import OpenAIEmbeddings
from agents.stage import Delivery
from agents.stores.journal import Journal
from agents.stores.journal_entries import Lease
from agents.worker_ports import WorkerPorts
from streams import pipeline
from streams.codec import decode, encode
from streams.errors import InputError
from streams.events import EmbeddingsRequested, Envelope, Event, LlmCall, OutcomeReached, Status
from streams.publisher import Emit
from streams.request_rules.embeddings import check_embeddings, embedding_model
from streams.settings import Settings
from streams.topics import OUTCOMES

#: From this size on a request is counted and redacted in a thread: the event loop has heartbeats to send.
_LONG_BYTES = 8_192


class AdmittedEmbeddings(Event, frozen=True, kw_only=True):
    """A request that failed here after it was admitted, with the calls that were made for it."""

    envelope: Envelope


class EmbeddingsStage:
    """Gets vectors from a model, once per request whatever happens to the worker."""

    spec = pipeline.EMBEDDINGS

    def __init__(
        self,
        *,
        intake: Intake,
        providers: ProviderClients[OpenAIEmbeddings],
        redact: Redact,
        settings: Settings,
        policy: CallPolicy,
        ports: CallPorts,
    ) -> None:
        self._intake = intake
        self._providers = providers
        self._redact = redact
        self._settings = settings
        self._models = ports.models
        log = StageLog(self.spec.name)
        self._work = PaidWork[EmbeddingRequest, OutcomeReached](
            ports,
            log=log,
            instance=policy.instance_id,
            pack=encode,
            unpack=lambda stored: decode(stored, OutcomeReached),
        )
        calls = EmbeddingCalls(providers, clock=ports.clock)
        self.loop = CallLoop(calls, journal=self._work.call_journal, ports=ports, policy=policy, log=log)

    async def handle(self, delivery: Delivery[EmbeddingsRequested]) -> Sequence[Emit]:
        """Return the outcome; of a repeat, its stored reply or nothing. Raises what `PaidWork.run` does."""
        admitted = await self._intake.admit(delivery.record, delivery.event)
        if not isinstance(admitted, Admitted):
            return admitted
        envelope = admitted.envelope
        if admitted.refusal is not None:
            return outcome_emits(envelope, Status.FAILED, error=input_error_info(admitted.refusal))
        self._work.open(delivery, envelope)
        try:
            request = await self._checked(delivery, envelope)
        except InputError as fault:
            return outcome_emits(envelope, Status.FAILED, error=input_error_info(fault))
        # What has been cancelled, or is late, is claimed all the same: calls may have been made for it.
        outcome = await self._work.run(delivery, request=request, outcome=self._outcome)
        return () if outcome is None else (Emit.to(OUTCOMES, outcome, key=envelope.request_id),)

    async def delivered(self, delivery: Delivery[EmbeddingsRequested]) -> None:
        """Note that the broker has the result."""
        await self._work.delivered(delivery)

    async def recover_calls(self, delivery: Delivery[EmbeddingsRequested], fault: BaseException) -> Event:
        """Return the request in its envelope, with every call that was made for it.

        A request that was not admitted, as far as we know, comes back as it is.
        """
        admitted = self._work.envelope_of(delivery)
        envelope = admitted or self._intake.open(delivery.record, delivery.event)
        with_calls = await self._work.recover_calls(delivery, envelope, fault)
        if admitted is None and not with_calls.calls:
            return delivery.event
        return AdmittedEmbeddings(envelope=with_calls)

    async def _checked(
        self, delivery: Delivery[EmbeddingsRequested], envelope: Envelope
    ) -> Callable[[Lease, Iterable[LlmCall]], EmbeddingRequest]:
        catalogue = self._models.current

        def check() -> Callable[[Lease, Iterable[LlmCall]], EmbeddingRequest]:
            return redacted_request(
                delivery.event,
                envelope,
                model=embedding_model(delivery.event.model, catalogue),
                input_tokens=check_embeddings(delivery.event, self._settings, catalogue),
                redact=self._redact,
            )

        if len(delivery.record.value or b"") > _LONG_BYTES:
            return await asyncio.to_thread(check)
        return check()

    async def _outcome(self, request: EmbeddingRequest) -> OutcomeReached:
        model = request.model
        if model.provider not in self._providers:
            return not_served(request)
        return conclude(request, await self.loop.run(request, [model]))


async def build(ports: WorkerPorts, resources: AsyncExitStack) -> EmbeddingsStage:
    """Return the stage, with a client for each configured provider."""
    settings = ports.settings
    providers = embedding_clients(settings)
    resources.push_async_callback(providers.aclose)
    ports.control.subscribe(providers.follow)
    return EmbeddingsStage(
        intake=Intake(
            ports.registry,
            has_topic=ports.publisher.has,
            reply_topics=settings.reply_topics,
            default_deadline_ms=settings.default_deadline_ms,
        ),
        providers=providers,
        redact=pii.redact,
        settings=settings,
        policy=CallPolicy.from_settings(settings),
        ports=CallPorts(journal=Journal(ports.redis, ttl_s=settings.registry_ttl_s), models=ports.models),
    )
