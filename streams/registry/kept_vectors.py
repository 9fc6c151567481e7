"""The vectors of replies to embedding requests, beside the registry and for a shorter time.

A reply of chat has a few kB and is kept for a day, one with vectors up to some MB: kept as long, ten of the
larger ones a second would fill Redis with a terabyte. So the registry keeps the reply without its vectors,
by which a repeat is still recognised and never charged, and the vectors are kept here for as long as clients
come back after a time-out.
"""

import msgspec
from redis.asyncio import Redis

from streams.events import Embeddings, Reply
from streams.redis.keys import VECTORS, digest


def vectors_key(request_id: str) -> str:
    """Return the key of the vectors that are kept for a request."""
    return VECTORS.key(digest(request_id))


def taken_out(reply: Reply) -> tuple[Reply, bytes]:
    """Return a reply without its vectors, and the vectors; another reply as it is, and nothing.

    The registry stores both in one step: they are kept where the reply is the one that counts.
    """
    embeddings = reply.embeddings
    if embeddings is None:
        return reply, b""
    return _with(reply, msgspec.structs.replace(embeddings, vectors=b"")), embeddings.vectors


class KeptVectors:
    """Puts the vectors of replies back.

    Args:
        redis: the client; its timeouts bound every step.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

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
        found = await self._redis.get(vectors_key(reply.request_id))
        if not isinstance(found, bytes) or not _fits(found, wanted):
            return reply
        return _with(reply, msgspec.structs.replace(wanted, vectors=found))


def _fits(vectors: bytes, wanted: Embeddings) -> bool:
    return len(vectors) == wanted.count * wanted.dimensions * 4


def _with(reply: Reply, embeddings: Embeddings) -> Reply:
    return msgspec.structs.replace(reply, embeddings=embeddings)
