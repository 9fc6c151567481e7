"""Every key family that Headrace has in Redis: what it holds, who writes it, and what bounds it.

No key holds an id as it came from outside: a digest of fixed length stands for it, so that no sender decides
how long a key is, or what is in it. `docs/redis.md` has this table, and a test compares the two.
"""

import base64
import hashlib

import msgspec

_ROOT = "headrace:"
#: 160 bits: two ids with one digest are not found on purpose, as they would be with 128.
_DIGEST_BYTES = 20
#: How many characters `digest` returns.
DIGEST_CHARS = 27


class KeyFamily(msgspec.Struct, frozen=True, kw_only=True):
    """Keys that hold the same kind of value.

    Attributes:
        prefix: what their names begin with; all of the name where there is one such key.
        holds: what is in the value, and of which Redis type it is.
        writer: which process writes it.
        bound: what bounds the size of a value.
        expires: after what it expires, by itself; None where it does not.
        number: what bounds the number of keys that do not expire.
    """

    prefix: str
    holds: str
    writer: str
    bound: str
    expires: str | None = None
    number: str | None = None

    def key(self, name: str) -> str:
        """Return the key of this name, which is a digest, or an id of our own making."""
        return self.prefix + name


REQUEST = KeyFamily(
    prefix=_ROOT + "request:",
    holds="where a request stands, and its reply (hash)",
    writer="ingest, worker",
    bound="a reply: a Kafka record, 16 MiB",
    expires="`HEADRACE_REGISTRY_TTL_S` after the last write",
)
WAITERS = KeyFamily(
    prefix=_ROOT + "waiters:",
    holds="where else a running request's reply goes (set)",
    writer="ingest, worker",
    bound="1,000 addresses of 2 KiB; the next sender is refused (429 `too_many_repeats`)",
    expires="`HEADRACE_REGISTRY_TTL_S` after the last write",
)
RUNS = KeyFamily(
    prefix=_ROOT + "runs:",
    holds="which run of a repeated request is the newest (hash)",
    writer="ingest",
    bound="a number and a hash",
    expires="`HEADRACE_REGISTRY_TTL_S` and six hours after the last repeat",
)
CLIENT_RETRIES = KeyFamily(
    prefix=_ROOT + "retries:",
    holds="the open calls of SDKs that ask the same, so that their retries are recognised (hash)",
    writer="ingest",
    bound="256 calls",
    expires="two minutes after the last one's deadline",
)
VECTORS = KeyFamily(
    prefix=_ROOT + "vectors:",
    holds="the vectors of a reply to an embeddings request (string)",
    writer="worker",
    bound="a Kafka record, 16 MiB",
    expires="`HEADRACE_EMBEDDING_TTL_S`",
)
JOURNAL = KeyFamily(
    prefix=_ROOT + "journal:",
    holds="who works on a request, its provider calls, its result until that is sent (hash)",
    writer="worker",
    bound="the calls that fit before the deadline; a result: a Kafka record, 16 MiB",
    expires="`HEADRACE_REGISTRY_TTL_S` after the last write",
)
BATCH = KeyFamily(
    prefix=_ROOT + "batch:",
    holds="a batch, and the names of its lines (hash)",
    writer="ingest",
    bound="10,000 lines; 32 MiB",
    expires="`HEADRACE_REGISTRY_TTL_S` after the first write",
)
CACHE_ANSWER = KeyFamily(
    prefix=_ROOT + "cache:answer:",
    holds="an answer that may be given again (string)",
    writer="worker",
    bound="256 KiB; a longer answer is not kept",
    expires="`HEADRACE_CACHE_TTL_S`",
)
CACHE_VECTORS = KeyFamily(
    prefix=_ROOT + "cache:vectors:",
    holds="the vectors of a scope's answers (vector set)",
    writer="worker",
    bound="384 numbers an answer",
    expires="`HEADRACE_CACHE_TTL_S` after the last write",
)
CACHE_ENTRIES = KeyFamily(
    prefix=_ROOT + "cache:entries:",
    holds="a tenant's answers by when they expire (sorted set)",
    writer="worker",
    bound="`HEADRACE_CACHE_MAX_ENTRIES`",
    expires="`HEADRACE_CACHE_TTL_S` after the last write",
)
CACHE_TENANTS = KeyFamily(
    prefix=_ROOT + "cache:tenants",
    holds="how many answers each tenant has (sorted set)",
    writer="worker",
    bound="one member a tenant that has answers",
    expires="`HEADRACE_CACHE_TTL_S` after the last write",
)
CACHE_MISSED = KeyFamily(
    prefix=_ROOT + "cache:missed:",
    holds="nothing: that a request was sent to a model (string)",
    writer="worker",
    bound="empty",
    expires="a day",
)
WEBHOOK = KeyFamily(
    prefix=_ROOT + "webhooks:entry:",
    holds="a webhook that waits (hash)",
    writer="worker",
    bound="a Kafka record, 16 MiB",
    number="`HEADRACE_WEBHOOK_MAX_WAITING_BYTES`, counting 1.25 KiB and six times its host's name "
    "beside each; of one tenant to one host, a quarter of it. More become dead letters",
)
WEBHOOKS_DUE = KeyFamily(
    prefix=_ROOT + "webhooks:due:",
    holds="a tenant's webhooks to one host by when they are due (sorted set)",
    writer="worker",
    bound="one member a webhook that waits",
    number="one a tenant and host that webhooks wait for",
)
WEBHOOKS_HOSTS = KeyFamily(
    prefix=_ROOT + "webhooks:hosts:",
    holds="the hosts of a tenant by when their first webhook is due (sorted set)",
    writer="worker",
    bound="one member a host that its webhooks wait for",
    number="one a tenant whose webhooks wait",
)
WEBHOOKS_TENANTS = KeyFamily(
    prefix=_ROOT + "webhooks:tenants",
    holds="the tenants by when their first webhook is due (sorted set)",
    writer="worker",
    bound="one member a tenant whose webhooks wait",
    number="one",
)
WEBHOOKS_BYTES = KeyFamily(
    prefix=_ROOT + "webhooks:bytes",
    holds="how many bytes wait, by tenant, by host, and by both (hash)",
    writer="worker",
    bound="three fields a tenant and host that webhooks wait for",
    number="one",
)
WEBHOOK_DONE = KeyFamily(
    prefix=_ROOT + "webhooks:done:",
    holds="that a webhook has ended (string)",
    writer="worker",
    bound="a number",
    expires="an hour",
)

FAMILIES = (
    REQUEST,
    WAITERS,
    RUNS,
    CLIENT_RETRIES,
    VECTORS,
    JOURNAL,
    BATCH,
    CACHE_ANSWER,
    CACHE_VECTORS,
    CACHE_ENTRIES,
    CACHE_TENANTS,
    CACHE_MISSED,
    WEBHOOK,
    WEBHOOKS_DUE,
    WEBHOOKS_HOSTS,
    WEBHOOKS_TENANTS,
    WEBHOOKS_BYTES,
    WEBHOOK_DONE,
)


def family_of(key: str) -> KeyFamily | None:
    """Return the family that a key belongs to; None for a key that is not Headrace's."""
    return next((family for family in FAMILIES if key.startswith(family.prefix)), None)


def digest(given: str | bytes) -> str:
    """Return what stands for an id from outside: its BLAKE2b digest of 160 bits, in 27 characters."""
    data = given if isinstance(given, bytes) else given.encode("utf-8", "surrogatepass")
    hashed = hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()
    return base64.urlsafe_b64encode(hashed).rstrip(b"=").decode()
