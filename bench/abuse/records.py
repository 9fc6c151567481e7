"""Hostile records: a seeded mixture over all topics."""

from collections.abc import Callable, Iterator, Sequence
from random import Random

import msgspec

from bench.abuse.damage import Damage
from bench.abuse.forged import Forger
from streams.codec import encode, event_headers
from streams.pipeline import ENTRANCES, TOPICS
from streams.topics import FEEDBACK, RETRIES

#: Somebody who may write to the entrances, and is no victim.
INTRUDER = "intruder"

#: Kafka takes headers without a value.
Headers = tuple[tuple[str, bytes | None], ...]

_MAX_RECORD_BYTES = 8 * 1024 * 1024
_TOPICS = [topic.name for topic in TOPICS.values()]
_OPEN = frozenset({*(topic.name for topic in ENTRANCES), FEEDBACK.name})
_ODD_IDS: Sequence[bytes] = (
    b"\x00",
    b"a\nb",
    b"\x1b[31mred\x1b[0m",
    "\u202e evil".encode(),
    b"\xed\xa0\x80",
    b"\xff\xfe",
    b"../../etc/passwd",
    b"*",
    b"a" * 129,
    b"x" * 40_000,
)
_REPLY_TOPICS: Sequence[bytes] = (
    b"__consumer_offsets",
    b"__transaction_state",
    b"llm.outcomes.v1",
    b"llm.ledger.v1",
    b"no-such-topic",
    b".",
    b"..",
    b"a" * 300,
    b"\x00",
    b"\xff\xfe",
    b"",
    b"witness.replies\n",
    b"x" * 100_000,
)


class Hostile(msgspec.Struct, frozen=True, kw_only=True):
    """A record to send. `raw_header_key` goes beside `headers`: not even its bytes need be text."""

    kind: str
    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp_ms: int | None = None
    raw_header_key: bytes | None = None


