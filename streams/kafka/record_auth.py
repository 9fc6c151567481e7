"""Signs the records that Headrace writes, and recognises them.

Every record on a topic of our own carries a message authentication code (HMAC-SHA-256, the first 16 bytes)
over its topic, key, value and the headers that Headrace acts upon. Without a key nobody can write records in
the name of a stage: a forged record becomes a dead letter, and nobody gets a reply.

The topics where senders write (`streams.pipeline.ENTRANCES` and feedback) take records without a code. What
only Headrace may say there, that a record is a redelivery or a replay, is believed with a code only.

    auth = RecordAuth([b"a secret of at least 32 bytes ........"])
    headers = auth.signed("llm.logs.v1", key, value, headers)
    auth.is_authentic("llm.logs.v1", key, value, headers)  # True
"""

import hashlib
import hmac
import struct
from collections.abc import Iterable, Sequence
from typing import Self
from urllib.parse import unquote, urlsplit

from aiokafka import ConsumerRecord

from streams.errors import ConfigurationError
from streams.settings import Settings

HEADER = "headrace-mac"
#: Headers that only Headrace writes: redelivery, replay, and why a record is dead.
RESERVED_PREFIX = "__streams."

Headers = tuple[tuple[str, bytes], ...]

#: Prefixes of the headers that the code covers; tracing agents and mirrors may add others.
_COVERED = ("ce_", "kafka_", RESERVED_PREFIX)
_MAC_BYTES = 16
_PASSWORD_CHARS = 24
_KEY_ID_BYTES = 4
_LENGTH = struct.Struct(">i")
_NULL = _LENGTH.pack(-1)


class RecordAuth:
    """Signs and checks records. Without keys it does neither: every record counts as authentic.

    The first key signs. Records signed with any key are authentic, so that a key can be replaced while
    records of the old one are still on the topics.
    """

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        self._keys = {_key_id(key): key for key in keys}
        self._signing = (_key_id(keys[0]), keys[0]) if keys else None

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Return the installation's; its default key is derived from the Redis password.

        Raises `ConfigurationError` where there is no key, and signing is not switched off.
        """
        if settings.record_signing == "off":
            return cls()
        given = [key.get_secret_value().encode() for key in settings.record_keys]
        shared = key_of_redis(settings.redis_url)
        if not given and shared is None:
            raise ConfigurationError(
                "HEADRACE_RECORD_KEYS is not set: a JSON list with one secret of at least 32 characters, the "
                "same for every process (`openssl rand -base64 32` makes one). It may be left out where "
                f"HEADRACE_REDIS_URL has a password of at least {_PASSWORD_CHARS} characters. Where nobody "
                "else can write to the topics, HEADRACE_RECORD_SIGNING=off does without"
            )
        return cls(given or [shared or b""])

    @property
    def enabled(self) -> bool:
        """Whether records are signed and checked."""
        return self._signing is not None

    def signed(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> Headers:
        """Return the headers with the record's code; one that was there before is replaced."""
        if self._signing is None:
            return headers
        key_id, secret = self._signing
        kept = tuple(each for each in headers if each[0] != HEADER)
        return (*kept, (HEADER, key_id + _mac(secret, topic, key, value, kept).hex().encode()))

    def read(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes | None]]
    ) -> tuple[bool, Headers]:
        """Return whether a record is authentic, and its headers without the code.

        Without the reserved headers, too, where it is not authentic: a copy that Headrace signs must not
        vouch for what a sender made up.
        """
        given = tuple((name, text or b"") for name, text in headers)
        authentic = self.is_authentic(topic, key, value, given)
        kept = (each for each in given if authentic or not each[0].startswith(RESERVED_PREFIX))
        return authentic, tuple(each for each in kept if each[0] != HEADER)

    def wrote(self, record: ConsumerRecord) -> bool:
        """Whether Headrace wrote a record that a consumer has read."""
        given = ((name, text or b"") for name, text in record.headers)
        return self.is_authentic(record.topic, record.key, record.value, given)

    def is_authentic(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes]]
    ) -> bool:
        """Whether a record carries exactly one code, and one of the keys makes it for the record."""
        if self._signing is None:
            return True
        given = list(headers)
        codes = [text for name, text in given if name == HEADER]
        rest = [each for each in given if each[0] != HEADER]
        if len(codes) != 1 or (secret := self._keys.get(codes[0][: 2 * _KEY_ID_BYTES])) is None:
            return False
        expected = _mac(secret, topic, key, value, rest).hex().encode()
        return hmac.compare_digest(codes[0][2 * _KEY_ID_BYTES :], expected)


def key_of_redis(url: str) -> bytes | None:
    """Return a key derived from the password in a Redis URL; None for a short or missing password.

    Every process has that password. Whoever has it can change replies and the journal directly, so the
    derived key gives away nothing more.
    """
    password = unquote(urlsplit(url).password or "")
    if len(password) < _PASSWORD_CHARS:
        return None
    return hmac.digest(password.encode(), b"headrace record key", "sha256")


#: Signs nothing and believes everything: for tests, and where signing is off.
UNSIGNED = RecordAuth()


def _mac(
    secret: bytes, topic: str, key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes]]
) -> bytes:
    """Return the code over all parts, each with its length, so that no part can be read as another."""
    parts = [*_with_length(topic.encode()), *_with_length(key), *_with_length(value)]
    for name, text in headers:
        if name.startswith(_COVERED):
            parts += [*_with_length(name.encode()), *_with_length(text)]
    return hmac.digest(secret, b"".join(parts), "sha256")[:_MAC_BYTES]


def _with_length(part: bytes | None) -> tuple[bytes, ...]:
    return (_NULL,) if part is None else (_LENGTH.pack(len(part)), part)


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"headrace record key\x00" + key).hexdigest()[: 2 * _KEY_ID_BYTES].encode()
