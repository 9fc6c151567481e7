"""Signatures of webhooks, as https://www.standardwebhooks.com specifies them.

``id.timestamp.body`` is signed with HMAC-SHA256; the header holds ``v1,`` and the signature in base64. With
several secrets there are several signatures, separated by spaces: a secret can be changed without a gap.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

_PREFIX = "whsec_"
#: The specification's bounds of a secret.
_MIN_BYTES, _MAX_BYTES = 24, 64
_ID_CHARS = 32


def webhook_id(request_id: str, replay: int) -> str:
    """Return the id of a webhook: the same for every try, another one for each replay of a dead letter.

    It is a hash, because a request id may contain the dots that separate what is signed.
    """
    named = hashlib.sha256(f"{request_id}:{replay}".encode()).hexdigest()
    return f"msg_{named[:_ID_CHARS]}"


def signing_keys(secrets: str) -> tuple[bytes, ...]:
    """Return the keys in a setting, one or several separated by spaces; raise `ValueError` for wrong ones."""
    keys = tuple(_key(secret) for secret in secrets.split())
    if not keys:
        raise ValueError(_HOW)
    return keys


def signature(keys: Sequence[bytes], *, message_id: str, timestamp_s: int, body: bytes) -> str:
    """Return the value of the header ``webhook-signature``.

    The body is signed with each key; `timestamp_s` is the header ``webhook-timestamp``, in Unix seconds.
    """
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp_s, body)
    codes = (hmac.new(key, signed, hashlib.sha256).digest() for key in keys)
    return " ".join("v1," + base64.b64encode(code).decode() for code in codes)


_HOW = (
    f"must be {_PREFIX} and {_MIN_BYTES} to {_MAX_BYTES} random bytes in base64; several separated by spaces"
)


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error as fault:
        raise ValueError(_HOW) from fault
    if not secret.startswith(_PREFIX) or not _MIN_BYTES <= len(key) <= _MAX_BYTES:
        raise ValueError(_HOW)
    return key
