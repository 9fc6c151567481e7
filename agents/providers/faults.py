"""What can go wrong at a provider, as one tree.

    ProviderFault
    ├── RateLimited           429: wait as told, then try again
    ├── ServerFault           5xx: try again
    ├── Overloaded            503, 529: try again, more patiently
    ├── ProviderTimeout       a phase of the call took too long
    ├── ConnectionLost        refused, reset, or ended before the answer did
    ├── Malformed             an answer that is not what the API documents
    │   └── NotTaken          too long, or of an unknown end: it would come likewise again
    ├── AuthenticationFault   401, 403: the key is wrong, for every model of the provider
    ├── QuotaExhausted        the account has no credit left: likewise
    ├── ClientNotLoaded       our client for the provider cannot be loaded: likewise
    └── Refused               4xx: the request itself is wrong, and would be wrong again
        ├── ContextTooLong    it may fit another model
        └── ModelUnavailable  the provider does not serve this model (any more)

A fault knows nothing of retries: `agents/paid_calls/retry.py` decides.
"""

from typing import ClassVar

from agents.providers.answers.encodable import encodable
from streams.errors import HeadraceError
from streams.events import Usage


class ProviderFault(HeadraceError):
    """A call failed.

    Attributes:
        kind: a stable name for logs and for `LlmCall.error`.
        message: what the provider said, or what happened.
        retry_after_s: how long the provider asks to wait, in seconds, where it says so.
        billed_usage: what was spent before the fault; None where nothing is known to be. It is an
            estimate where the provider could not report it any more.
        response_model: the model that had begun to answer, where one had.
    """

    kind: ClassVar[str] = "provider_fault"

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        billed_usage: Usage | None = None,
        response_model: str | None = None,
    ) -> None:
        message = encodable(message)
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s
        self.billed_usage = billed_usage
        self.response_model = response_model

    @property
    def error(self) -> str:
        """What `LlmCall.error` says of this fault."""
        return self.kind


class RateLimited(ProviderFault):
    """Too many requests or tokens a minute."""

    kind = "rate_limited"


class ServerFault(ProviderFault):
    """The provider failed."""

    kind = "server_error"


class Overloaded(ProviderFault):
    """The provider has no capacity at the moment."""

    kind = "overloaded"


class ProviderTimeout(ProviderFault):
    """A phase of the call took too long.

    Attributes:
        phase: ``connect``, ``first_token``, ``between_tokens`` or ``total``.
    """

    kind = "timeout"

    def __init__(self, phase: str, *, after_s: float) -> None:
        super().__init__(f"no answer in time ({phase.replace('_', ' ')}: {after_s:.3g} s)")
        self.phase = phase

    @property
    def error(self) -> str:
        """The kind with its phase, e.g. ``timeout_first_token``."""
        return f"{self.kind}_{self.phase}"


class ConnectionLost(ProviderFault):
    """The connection was refused, reset, or ended before the answer did.

    Attributes:
        after_chunks: how many pieces of the answer had come.
    """

    kind = "connection_lost"

    def __init__(self, message: str, *, after_chunks: int = 0) -> None:
        super().__init__(message)
        self.after_chunks = after_chunks


class Malformed(ProviderFault):
    """The answer is not what the API documents."""

    kind = "malformed_response"


class NotTaken(Malformed):
    """A whole answer that cannot be taken: it is too long, or ends as nobody knows.

    Asked again, the same model would be paid again, and most likely answer likewise.
    """


class AuthenticationFault(ProviderFault):
    """The provider does not accept the configured key."""

    kind = "authentication_failed"


class QuotaExhausted(ProviderFault):
    """The account at the provider has no credit left; waiting does not help."""

    kind = "quota_exhausted"


class ClientNotLoaded(ProviderFault):
    """The client for this provider cannot be imported or made, for any of its models; nobody was asked."""

    kind = "client_not_loaded"


class Refused(ProviderFault):
    """The provider says that the request is wrong.

    Attributes:
        code: the provider's code, e.g. ``invalid_value``.
        param: the field at fault, where the provider names it.
    """

    kind = "refused"

    def __init__(self, message: str, *, code: str = "invalid_request", param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.param = param


class ContextTooLong(Refused):
    """The prompt and the output asked for do not fit into the model's context window."""

    kind = "context_length_exceeded"


class ModelUnavailable(Refused):
    """The provider does not serve this model to this account."""

    kind = "model_unavailable"
