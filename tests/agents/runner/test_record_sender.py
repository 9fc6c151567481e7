"""Sends that end only when the broker has the record, or when no retry can help."""

from agents.runner.record_sender import FOREIGN_TIMEOUT_S, RecordSender
from streams.errors import KafkaUnavailable, TopicRefused
from streams.publisher import Emit, Position
from streams.topics import LOGS

OWN = Emit(topic=LOGS.name, key="r", value=b"{}")
FOREIGN = Emit(topic="orders.replies", key="r", value=b"{}")


class Broker:
    """Takes nothing on a sender's topic, and on ours from the tenth minute on."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.sent: list[str] = []

    async def publish(self, emit: Emit) -> Position:
        """Refuse, or take."""
        if emit.topic == FOREIGN.topic or self.now_s < 600:
            raise KafkaUnavailable("not enough replicas")
        self.sent.append(emit.topic)
        return Position(emit.topic, 0, 0)

    async def sleep(self, seconds: float) -> None:
        """Let time pass: ten seconds at least."""
        self.now_s += max(seconds, 10.0)


async def test_a_senders_topic_is_given_up_and_ours_never() -> None:
    """What is wrong with somebody else's topic may never be mended, and a slot would be taken for ever."""
    broker = Broker()
    sender = RecordSender(broker, stage="cost", sleep=broker.sleep, monotonic=lambda: broker.now_s)
    lost = await sender.send_all([FOREIGN, OWN])
    assert [each.emit for each in lost] == [FOREIGN]
    assert isinstance(lost[0].fault, TopicRefused)
    assert broker.sent == [LOGS.name]
    assert broker.now_s >= 600 > FOREIGN_TIMEOUT_S
