"""The vectors of replies to embedding requests, beside the registry and for a shorter time.

A reply of chat has a few kB and is kept for a day, one with vectors up to some MB: kept as long, ten of the
larger ones a second would fill Redis with a terabyte. So the registry keeps the reply without its vectors,
by which a repeat is still recognised and never charged, and the vectors are kept here for as long as clients
come back after a time-out.
"""

import msgspec
from redis.asyncio import Redis

from streams.events import Embeddings, Reply

_KEY = "headrace:vectors:"


class KeptVectors:
    """Takes the vectors out of replies, and puts them back.

    Args:
        redis: the client; its timeouts bound every step.
        ttl_s: how long vectors are kept, in seconds.
    """

    def __init__(self, redis: Redis, *, ttl_s: int) -> None:
        self._redis = redis
        self._ttl_s = ttl_s

    async def kept(self, reply: Reply) -> Reply:
        """Keep the vectors of a reply, and return it without them; another reply as it is."""
        embeddings = reply.embeddings
        if embeddings is None or not embeddings.vectors:
            return reply
        await self._redis.set(_KEY + reply.request_id, embeddings.vectors, ex=self._ttl_s)
        return _with(reply, msgspec.structs.replace(embeddings, vectors=b""))

    async def restored(self, reply: Reply | None, *, beside: Reply | None = None) -> Reply | None:
        """Return a reply with its vectors; without, where they are no longer kept.

        Args:
            reply: as the registry has it.
            beside: a reply to the same request, whose vectors are at hand.
        """
        if reply is None or reply.embeddings is None or reply.embeddings.vectors:
            return reply
        wanted = reply.embeddings
        if beside is not None and beside.embeddings is not None and _fits(beside.embeddings.vectors, wanted):
            return _with(reply, beside.embeddings)
        found = await self._redis.get(_KEY + reply.request_id)
        if not isinstance(found, bytes) or not _fits(found, wanted):
            return reply
        return _with(reply, msgspec.structs.replace(wanted, vectors=found))


def _fits(vectors: bytes, wanted: Embeddings) -> bool:
    return len(vectors) == wanted.count * wanted.dimensions * 4


def _with(reply: Reply, embeddings: Embeddings) -> Reply:
    return msgspec.structs.replace(reply, embeddings=embeddings)
