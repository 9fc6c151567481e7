"""Ask over Kafka and read the reply, with nothing but a Kafka client.

    python examples/kafka_request_reply.py "What is a headrace?"

The three headers are those that Spring's `ReplyingKafkaTemplate` writes: a service that uses it needs
no code from here at all.
"""

import asyncio
import json
import sys
import uuid
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

REQUESTS = "llm.requests.v1"
REPLIES = "example.replies"  # ours: it must exist, and match HEADRACE_REPLY_TOPICS
TIMEOUT_S = 60


async def main(bootstrap: str, question: str) -> None:
    await create_reply_topic(bootstrap)
    correlation_id = uuid.uuid4().bytes
    request_id = str(uuid.uuid4())
    async with (
        AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True) as producer,
        AIOKafkaConsumer(REPLIES, bootstrap_servers=bootstrap) as consumer,
    ):
        await consumer.seek_to_end()
        await producer.send_and_wait(
            REQUESTS,
            key=request_id.encode(),
            value=json.dumps({"query": question, "user_id": "kafka-example"}).encode(),
            headers=[
                ("kafka_correlationId", correlation_id),
                ("kafka_replyTopic", REPLIES.encode()),
                ("kafka_replyPartition", (0).to_bytes(4, "big")),
            ],
        )
        async with asyncio.timeout(TIMEOUT_S):
            async for record in consumer:
                if dict(record.headers).get("kafka_correlationId") == correlation_id:
                    show(json.loads(record.value))
                    return


def show(reply: dict[str, object]) -> None:
    if reply.get("error"):
        print(reply["status"], reply["error"])
    else:
        print(reply["content"])
        print(reply["status"], reply["model"], f"${reply['cost_usd']}" if "cost_usd" in reply else "$0")


async def create_reply_topic(bootstrap: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        if REPLIES not in await admin.list_topics():
            await admin.create_topics([NewTopic(REPLIES, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()


if __name__ == "__main__":
    endpoints = json.loads(Path(".headrace/endpoints.json").read_text(encoding="utf-8"))
    asyncio.run(main(endpoints["kafka"], " ".join(sys.argv[1:]) or "What is a headrace?"))
