"""What can go wrong at a provider, as one tree.

    ProviderFault
    ├── RateLimited           429: wait as told, then try again
    ├── ServerFault           5xx: try again
    ├── Overloaded            503, 529: try again, more patiently
    ├── ProviderTimeout       a phase of the call took too long
    ├── ConnectionLost        refused, reset, or ended before the answer did
    ├── Malformed             an answer that is not what the API documents
    │   └── UnusableAnswer    too long, or of an unknown finish reason: it would come out the same again
    ├── AuthenticationFault   401, 403: the key is wrong, for every model of the provider
    │   └── NotConfigured     the provider was taken away, or has no key here
    ├── QuotaExhausted        the account has no credit left: likewise
    └── Refused               4xx: the request itself is wrong, and would be wrong again
        ├── ContextTooLong    it may fit another model
        └── ModelUnavailable  the provider does not serve this model (any more)

A fault knows nothing of retries: `agents/paid_calls/call_policy.py` decides.
"""

from typing import ClassVar

from agents.providers.answers.encodable import encodable
from streams.errors import HeadraceError
from streams.events import Usage


class ProviderFault(HeadraceError):
    """A call failed."""

    #: A stable name for logs and for `LlmCall.error`.
    error: ClassVar[str] = "provider_fault"

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        message = encodable(message)
        super().__init__(message)
        self.message = message  # what the provider said, or what happened
        self.retry_after_s = retry_after_s  # how long the provider asks to wait
        #: What was spent before the fault, if known; an estimate where the provider did not report it.
        self.billed_usage: Usage | None = None
        self.response_model: str | None = None  # the model that had begun to answer


class RateLimited(ProviderFault):
    """Too many requests or tokens a minute."""

    error = "rate_limited"


class ServerFault(ProviderFault):
    """The provider failed."""

    error = "server_error"


class Overloaded(ProviderFault):
    """The provider has no capacity at the moment."""

    error = "overloaded"


class ProviderTimeout(ProviderFault):
    """A phase of the call took too long: ``connect``, ``first_token``, ``between_tokens`` or ``total``."""

    def __init__(self, phase: str, *, after_s: float) -> None:
        super().__init__(f"no answer in time ({phase.replace('_', ' ')}: {after_s:.3g} s)")
        self.phase = phase

    @property
    def error(self) -> str:  # type: ignore[override]  # a name for each phase
        """The kind with its phase, e.g. ``timeout_first_token``."""
        return f"timeout_{self.phase}"


class ConnectionLost(ProviderFault):
    """The connection was refused, reset, or ended before the answer did."""

    error = "connection_lost"


class Malformed(ProviderFault):
    """The answer is not what the API documents."""

    error = "malformed_response"


class UnusableAnswer(Malformed):
    """A whole answer that cannot be taken: it is too long, or has an unknown finish reason.

    Asked again, the same model would be paid again, and most likely answer the same.
    """


class AuthenticationFault(ProviderFault):
    """The provider does not accept the configured key."""

    error = "authentication_failed"


class NotConfigured(AuthenticationFault):
    """The provider was taken away after the request was routed to it, or has no key here."""

    error = "provider_not_configured"


class QuotaExhausted(ProviderFault):
    """The account at the provider has no credit left; waiting does not help."""

    error = "quota_exhausted"


class Refused(ProviderFault):
    """The provider says that the request is wrong, with its own code (e.g. ``invalid_value``)."""

    error = "refused"

    def __init__(self, message: str, *, code: str = "invalid_request", param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.param = param


class ContextTooLong(Refused):
    """The prompt and the output asked for do not fit into the model's context window."""

    error = "context_length_exceeded"


class ModelUnavailable(Refused):
    """The provider does not serve this model to this account."""

    error = "model_unavailable"
