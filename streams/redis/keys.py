"""Every key family that Headrace has in Redis. `docs/redis.md` says what each holds and what bounds it.

No key contains an id as it came from outside: a digest of fixed length replaces it, so that senders decide
neither the length of a key nor its characters.
"""

import base64
import hashlib

import msgspec

_ROOT = "headrace:"
#: 160 bits: nobody finds two ids with the same digest, as would be possible with 128.
_DIGEST_BYTES = 20
#: The length of what `digest` returns.
DIGEST_CHARS = 27


class KeyFamily(msgspec.Struct, frozen=True, kw_only=True):
    """Keys that hold the same kind of value. `prefix` is the whole name if there is only one such key.

    `expires`: whether each key has a time to live. The number of keys without one is bounded.
    """

    prefix: str
    expires: bool = True

    def key(self, name: str) -> str:
        """Return the key of this name: a digest, or an id of our own."""
        return self.prefix + name


REQUEST = KeyFamily(prefix=_ROOT + "request:")
WAITERS = KeyFamily(prefix=_ROOT + "waiters:")
RUNS = KeyFamily(prefix=_ROOT + "runs:")
CLIENT_RETRIES = KeyFamily(prefix=_ROOT + "retries:")
VECTORS = KeyFamily(prefix=_ROOT + "vectors:")
JOURNAL = KeyFamily(prefix=_ROOT + "journal:")
BATCH = KeyFamily(prefix=_ROOT + "batch:")
CACHE_ANSWER = KeyFamily(prefix=_ROOT + "cache:answer:")
CACHE_VECTORS = KeyFamily(prefix=_ROOT + "cache:vectors:")
CACHE_ENTRIES = KeyFamily(prefix=_ROOT + "cache:entries:")
CACHE_TENANTS = KeyFamily(prefix=_ROOT + "cache:tenants")
CACHE_MISSED = KeyFamily(prefix=_ROOT + "cache:missed:")
WEBHOOK = KeyFamily(prefix=_ROOT + "webhooks:entry:", expires=False)
WEBHOOKS_DUE = KeyFamily(prefix=_ROOT + "webhooks:due:", expires=False)
WEBHOOKS_HOSTS = KeyFamily(prefix=_ROOT + "webhooks:hosts:", expires=False)
WEBHOOKS_TENANTS = KeyFamily(prefix=_ROOT + "webhooks:tenants", expires=False)
WEBHOOKS_BYTES = KeyFamily(prefix=_ROOT + "webhooks:bytes", expires=False)
WEBHOOK_DONE = KeyFamily(prefix=_ROOT + "webhooks:done:")
LIMIT_TIMES = KeyFamily(prefix=_ROOT + "limits:times:")
LIMIT_COUNTS = KeyFamily(prefix=_ROOT + "limits:counts:")
LIMIT_PERMITS = KeyFamily(prefix=_ROOT + "limits:permits:")
LIMIT_CHARGED = KeyFamily(prefix=_ROOT + "limits:charged:")

FAMILIES = tuple(each for each in list(globals().values()) if isinstance(each, KeyFamily))


def digest(given: str | bytes) -> str:
    """Return what replaces an id from outside: its BLAKE2b digest of 160 bits, in 27 characters."""
    data = given if isinstance(given, bytes) else given.encode("utf-8", "surrogatepass")
    hashed = hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()
    return base64.urlsafe_b64encode(hashed).rstrip(b"=").decode()
