"""Hostile HTTP requests as bytes: a seeded mixture over all routes of a server's OpenAPI document."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any
from urllib.parse import quote_from_bytes

import msgspec

from bench.abuse.odd_http import (
    CHUNKS,
    FRAMINGS,
    GOOD_BODIES,
    HEADER_LINES,
    METHODS,
    ODD_TEXT,
    OUR_HEADERS,
    SMUGGLED_BODY,
    TYPES,
    WRONG,
    packed_bodies,
)


class HttpAttack(msgspec.Struct, frozen=True):
    """One connection's worth of bytes.

    Attributes:
        kind: how it is hostile.
        data: what is sent.
        no_body: whether the response has none, because the method is HEAD.
        ended: whether these bytes are at least one whole request (or the beginning of one that nothing can
            mend): whoever sends less may be made to wait.
    """

    kind: str
    data: bytes
    no_body: bool = False
    ended: bool = True


class HttpAttacks:
    """Draws requests.

    Args:
        openapi: the server's document: its routes.
        host: value of a right ``Host`` header.
        keys: of the attacker, who is a tenant; requests without a key and with a wrong one are drawn, too.
        chance: all that is random.
    """

    def __init__(self, openapi: Mapping[str, Any], host: str, keys: Sequence[str], chance: Random) -> None:
        self._routes = [
            (method.upper().encode(), path) for path, each in openapi["paths"].items() for method in each
        ]
        self._host, self._chance = host.encode(), chance
        self._keys = [*(key.encode() for key in keys), *(key.encode() for key in keys), b"hr-wrong", b""]

    def draw(self, count: int) -> Iterator[HttpAttack]:
        """Yield so many."""
        kinds: dict[Callable[[], bytes | tuple[bytes, bool]], float] = {
            self._odd_header_value: 10,
            self._odd_header_line: 8,
            self._many_headers: 3,
            self._long_header: 3,
            self._doubled: 6,
            self._smuggled: 10,
            self._bad_chunks: 6,
            self._odd_path: 12,
            self._odd_query: 8,
            self._odd_method: 5,
            self._odd_version: 3,
            self._random_bytes: 3,
            self._bad_json: 10,
            self._wrong_fields: 14,
            self._deep: 3,
            self._wrong_type: 4,
            self._packed: 3,
            self._too_large: 1,
            self._unfinished: 2,
        }
        for draw in self._chance.choices(list(kinds), list(kinds.values()), k=count):
            made = draw()
            data, ended = made if isinstance(made, tuple) else (made, True)
            kind = draw.__name__.removeprefix("_")
            yield HttpAttack(kind, data, no_body=data.startswith(b"HEAD "), ended=ended)

    # ── the parts ──────────────────────────────────────────────────────────────────────────────────

    def _route(self) -> tuple[bytes, bytes]:
        method, path = self._chance.choice(self._routes)
        while "{" in path:
            before, _, rest = path.partition("{")
            path = f"{before}{quote_from_bytes(self._text())}{rest.partition('}')[2]}"
        return method, path.encode()

    def _text(self) -> bytes:
        return self._chance.choice((b"none", b"cost_by_day", *ODD_TEXT))

    def _request(
        self,
        *,
        line: bytes | None = None,
        headers: Sequence[tuple[bytes, bytes]] = (),
        body: bytes | None = None,
        length: bool = True,
    ) -> bytes:
        method, path = self._route()
        if body is None and line is None and method in (b"POST", b"PUT"):
            body = self._good_body()
        named = {name.lower() for name, _ in headers}
        shown: list[tuple[bytes, bytes]] = []
        if b"host" not in named:
            shown.append((b"Host", self._host))
        if b"authorization" not in named and (key := self._chance.choice(self._keys)):
            shown.append((b"Authorization", b"Bearer " + key))
        if body is not None and length:
            shown.append((b"Content-Length", str(len(body)).encode()))
        if b"connection" not in named:
            shown.append((b"Connection", b"close"))
        head = b"".join(name + b": " + value + b"\r\n" for name, value in (*shown, *headers))
        return (line or method + b" " + path + b" HTTP/1.1") + b"\r\n" + head + b"\r\n" + (body or b"")

    def _post(
        self, body: bytes, headers: Sequence[tuple[bytes, bytes]] = (), *, length: bool = True
    ) -> bytes:
        """Return a request with a body, to a route that takes one."""
        paths = [path for method, path in self._routes if method == b"POST" and "{" not in path]
        path = self._chance.choice(paths or ["/health"]).encode()
        line = b"POST " + path + b" HTTP/1.1"
        return self._request(line=line, headers=headers, body=body, length=length)

    def _good_body(self) -> bytes:
        return msgspec.json.encode(self._chance.choice(GOOD_BODIES))

    # ── the kinds ──────────────────────────────────────────────────────────────────────────────────

    def _odd_header_value(self) -> bytes:
        text = self._text().replace(b"\r", b"").replace(b"\n", b"")
        return self._request(headers=[(self._chance.choice(OUR_HEADERS), text)])

    def _odd_header_line(self) -> bytes:
        odd = self._chance.choice(HEADER_LINES)
        request = self._request()
        line, _, rest = request.partition(b"\r\n")
        return line + b"\r\n" + odd + b"\r\n" + rest

    def _many_headers(self) -> bytes:
        count = self._chance.choice((101, 1_000, 5_000))
        return self._request(headers=[(b"X-%d" % number, b"v") for number in range(count)])

    def _long_header(self) -> bytes:
        size = self._chance.choice((8_000, 33_000, 70_000, 1_000_000))
        name, value = self._chance.choice(((b"X-Long", b"v" * size), (b"X" * size, b"v")))
        if self._chance.random() < 0.3:
            name, value = self._chance.choice(OUR_HEADERS[:9]), b"v" * size
        return self._request(headers=[(name, value)])

    def _doubled(self) -> bytes:
        name = self._chance.choice(OUR_HEADERS)
        return self._request(headers=[(name, b"1"), (name, self._chance.choice((b"1", b"2", b"")))])

    def _smuggled(self) -> bytes:
        return self._post(SMUGGLED_BODY, self._chance.choice(FRAMINGS), length=False)

    def _bad_chunks(self) -> bytes:
        body = self._chance.choice(CHUNKS)
        return self._post(body, [(b"Transfer-Encoding", b"chunked")], length=False)

    def _odd_path(self) -> bytes:
        _, path = self._route()
        odd = self._chance.choice(
            (
                path + b"/",
                b"/" + path,
                path + b"%00",
                path + b"/../../x",
                b"/%2e%2e/%2e%2e/etc/passwd",
                b"/" + b"a" * self._chance.choice((9_000, 40_000, 70_000)),
                b"/\xff\xfe",
                b"/%ff%fe",
                b"/%",
                b"*",
                b"",
                b"http://elsewhere.example" + path,
                b"//elsewhere.example" + path,
                path + b"#x",
                path + b"\x00",
                path + b"\t",
            )
        )
        line = self._chance.choice(METHODS[:4]) + b" " + odd + b" HTTP/1.1"
        return self._request(line=line, headers=self._chance.choice(([], [(b"Host", b"elsewhere.example")])))

    def _odd_query(self) -> bytes:
        method, path = self._route()
        names = (
            b"since",
            b"until",
            b"limit",
            b"tenant",
            b"format",
            b"interval",
            b"user_id",
            b"key",
            b"after",
        )
        query = b"&".join(
            self._chance.choice(names) + b"=" + quote_from_bytes(self._text()).encode()
            for _ in range(self._chance.choice((1, 2, 500)))
        )
        return self._request(line=method + b" " + path + b"?" + query[:30_000] + b" HTTP/1.1")

    def _odd_method(self) -> bytes:
        method = self._chance.choice((*METHODS, b"get", b"FOO", b"A" * 300, b"G\x00T", b"PRI", b"SEARCH"))
        return self._request(line=method + b" " + self._route()[1] + b" HTTP/1.1")

    def _odd_version(self) -> bytes:
        version = self._chance.choice(
            (b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/9.9", b"http/1.1", b"", b"HTTP/1.1 x")
        )
        return self._request(line=b"GET /health " + version)

    def _random_bytes(self) -> bytes:
        return self._chance.randbytes(self._chance.choice((1, 16, 4_096))) + b"\r\n\r\n"

    def _bad_json(self) -> bytes:
        good = self._good_body()
        return self._post(
            self._chance.choice(
                (
                    good[: self._chance.randrange(len(good))],
                    b"\xef\xbb\xbf" + good,
                    good.decode().encode("utf-16"),
                    good.replace(b"lye", b"\xff"),
                    good.replace(b"lye", rb"\ud800"),
                    good.replace(b"lye", rb"\u0000"),
                    b'{"a":1,' * 3,
                    b"NaN",
                    b"",
                    b"9" * 100_000,
                    good[:-1] + b',"max_tokens":' + b"9" * 5_000 + b"}",
                    good[:-1] + b',"temperature":1e999}',
                    good[:-1] + b',"user_id":"a","user_id":"b"}',
                    b"[" + good + b"]",
                    b"null",
                )
            )
        )

    def _wrong_fields(self) -> bytes:
        body = dict(self._chance.choice(GOOD_BODIES))
        names = (
            *body,
            "metadata",
            "tools",
            "tool_choice",
            "stop",
            "stream",
            "seed",
            "variables",
            "webhook",
            "system",
        )
        for _ in range(self._chance.randint(1, 3)):
            body[self._chance.choice(names)] = self._chance.choice(WRONG)
        return self._post(msgspec.json.encode(body | {"deadline_ms": 30_000} if "query" in body else body))

    def _deep(self) -> bytes:
        depth = self._chance.choice((50, 1_000, 100_000))
        deep = b'{"a":' * depth + b"1" + b"}" * depth
        good = self._good_body()
        return self._post(
            self._chance.choice((deep, b"[" * depth, good[:-1] + b',"metadata":' + deep + b"}"))
        )

    def _wrong_type(self) -> bytes:
        return self._post(self._good_body(), [(b"Content-Type", self._chance.choice(TYPES))])

    def _packed(self) -> bytes:
        """A body that says it is compressed: a bomb, or none at all."""
        name, body = self._chance.choice(packed_bodies())
        return self._post(body, [(b"Content-Encoding", name)])

    def _too_large(self) -> bytes:
        return self._post(b'{"query": "' + b"x" * self._chance.choice((300_000, 9_000_000)) + b'"}')

    def _unfinished(self) -> tuple[bytes, bool]:
        """Less than was announced: the server may wait for the rest, but not for ever."""
        whole = self._post(self._good_body())
        return whole[: self._chance.randrange(1, len(whole))], False
