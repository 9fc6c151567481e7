"""Keeps the vectors of embedding replies apart from the registry, and for a shorter time.

A chat reply has a few kB and is kept for a day. Vectors have up to some MB: ten large replies a second would
fill Redis with a terabyte a day. So the registry keeps the reply without its vectors, which is enough to
recognise a repeat. The vectors are kept for as long as clients usually retry after a timeout.
"""

import msgspec
from redis.asyncio import Redis

from streams.events import Embeddings, Reply
from streams.redis.keys import VECTORS, digest


def vectors_key(request_id: str) -> str:
    """Return the key of a request's vectors."""
    return VECTORS.key(digest(request_id))


def taken_out(reply: Reply) -> tuple[Reply, bytes]:
    """Return a reply without its vectors, and the vectors (empty where it has none).

    The registry stores both in one step, so that the vectors are those of the reply that counts.
    """
    embeddings = reply.embeddings
    if embeddings is None:
        return reply, b""
    return _with(reply, msgspec.structs.replace(embeddings, vectors=b"")), embeddings.vectors


async def restored(redis: Redis, reply: Reply | None, *, beside: Reply | None = None) -> Reply | None:
    """Return a reply with its vectors; without them, where they are no longer kept.

    `beside` is another reply to the same request whose vectors are at hand.
    """
    if reply is None or reply.embeddings is None or reply.embeddings.vectors:
        return reply
    wanted = reply.embeddings
    if beside is not None and beside.embeddings is not None and _fits(beside.embeddings.vectors, wanted):
        return _with(reply, beside.embeddings)
    found = await redis.get(vectors_key(reply.request_id))
    if not isinstance(found, bytes) or not _fits(found, wanted):
        return reply
    return _with(reply, msgspec.structs.replace(wanted, vectors=found))


def _fits(vectors: bytes, wanted: Embeddings) -> bool:
    return len(vectors) == wanted.count * wanted.dimensions * 4


def _with(reply: Reply, embeddings: Embeddings) -> Reply:
    return msgspec.structs.replace(reply, embeddings=embeddings)
