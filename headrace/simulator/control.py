"""The operator's side: `/behaviour`, `/invoice`, `/received` and `/health`. Providers have no such paths."""

import base64
import binascii
import hmac
from collections.abc import Awaitable, Callable
from datetime import datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.simulator.behaviour import Behaviour, decode
from headrace.simulator.director import Director
from headrace.simulator.invoice import Invoice
from headrace.simulator.received import Received

_MAX_BEHAVIOUR_BYTES = 16 * 1024 * 1024
_USER = "control"

PASSWORD_VARIABLE = "HEADRACE_SIMULATOR_CONTROL_PASSWORD"  # noqa: S105  # a name
"""The environment variable with the password of `/behaviour` and `/invoice`; without it they stay closed."""

Handler = Callable[[Request], Awaitable[Response]]


def with_password(handler: Handler, password: str | None) -> Handler:
    """Ask for the user `control` with this password (HTTP Basic) before a handler; None: ask nothing."""
    if password is None:
        return handler
    wanted = f"{_USER}:{password}".encode()

    async def guarded(request: Request) -> Response:
        if hmac.compare_digest(wanted, _credentials(request)):
            return await handler(request)
        refusal = _problem(401, "the operator's paths need the user `control` and its password (HTTP Basic)")
        refusal.headers["www-authenticate"] = 'Basic realm="simulator"'
        return refusal

    return guarded


def _credentials(request: Request) -> bytes:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    try:
        return base64.b64decode(value, validate=True) if scheme.lower() == "basic" else b""
    except (binascii.Error, ValueError):
        return b""


class Control:
    """Handlers of the operator's paths."""

    def __init__(self, director: Director, invoice: Invoice, received: Received) -> None:
        self._director = director
        self._invoice = invoice
        self._received = received

    async def health(self, _request: Request) -> Response:
        """Say that the simulator is ready, and that it is one."""
        return _json({"status": "ok", "simulated": True})

    async def behaviour(self, request: Request) -> Response:
        """Show, set or reset the behaviour; the answer is the behaviour in force."""
        if request.method == "PUT":
            body = await request.body()
            if len(body) > _MAX_BEHAVIOUR_BYTES:
                return _problem(413, "the behaviour is larger than 16 MB")
            try:
                self._director.direct(decode(body))
            except msgspec.DecodeError as error:
                return _problem(422, f"{error}; nothing was changed")
        elif request.method == "DELETE":
            self._director.direct(Behaviour())
        return _json(self._director.behaviour)

    async def invoice(self, request: Request) -> Response:
        """Show the invoice, or start it anew."""
        if request.method == "DELETE":
            self._invoice.clear()
            return _json(self._invoice.report())
        try:
            since = _since(request.query_params.get("since"))
            list_items = _flag("items", request.query_params.get("items"))
        except ValueError as error:
            return _problem(422, str(error))
        return _json(self._invoice.report(since=since, list_items=list_items))

    async def received(self, request: Request) -> Response:
        """Show the latest calls, or those of them that contain a text."""
        return _json({"calls": self._received.containing(request.query_params.get("contains", ""))})


def _since(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        # A plus sign in a query that is not escaped arrives as a space.
        since = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    except ValueError:
        since = None
    if since is None or since.tzinfo is None:
        raise ValueError(f"`since` must be a time with a zone, as 2026-11-20T09:30:00Z, not {text!r}")
    return since


def _flag(name: str, text: str | None) -> bool:
    if text not in {None, "true", "false"}:
        raise ValueError(f"`{name}` must be true or false, not {text!r}")
    return text != "false"


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


def _problem(status: int, message: str) -> Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return Response(msgspec.json.encode({"error": error}), status, media_type="application/json")
