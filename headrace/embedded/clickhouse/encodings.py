"""HTTP content encodings: gzip, deflate, lz4 frames and zstd, streamed in both directions."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from typing import Any, Protocol

import lz4.frame

from headrace.embedded.clickhouse.faults import QueryFailed

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_CODE_NOT_IMPLEMENTED = 48
_CODE_INCORRECT_DATA = 117
_ZLIB_LEVEL = 3  # the server's http_zlib_compression_level
_ZSTD_LEVEL = 1
_GZIP_WBITS = 31
_ANY_ZLIB_WBITS = 47

PREFERRED = ("lz4", "zstd", "gzip", "deflate")
"""What a response is encoded with, the cheapest first, where the client accepts several."""


class Encoder(Protocol):
    """Compresses a response."""

    def compress(self, data: bytes) -> bytes:
        """Take a chunk; may keep it for later."""

    def flush(self) -> bytes:
        """What is left, and the end."""


class _Lz4Encoder:
    def __init__(self) -> None:
        self._compressor = lz4.frame.LZ4FrameCompressor()
        self._begun = False

    def compress(self, data: bytes) -> bytes:
        begin = b"" if self._begun else bytes(self._compressor.begin())
        self._begun = True
        return begin + bytes(self._compressor.compress(data))

    def flush(self) -> bytes:
        return self.compress(b"") + bytes(self._compressor.flush())


_ENCODERS: dict[str, Callable[[], Any]] = {
    "lz4": _Lz4Encoder,
    "zstd": lambda: zstd.ZstdCompressor(level=_ZSTD_LEVEL),
    "gzip": lambda: zlib.compressobj(_ZLIB_LEVEL, zlib.DEFLATED, _GZIP_WBITS),
    "deflate": lambda: zlib.compressobj(_ZLIB_LEVEL),
}
_DECODERS: dict[str, Callable[[], Any]] = {
    "lz4": lz4.frame.LZ4FrameDecompressor,
    "zstd": zstd.ZstdDecompressor,
    "gzip": lambda: zlib.decompressobj(_ANY_ZLIB_WBITS),
    "x-gzip": lambda: zlib.decompressobj(_ANY_ZLIB_WBITS),
    "deflate": lambda: zlib.decompressobj(_ANY_ZLIB_WBITS),
}


def encoder(name: str) -> Encoder:
    """A new encoder for a name out of `PREFERRED`."""
    made: Encoder = _ENCODERS[name]()
    return made


def choose(accept_encoding: str) -> str | None:
    """The encoding to answer with; None for none. An encoding with q=0 is refused by the client."""
    accepted = set()
    for part in accept_encoding.lower().split(","):
        name, _, quality = part.partition(";")
        if quality.replace(" ", "") not in ("q=0", "q=0.0"):
            accepted.add(name.strip())
    return next((name for name in PREFERRED if name in accepted), None)


class Decoder:
    """Decompresses a request's body, also one of several frames.

    Args:
        encoding: The Content-Encoding; empty for none.

    Raises:
        QueryFailed: The encoding is not one of those above.
    """

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding.strip().lower()
        if self._encoding not in ("", "identity", *_DECODERS):
            raise QueryFailed.of(
                _CODE_NOT_IMPLEMENTED,
                "NOT_IMPLEMENTED",
                f"Content-Encoding {encoding} is not supported here: use lz4, zstd, gzip or none",
            )
        self._new = _DECODERS.get(self._encoding)
        self._stream: Any = self._new() if self._new else None
        self._begun = False

    def feed(self, chunk: bytes) -> bytes:
        """Decompress one chunk.

        Raises:
            QueryFailed: The bytes are not of that encoding.
        """
        if self._new is None:
            return chunk
        out: list[bytes] = []
        while chunk:
            self._begun = True
            try:
                out.append(self._stream.decompress(chunk))
            except (zlib.error, RuntimeError, zstd.ZstdError) as error:
                raise self._broken(str(error)) from error
            chunk = b""
            if self._stream.eof:
                chunk = self._stream.unused_data or b""
                self._stream = self._new()
                self._begun = False
        return b"".join(out)

    def finish(self) -> None:
        """Check that the body was complete.

        Raises:
            QueryFailed: It ends within a frame.
        """
        if self._begun:
            raise self._broken("it ends too early")

    def _broken(self, why: str) -> QueryFailed:
        text = f"The body is not valid {self._encoding}: {why}"
        return QueryFailed.of(_CODE_INCORRECT_DATA, "INCORRECT_DATA", text)
