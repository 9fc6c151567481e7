"""A tenant that behaves, beside the attack: what it sends and what must come back."""

import asyncio
import json
import uuid
from collections import defaultdict
from contextlib import suppress
from typing import Any, Self

import httpx
import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError

from bench.abuse.forged import MARK
from streams.codec import header
from streams.kafka.clients import stop_client
from streams.topics import REQUESTS

TENANT, USER, KEY = "witness", "witness-user", "hr-abuse-witness"
REPLY_TOPIC = "witness.replies"
#: How its requests may end: its questions are alike, and the semantic cache may know that.
ENDS = ("answered", "cached")

_TIMEOUT_S = 90.0
_POLL_MS = 200
_STOP_S = 15.0


class Witness:
    """Sends good requests over HTTP and Kafka, and notes what is wrong with what comes back.

    Args:
        ingest: address of the HTTP API, which must know `KEY`.
        kafka: host:port of the broker, which must allow `REPLY_TOPIC`.
        webhook: where the ends of some requests are told.
    """

    def __init__(self, ingest: str, kafka: str, webhook: str) -> None:
        self._kafka, self._webhook = kafka, webhook
        self._http = httpx.AsyncClient(
            base_url=ingest,
            headers={"Authorization": f"Bearer {KEY}"},
            timeout=_TIMEOUT_S,
            # Well before ingest closes an idle connection: a request may not meet its end.
            limits=httpx.Limits(keepalive_expiry=1.0),
        )
        self._producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all")
        self._consumer = AIOKafkaConsumer(
            REPLY_TOPIC, bootstrap_servers=kafka, group_id=None, auto_offset_reset="earliest"
        )
        self._reading: asyncio.Task[None] | None = None
        self._replies: defaultdict[bytes, dict[tuple[bytes | None, bytes | None], bytes]] = defaultdict(dict)
        self.request_ids: list[str] = []
        self.over_kafka: dict[bytes, str] = {}
        self.webhooks: set[str] = set()
        self.faults: list[str] = []

    async def __aenter__(self) -> Self:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._kafka)
        await admin.start()
        try:
            with suppress(TopicAlreadyExistsError):
                await admin.create_topics([NewTopic(REPLY_TOPIC, 1, 1)])
        finally:
            await admin.close()
        await self._producer.start()
        await self._consumer.start()
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._reading is not None:
            self._reading.cancel()
            with suppress(asyncio.CancelledError):
                await self._reading
        for client in (self._consumer, self._producer):
            await stop_client(client, timeout_s=_STOP_S)
        await self._http.aclose()

    async def round(self) -> None:
        """Send one request in each way; returns when those over HTTP have ended."""
        await asyncio.gather(self._whole(), self._streamed(), self._told(), self._send_over_kafka())

    async def all_replied(self, timeout_s: float) -> None:
        """Wait for the replies over Kafka, and note those that are missing, doubled or wrong."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while len(self._replies) < len(self.over_kafka):  # noqa: ASYNC110  # no event tells
                    await asyncio.sleep(0.1)
        for correlation, request_id in self.over_kafka.items():
            replies = list(self._replies[correlation].values())
            if len(replies) != 1:
                self._note(f"{len(replies)} replies over Kafka to {request_id}")
            for each in replies:
                self._judge(msgspec.json.decode(each), f"over Kafka {request_id}")

    async def look_again(self) -> None:
        """Fetch every reply once more: what is kept must be what was given."""
        for request_id in self.request_ids:
            response = await self._http.get(f"/v1/requests/{request_id}")
            if response.status_code != 200:
                self._note(f"GET {request_id}: {response.status_code}")
            else:
                self._judge(response.json(), f"GET {request_id}")

    def _question(self) -> dict[str, Any]:
        return {"query": f"What is the use of a witness mark? {uuid.uuid4().hex}", "user_id": USER}

    async def _whole(self) -> None:
        response = await self._post("/v1/chat", self._question())
        if response is not None:
            self._judge(response.json() | {"content": response.json().get("response")}, "POST /v1/chat")

    async def _told(self) -> None:
        """Submit a request whose end a webhook tells."""
        response = await self._post("/v1/requests", self._question() | {"webhook": {"url": self._webhook}})
        if response is not None:
            self.webhooks.add(response.json()["request_id"])

    async def _streamed(self) -> None:
        response = await self._post("/v1/chat", self._question() | {"stream": True})
        if response is None:
            return
        lines = [
            line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")
        ]
        if not lines or lines[-1] != "[DONE]" or MARK in response.text:
            self._note(f"stream {response.headers['x-request-id']}: {response.text[-300:]}")
            return
        text = "".join(json.loads(line).get("token", "") for line in lines[:-1])
        self._judge({"status": "answered", "content": text}, "a stream")

    async def _post(self, path: str, body: dict[str, Any]) -> httpx.Response | None:
        try:
            response = await self._http.post(path, json=body)
        except httpx.HTTPError as fault:
            self._note(f"POST {path}: {fault!r}")
            return None
        if response.status_code not in (200, 202):
            self._note(f"POST {path}: {response.status_code} {response.text[:300]}")
            return None
        self.request_ids.append(response.headers["x-request-id"])
        return response

    async def _send_over_kafka(self) -> None:
        request_id, correlation = uuid.uuid4().hex, uuid.uuid4().bytes
        body = self._question() | {"tenant": TENANT, "request_id": request_id}
        headers = [("kafka_correlationId", correlation), ("kafka_replyTopic", REPLY_TOPIC.encode())]
        await self._producer.send_and_wait(
            REQUESTS.name, key=request_id.encode(), value=json.dumps(body).encode(), headers=headers
        )
        self.request_ids.append(request_id)
        self.over_kafka[correlation] = request_id

    async def _read(self) -> None:
        while True:
            for records in (await self._consumer.getmany(timeout_ms=_POLL_MS)).values():
                for each in records:
                    name = header(each.headers, "kafka_correlationId") or b""
                    # The same reply may be written twice. Its reader knows it by these, and takes the first.
                    self._replies[name].setdefault((header(each.headers, "ce_id"), each.key), each.value)

    def _judge(self, reply: dict[str, Any], where: str) -> None:
        content = str(reply.get("content"))
        if reply.get("status") not in ENDS or not content.startswith("(simulated)") or MARK in str(reply):
            self._note(f"{where}: {str(reply)[:300]}")

    def _note(self, fault: str) -> None:
        self.faults.append(fault)