class HostileRecords:
    """Draws hostile records.

    Args:
        real: records that Headrace wrote, to be damaged, copied and misplaced; at least one.
        forger: makes up internal events.
        chance: all that is random.
    """

    def __init__(self, real: Sequence[Hostile], forger: Forger, chance: Random) -> None:
        self._real = real
        self._forger = forger
        self._chance = chance
        self._damage = Damage(chance)

    def draw(self, count: int) -> Iterator[Hostile]:
        """Yield so many records."""
        kinds: dict[Callable[[], Hostile], float] = {
            self._truncated: 10,
            self._flipped: 10,
            self._random_bytes: 8,
            self._wrong_types: 12,
            self._deep: 3,
            self._long_field: 6,
            self._oversized: 0.4,
            self._big_numbers: 5,
            self._forged: 14,
            self._forged_redelivery: 6,
            self._forged_retry: 6,
            self._reply_topic: 6,
            self._odd_headers: 5,
            self._no_key_or_value: 4,
            self._odd_times: 4,
            self._odd_ids: 6,
            self._stolen_id: 4,
            self._transplanted: 6,
            self._copied: 4,
            self._misplaced: 5,
            self._header_name_not_text: 2,
            self._null_header: 3,
        }
        for draw in self._chance.choices(list(kinds), list(kinds.values()), k=count):
            record = draw()
            yield msgspec.structs.replace(record, kind=record.kind or draw.__name__.removeprefix("_"))

    def _like(self, **changes: object) -> Hostile:
        """Return a real record with changes."""
        real = self._chance.choice(self._real)
        return msgspec.structs.replace(real, **{"kind": "", **changes})

    def _request(self, **fields: object) -> Hostile:
        """Return a good request of the intruder's."""
        topic = self._chance.choice(ENTRANCES)
        request_id = f"intruder-{self._chance.getrandbits(64):016x}"
        body: dict[str, object] = {"user_id": INTRUDER, "tenant": INTRUDER, "request_id": request_id}
        if topic is ENTRANCES[0]:
            body |= {"query": f"What is lye? {request_id}"}
        else:
            body |= {"inputs": [request_id], "model": "text-embedding-3-small"}
        value = msgspec.json.encode(body | fields)
        return Hostile(kind="", topic=topic.name, key=request_id.encode(), value=value)

    def _base(self) -> Hostile:
        """Return a real record of an internal topic, or a request of the intruder's."""
        real = self._like()
        return self._request() if real.topic in _OPEN else real

    def _truncated(self) -> Hostile:
        base = self._base()
        value = base.value or b"{}"
        return msgspec.structs.replace(base, value=value[: self._chance.randrange(len(value))])

    def _flipped(self) -> Hostile:
        base = self._base()
        return msgspec.structs.replace(base, value=self._damage.flipped(base.value or b"{}"))

    def _random_bytes(self) -> Hostile:
        return Hostile(
            kind="",
            topic=self._chance.choice(_TOPICS),
            key=self._chance.randbytes(self._chance.randrange(64)),
            value=self._chance.randbytes(self._chance.randrange(4096)),
            headers=(("ce_id", self._chance.randbytes(16)), ("traceparent", self._chance.randbytes(55))),
        )

    def _wrong_types(self) -> Hostile:
        base = self._base()
        return msgspec.structs.replace(base, value=self._damage.wrong_type(base.value or b"{}"))

    def _deep(self) -> Hostile:
        depth = self._chance.choice((100, 2_000, 100_000))
        deep = b'{"a":' * depth + b"1" + b"}" * depth
        if self._chance.random() < 0.5:
            return self._request(metadata=msgspec.Raw(deep))
        return msgspec.structs.replace(self._base(), value=self._chance.choice((deep, b"[" * depth)))

    def _long_field(self) -> Hostile:
        chars = self._chance.choice((32_001, 100_001, 300_000))
        base = self._base()
        return msgspec.structs.replace(base, value=self._damage.long_field(base.value or b"{}", chars))

    def _oversized(self) -> Hostile:
        """Just below what a record may have: in the value, the key, a header, or several of them."""
        big = b"x" * (_MAX_RECORD_BYTES - 4096)
        base = self._request()
        return self._chance.choice(
            (
                msgspec.structs.replace(base, value=big),
                msgspec.structs.replace(base, key=big),
                msgspec.structs.replace(base, headers=(("kafka_correlationId", big[: 6 * 1024 * 1024]),)),
                msgspec.structs.replace(base, headers=(("ce_id", big),)),
                msgspec.structs.replace(base, headers=(("kafka_replyTopic", big),)),
                msgspec.structs.replace(self._like(), value=big),
            )
        )

    def _big_numbers(self) -> Hostile:
        number = self._chance.choice((b"9" * 5_000, b"-" + b"9" * 400, b"1e999", b"NaN", b"1e-999999", b"-0"))
        base = self._base()
        return msgspec.structs.replace(base, value=self._damage.number(base.value or b"{}", number))

    def _forged(self) -> Hostile:
        topic, key, event = self._forger.any_event()
        headers = event_headers(event, event_id=key.decode(), source="headrace/worker-0")
        return Hostile(
            kind=f"forged {topic.name}",
            topic=topic.name,
            key=key,
            value=encode(event),
            headers=tuple(headers),
        )

    def _forged_redelivery(self) -> Hostile:
        base = self._base()
        return msgspec.structs.replace(base, headers=(*base.headers, *self._redelivered(base.topic)))

    def _forged_retry(self) -> Hostile:
        """A record for the retry consumer, which is to put it where its writer could not or would not."""
        topic, key, event = self._forger.any_event()
        origin = self._chance.choice((topic.name, "__consumer_offsets", "no-such-topic", RETRIES.name))
        return Hostile(
            kind="", topic=RETRIES.name, key=key, value=encode(event), headers=self._redelivered(origin)
        )

    def _redelivered(self, topic: str) -> Headers:
        number = self._chance.choice((b"0", b"1", b"-1", b"999", b"1001", b"9" * 15, b"9" * 4_400, b"one"))
        return (
            ("__streams.origin.record", f"{topic}:{self._chance.randrange(5)}:{number.decode()}".encode()),
            ("__streams.origin.timestamp", number),
            ("__streams.retry.attempt", number),
            ("__streams.retry.not-before", number),
            ("__streams.retry.reason", b"\xff"),
            ("__streams.replay.number", number),
            ("__streams.replay.at", number),
        )

    def _reply_topic(self) -> Hostile:
        partition = self._chance.choice((b"", b"\x00", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x00" * 9))
        headers = (
            ("kafka_replyTopic", self._chance.choice(_REPLY_TOPICS)),
            ("kafka_replyPartition", partition),
            ("kafka_correlationId", self._chance.choice(_ODD_IDS)),
        )
        return msgspec.structs.replace(self._request(), headers=headers)

    def _odd_headers(self) -> Hostile:
        many = tuple((f"h{number}", b"v") for number in range(self._chance.choice((1_000, 20_000))))
        doubled = (*(("ce_id", each) for each in _ODD_IDS), ("ce_dataschema", b"urn:headrace:X:99999"))
        nameless = (("", b""), ("\x00", b"\x00"), ("é" * 2_000, b""))
        huge = (("ce_source", b"s" * 900_000),)
        base = self._base()
        added = self._chance.choice((many, doubled, nameless, huge))
        return msgspec.structs.replace(base, headers=(*base.headers, *added))

    def _no_key_or_value(self) -> Hostile:
        base = self._base()
        key, value = self._chance.choice(((None, base.value), (base.key, None), (None, None), (b"", b"")))
        topic = base.topic if value else self._chance.choice(_TOPICS)
        return msgspec.structs.replace(base, topic=topic, key=key, value=value)

    def _odd_times(self) -> Hostile:
        moments = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1970-01-01T00:00:00Z", "now")
        return msgspec.structs.replace(
            self._request(
                accepted_at=self._chance.choice(moments), deadline_ms=self._chance.choice((1, 21_600_000))
            ),
            timestamp_ms=self._chance.choice((0, 1, 2**40, 2**62)),
        )

    def _odd_ids(self) -> Hostile:
        text = self._chance.choice(_ODD_IDS)
        quoted = msgspec.Raw(b'"' + text.replace(b'"', b"") + b'"')
        base = self._request(
            **{self._chance.choice(("request_id", "session_id", "user_id", "model", "template")): quoted}
        )
        if self._chance.random() < 0.5:
            base = self._request(request_id=msgspec.Raw(rb'"\ud800"'), session_id=msgspec.Raw(rb'"\u0000"'))
        return msgspec.structs.replace(base, key=text, headers=(("ce_id", text),))

    def _stolen_id(self) -> Hostile:
        """A request under an id that is somebody else's."""
        victims = [each.key for each in self._real if each.topic == ENTRANCES[0].name and each.key]
        stolen = self._chance.choice([*victims, b"nobody-s"])
        return msgspec.structs.replace(self._request(request_id=stolen.decode()), key=stolen)

    def _transplanted(self) -> Hostile:
        """A real record with all its headers, in which somebody else's name, money or text now stands."""
        base = self._internal()
        return msgspec.structs.replace(base, value=self._damage.transplanted(base.value or b"{}"))

    def _copied(self) -> Hostile:
        return self._internal()

    def _misplaced(self) -> Hostile:
        base = self._internal()
        return msgspec.structs.replace(base, topic=self._chance.choice(sorted({*_TOPICS} - _OPEN)))

    def _internal(self) -> Hostile:
        internal = [each for each in self._real if each.topic not in _OPEN]
        return msgspec.structs.replace(self._chance.choice(internal), kind="")

    def _header_name_not_text(self) -> Hostile:
        """Kafka takes any bytes as a header's name."""
        base = self._request() if self._chance.random() < 0.5 else self._internal()
        return msgspec.structs.replace(base, raw_header_key=b"\xff\xfe\x00name")

    def _null_header(self) -> Hostile:
        base = self._request() if self._chance.random() < 0.5 else self._internal()
        names = ("kafka_correlationId", "kafka_replyTopic", "kafka_replyPartition", "ce_id", "ce_dataschema")
        names += (
            "traceparent",
            "headrace-mac",
            "__streams.origin.record",
            "__streams.replay.number",
            "other",
        )
        chosen = self._chance.sample(names, 3)
        return msgspec.structs.replace(base, headers=(*base.headers, *((name, None) for name in chosen)))
