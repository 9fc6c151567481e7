"""What a worker loads before it connects to anything: most of the time that its start takes."""

import asyncio
import os

import msgspec

from agents.checks.injection.scanner import find_injection
from agents.embeddings.minilm import MiniLmEmbedder
from agents.providers.configured import import_clients
from streams.settings import Settings


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What was loaded. `embedder` is None where the settings want none, or it is loaded when it is needed."""

    embedder: MiniLmEmbedder | None = None


def load_all(settings: Settings) -> Loaded:
    """Load everything at once, for a worker that waits to take over. Takes about 2 s of processor time.

    Raises:
        ConfigurationError: the embedding model is not installed.
    """
    find_injection("")  # compiles the rules
    import_clients(settings)
    return Loaded(embedder=None if settings.embeddings == "off" else MiniLmEmbedder.load())


def wait_for_word(descriptor: int) -> bool:
    """Wait for one byte; False where the other end is closed without one."""
    try:
        return bool(os.read(descriptor, 1))
    finally:
        os.close(descriptor)


async def embedder_of(settings: Settings, loaded: Loaded) -> MiniLmEmbedder | None:
    """Return the embedder, loading it in a thread where that is not done; None where none is wanted."""
    if loaded.embedder is not None or settings.embeddings == "off":
        return loaded.embedder
    return await asyncio.to_thread(MiniLmEmbedder.load)
