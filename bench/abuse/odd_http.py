"""What the HTTP attack is made of: odd texts, headers, framings, chunks and bodies."""

import gzip
import zlib
from collections.abc import Sequence
from functools import cache
from typing import Any

METHODS = (b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"HEAD", b"OPTIONS", b"TRACE", b"CONNECT")
ODD_TEXT: Sequence[bytes] = (
    b"\x00",
    b"\x7f",
    b"\xff\xfe",
    b"\xc3\x28",
    b"'; DROP TABLE requests; --",
    b"../../../etc/passwd",
    b"%00",
    b"${jndi:ldap://127.0.0.1/a}",
    b"{{7*7}}",
    b"<script>alert(1)</script>",
    b"9" * 5_000,
    b"-1",
    b"1e999",
    b"a" * 4_096,
    "\u202e∀".encode(),
)
OUR_HEADERS = (
    b"Authorization",
    b"X-API-Key",
    b"X-Request-ID",
    b"Idempotency-Key",
    b"X-Headrace-User",
    b"X-Headrace-Deadline-Ms",
    b"X-Headrace-On-Disconnect",
    b"Last-Event-ID",
    b"traceparent",
    b"Accept",
    b"Accept-Encoding",
    b"Content-Type",
    b"Content-Encoding",
    b"Content-Length",
    b"Transfer-Encoding",
    b"Range",
    b"If-None-Match",
    b"Cookie",
    b"Origin",
    b"Host",
    b"Upgrade",
    b"Expect",
    b"X-Forwarded-For",
)
TYPES = (
    b"text/plain",
    b"application/xml",
    b"multipart/form-data",
    b"application/json; charset=utf-16",
    b"\xff",
)
GOOD_BODIES: Sequence[dict[str, Any]] = (
    {"query": "What is lye?", "user_id": "fuzz"},
    {"model": "gpt-4o", "messages": [{"role": "user", "content": "What is lye?"}]},
    {"model": "gpt-4o", "max_tokens": 16, "messages": [{"role": "user", "content": "What is lye?"}]},
    {"model": "text-embedding-3-small", "input": ["lye"]},
    {"request_id": "none", "name": "thumbs", "value": 1},
)
WRONG: tuple[Any, ...] = (
    None,
    True,
    -1,
    0.5,
    "",
    "\x00",
    [],
    [[]],
    {},
    2**70,
    "9" * 5_000,
    "x" * 40_000,
    {"$ne": 1},
)

HEADER_LINES: Sequence[bytes] = (
    b"no colon",
    b": no name",
    b"Sp ace: x",
    b"Name : x",
    b" folded: x",
    b"X: a\r\n b",
    b"X: a\nY: b",
    b"X: a\rY: b",
    b"\x00: x",
    b"\xff\xfe: x",
    b"X:",
    b"(): x",
)
SMUGGLED_BODY = b"5\r\nhello\r\n0\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n"
_CHUNKED = (b"Transfer-Encoding", b"chunked")
#: Ways to say how long a body is, of which two readers may understand two things.
FRAMINGS: Sequence[Sequence[tuple[bytes, bytes]]] = (
    [(b"Content-Length", b"5"), _CHUNKED],
    [_CHUNKED, (b"Content-Length", b"0")],
    [(b"Transfer-Encoding", b"xchunked")],
    [(b"Transfer-Encoding", b"chunked, identity")],
    [(b"Transfer-Encoding", b"identity"), _CHUNKED],
    [(b"Transfer-Encoding ", b"chunked"), (b"Content-Length", b"3")],
    [(b"Transfer-Encoding", b"\x0bchunked"), (b"Content-Length", b"3")],
    [(b"Content-Length", b"3"), (b"Content-Length", b"4")],
    [(b"Content-Length", b"+3")],
    [(b"Content-Length", b"-3")],
    [(b"Content-Length", b"0x3")],
    [(b"Content-Length", b"3, 3")],
    [(b"Content-Length", b"9" * 30)],
    [(b"Content-Length", b"")],
)
CHUNKS: Sequence[bytes] = (
    b"zz\r\n\r\n",
    b"-1\r\n\r\n",
    b"f" * 20 + b"\r\nx",
    b"1" + b";x=" + b"y" * 40_000 + b"\r\na\r\n0\r\n\r\n",
    b"1\r\nab\r\n0\r\n\r\n",
    b"1\na\n0\n\n",
    b"0\r\nX-Trailer: " + b"t" * 70_000 + b"\r\n\r\n",
    b"0\r\n" + b"X: y\r\n" * 5_000 + b"\r\n",
    b"0\r\nContent-Length: 5\r\n\r\n",
    b"1\r\n{\r\n" * 2_000 + b"0\r\n\r\n",
)


@cache
def packed_bodies() -> Sequence[tuple[bytes, bytes]]:
    """Return values of ``Content-Encoding``, with bodies."""
    spaces = b" " * 50_000_000
    return (
        (b"gzip", gzip.compress(spaces, mtime=0)),
        (b"deflate", zlib.compress(spaces)),
        (b"gzip", b"not gzip"),
        (b"br", b"\x00"),
        (b"gzip, gzip", gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0)),
    )
