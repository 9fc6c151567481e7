"""Why requests are cancelled, and the error that their senders read."""

from streams.events import ErrorInfo

#: `DELETE /v1/requests/{id}`.
BY_SENDER = "cancelled_by_sender"
#: The client that waited for the answer has left, and `on_disconnect` is ``cancel``.
CLIENT_DISCONNECTED = "client_disconnected"

_WHY = {
    BY_SENDER: "its sender cancelled it",
    CLIENT_DISCONNECTED: "the client that waited for it left, and on_disconnect is cancel",
}


def cancelled_error(reason: str | None = None) -> ErrorInfo:
    """Return the error of a request that ended because it was cancelled, for `reason`."""
    why = _WHY.get(reason or "", "it was cancelled")
    return ErrorInfo(
        type="invalid_request_error",
        code="request_cancelled",
        message=f"the request has no answer: {why}; to ask again, send it under a new id",
    )
