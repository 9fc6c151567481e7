"""Finds the answer to a similar question in two tiers, so that a new question costs no transformer run.

The static vectors of a scope give a few candidates; freshness and the veto take out those whose answer must
not be given. Only if any are left, MiniLM embeds the question, and the candidates that nobody has embedded
yet. Its cosine decides.
"""

from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from agents.cache.veto import veto
from agents.embeddings.minilm import MiniLmEmbedder, Vectors
from agents.stores.answer_cache import AnswerCache, CacheCandidate, CachedAnswer
from streams.events import CacheSlot

#: The least static cosine of a candidate. It finds 98 % of the hits or more (`bench/cache_tiers.py`); 0.75
#: would lose 5 % on QQP.
STATIC_THRESHOLD = 0.70


class SimilarQuestions:
    """Finds the nearest question among candidates. Raises `TransientFault` where Redis or MiniLM fails."""

    def __init__(self, cache: AnswerCache, embedder: MiniLmEmbedder) -> None:
        self._cache = cache
        self._embedder = embedder

    def with_static_vector(self, slot: CacheSlot) -> CacheSlot:
        """Return the slot with its static vector, if the embedder reads all of its text.

        Two longer texts that are equal up to there would have one embedding.
        """
        vector = self._embedder.static_vector(slot.text)
        return slot if vector is None else msgspec.structs.replace(slot, static_vector=vector.tobytes())

    async def nearest(
        self,
        slot: CacheSlot,
        found: Sequence[CacheCandidate],
        may_serve: Callable[[CachedAnswer], bool],
    ) -> tuple[CacheSlot, float, CachedAnswer] | None:
        """Return the nearest of what was found whose answer may be given: `may_serve` and the veto agree.

        Its cosine and answer come with the slot, which then has the question's embedding.
        """
        candidates = [
            each for each in found if may_serve(each.answer) and veto(slot.text, each.answer.text) is None
        ]
        if not candidates:
            return None
        asked, vectors = await self._embedded(slot, candidates)
        cosines = vectors @ asked
        best = int(cosines.argmax())
        slot = msgspec.structs.replace(slot, vector=_packed(asked))
        return slot, round(float(cosines[best]), 6), candidates[best].answer

    async def _embedded(
        self, slot: CacheSlot, candidates: Sequence[CacheCandidate]
    ) -> tuple[Vectors, Vectors]:
        """Return the embeddings of the question and of the candidates; keep those computed now."""
        unread = [each for each in candidates if each.vector is None]
        asked, *computed = await self._embedder.embed([slot.text, *(each.answer.text for each in unread)])
        packed = {each.name: _packed(vector) for each, vector in zip(unread, computed, strict=True)}
        await self._cache.keep_vectors(slot.scope, packed)
        vectors = [each.vector or packed[each.name] for each in candidates]
        return asked, np.stack([_unpacked(vector) for vector in vectors])


def _packed(vector: Vectors) -> bytes:
    """Return a unit vector in 16 bits: the cosine changes by less than 0.0005."""
    return vector.astype("<f2").tobytes()


def _unpacked(packed: bytes) -> Vectors:
    return np.frombuffer(packed, dtype="<f2").astype(np.float32)
