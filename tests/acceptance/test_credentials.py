"""Keys and tokens of callers: used in every way, and found nowhere afterwards."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import psutil
import pytest
import redis
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from streams.kafka.inspector import KafkaInspector
from streams.pipeline import TOPICS
from tests.acceptance.conftest import System, headrace, unique, wait_for

pytestmark = pytest.mark.acceptance

TENANT = "credentials-test"


@contextmanager
def issuer() -> Iterator[tuple[str, RSAKey]]:
    """A running OIDC issuer: its address and the key that signs."""
    key = RSAKey.generate_key(2048, {"kid": "acceptance", "use": "sig"})

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            base = f"http://{self.headers['Host']}"
            found: object = {"issuer": base, "jwks_uri": f"{base}/keys"}
            if self.path == "/keys":
                found = KeySet([key]).as_dict(private=False)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", key
    finally:
        server.shutdown()
        server.server_close()


def ask(system: System, credential: str) -> httpx.Response:
    """Ask something with a key or a token."""
    body = {"messages": [{"role": "user", "content": unique("Who am I?")}], "model": "gpt-4o-mini"}
    headers = {"Authorization": f"Bearer {credential}"}
    return httpx.post(
        f"{system.endpoints.ingest}/v1/chat/completions", json=body, headers=headers, timeout=60
    )


def in_kafka(system: System, secret: bytes) -> list[str]:
    """The topics with a record that holds the secret."""

    async def read() -> list[str]:
        found = set()
        async with KafkaInspector(system.endpoints.kafka, client_id="test", timeout_s=60) as kafka:
            partitions = await kafka.partitions(TOPICS)
            begins, ends = await kafka.beginning_offsets(partitions), await kafka.end_offsets(partitions)
            async for record in kafka.read_between(begins, ends):
                headers = b"".join(value or b"" for _, value in record.headers)
                if secret in (record.key or b"") + (record.value or b"") + headers:
                    found.add(record.topic)
        return sorted(found)

    return asyncio.run(read())


def in_redis(system: System, secret: bytes) -> list[bytes]:
    """The keys that are, or hold, the secret."""
    with redis.Redis.from_url(system.endpoints.redis) as client:
        return [key for key in client.scan_iter(count=1000) if secret in key + (client.dump(key) or b"")]


def in_clickhouse(system: System, secret: str) -> list[str]:
    """The tables with a row that holds the secret."""
    tables = [row["name"] for row in system.sql("SHOW TABLES")]
    query = "SELECT count() AS n FROM {} WHERE position(toString(tuple(*)), {{secret:String}}) > 0"
    return [name for name in tables if int(system.sql(query.format(name), secret=secret)[0]["n"])]


def in_files(folder: Path, secret: bytes) -> list[Path]:
    """The log files that hold the secret."""
    return [path for path in folder.rglob("*.log*") if path.is_file() and secret in path.read_bytes()]


def in_commands(secret: str) -> list[str]:
    """The processes that have the secret among their arguments."""
    return [
        str(each.info["pid"])
        for each in psutil.process_iter(["pid", "cmdline"])
        if any(secret in part for part in each.info["cmdline"] or ())
    ]


def test_keys_and_tokens_are_in_nothing_that_is_kept(healthy: System) -> None:
    """Not in a log, a topic, Redis, ClickHouse or `ps`, after answers and refusals of each."""
    system = healthy
    created = headrace("keys", "create", "--tenant", TENANT, "--json", data_dir=system.data_dir)
    key_id, key = json.loads(created)["id"], json.loads(created)["key"]
    with issuer() as (address, signing):
        spec = {"url": address, "audiences": ["headrace"], "tenant": TENANT, "tier": "unlimited"}
        headrace("control", "set", "issuer", TENANT, json.dumps(spec), data_dir=system.data_dir)
        claims = {"iss": address, "aud": "headrace", "sub": "ann", "exp": int(time.time()) + 600}
        token = jwt.encode({"alg": "RS256", "kid": "acceptance"}, claims, signing)
        for credential in (key, token):
            assert wait_for(lambda it=credential: ask(system, it).status_code == 200, 60)
            assert ask(system, credential + "x").status_code == 401
        answered = ask(system, token).json()
        row = system.row(answered["id"].removeprefix("chatcmpl-"))
        assert (row["tenant"], row["user_id"]) == (TENANT, "ann")
    headrace("control", "remove", "issuer", TENANT, data_dir=system.data_dir)
    headrace("keys", "revoke", key_id, data_dir=system.data_dir)
    for credential in (key, token):
        assert wait_for(lambda it=credential: ask(system, it).status_code == 401, 60)
    for secret in (key, token.rpartition(".")[2]):
        assert in_kafka(system, secret.encode()) == []
        assert in_redis(system, secret.encode()) == []
        assert in_clickhouse(system, secret) == []
        assert in_files(system.data_dir, secret.encode()) == []
        assert in_commands(secret) == []


def test_what_is_looked_for_would_be_found(system: System) -> None:
    """A text that went through is found by each of these searches that could have seen it."""
    answered = system.chat(unique("needle-in-a-haystack"))
    request_id = answered.json()["request_id"]
    system.row(request_id)
    assert "llm.requests.v1" in in_kafka(system, request_id.encode())
    assert "requests" in in_clickhouse(system, request_id)
    assert in_files(system.data_dir, request_id.encode())
    assert in_redis(system, b"answered")
    assert in_commands("headrace")
