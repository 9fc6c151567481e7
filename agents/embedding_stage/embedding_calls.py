"""Embedding calls: one model for all tries, because other models' vectors do not compare with its own."""

from collections.abc import Mapping

from agents.embedding_stage.embedding_request import EmbeddingRequest
from agents.paid_calls.call_progress import CallProgress
from agents.paid_calls.ports import Clock
from agents.paid_calls.pseudonyms import hashed_user
from agents.paid_calls.route import Route
from agents.providers.provider import Embedded, EmbeddingCall, EmbeddingProvider, Timeouts
from streams.models import ProviderName


class EmbeddingCalls:
    """Makes embedding calls."""

    #: No other model can stand in, and a few quick faults of some requests should not fail all others.
    waits_for_circuit = True

    def __init__(self, providers: Mapping[ProviderName, EmbeddingProvider], *, clock: Clock) -> None:
        self._providers = providers
        self._clock = clock

    def new_call(
        self, request: EmbeddingRequest, route: Route, *, call_id: str, timeouts: Timeouts
    ) -> EmbeddingCall:
        """Return the call to send to the model."""
        return EmbeddingCall(
            call_id=call_id,
            model=route.model.name,
            inputs=request.order.inputs,
            timeouts=timeouts,
            input_tokens=request.input_tokens,
            dimensions=request.order.dimensions,
            user=hashed_user(request.envelope),
        )

    async def send(self, request: EmbeddingRequest, progress: CallProgress[EmbeddingCall, Embedded]) -> None:
        """Send the call.

        Raises:
            ProviderFault: there are no vectors.
        """
        provider = self._providers[request.order.model.provider]
        progress.take(await provider.embed(progress.call), self._clock.monotonic())
