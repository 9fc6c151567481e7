"""Decompresses request bodies: lz4 frames, zstd, gzip and deflate, as clickhouse-connect sends them.

Responses are not compressed: clients are on the same machine.
"""

import sys
import zlib
from collections.abc import Callable
from typing import Any

import lz4.frame

from headrace.embedded.clickhouse.query_error import QueryError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_GZIP_OR_ZLIB = 47  # zlib's window bits: the header says which of the two it is
_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    "lz4": lz4.frame.LZ4FrameDecompressor,
    "zstd": zstd.ZstdDecompressor,
    "gzip": lambda: zlib.decompressobj(_GZIP_OR_ZLIB),
    "deflate": lambda: zlib.decompressobj(_GZIP_OR_ZLIB),
}


class BodyDecoder:
    """Decompresses one body, chunk by chunk. A body may hold several frames: clients send one per block."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding.strip().lower() or "identity"
        if self._encoding != "identity" and self._encoding not in _DECOMPRESSORS:
            raise QueryError.of(
                "NOT_IMPLEMENTED",
                f"Content-Encoding {encoding} is not supported here: use lz4, zstd, gzip or none",
            )
        self._frame: Any = None

    def feed(self, chunk: bytes) -> bytes:
        """Decompress one chunk."""
        if self._encoding == "identity":
            return chunk
        output: list[bytes] = []
        while chunk:
            if self._frame is None:
                self._frame = _DECOMPRESSORS[self._encoding]()
            try:
                output.append(self._frame.decompress(chunk))
            except (zlib.error, RuntimeError, zstd.ZstdError) as error:
                raise self._invalid(str(error)) from error
            chunk = b""
            if self._frame.eof:
                chunk = self._frame.unused_data or b""
                self._frame = None
        return b"".join(output)

    def finish(self) -> None:
        """Check that the body is complete."""
        if self._frame is not None:
            raise self._invalid("it ends too early")

    def _invalid(self, why: str) -> QueryError:
        return QueryError.of("INCORRECT_DATA", f"The body is not valid {self._encoding}: {why}")
