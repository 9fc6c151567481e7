"""The operator's paths: `/behaviour`, `/invoice`, `/received` and `/health`. Providers have no such paths."""

import base64
import hmac
from collections.abc import Awaitable, Callable
from datetime import datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from headrace.simulator.behaviour import Behaviour
from headrace.simulator.simulated_call import Simulation

_USER = "control"

PASSWORD_VARIABLE = "HEADRACE_SIMULATOR_CONTROL_PASSWORD"  # noqa: S105  # a name
"""The environment variable with the password of the operator's paths; without it they stay closed."""

Handler = Callable[[Request], Awaitable[Response]]


def operator_routes(simulation: Simulation, password: str | None) -> list[BaseRoute]:
    """Return the operator's paths; all but `/health` ask for the password, None: for nothing."""
    operator = _OperatorApi(simulation)
    return [
        Route("/health", operator.health, methods=["GET"]),
        Route("/behaviour", _with_password(operator.behaviour, password), methods=["GET", "PUT", "DELETE"]),
        Route("/invoice", _with_password(operator.invoice, password), methods=["GET", "DELETE"]),
        Route("/received", _with_password(operator.received, password), methods=["GET"]),
    ]


def _with_password(handler: Handler, password: str | None) -> Handler:
    if password is None:
        return handler
    wanted = b"Basic " + base64.b64encode(f"{_USER}:{password}".encode())

    async def guarded(request: Request) -> Response:
        if hmac.compare_digest(wanted, request.headers.get("authorization", "").encode()):
            return await handler(request)
        refusal = _problem(401, "the operator's paths need the user `control` and its password (HTTP Basic)")
        refusal.headers["www-authenticate"] = 'Basic realm="simulator"'
        return refusal

    return guarded


class _OperatorApi:
    def __init__(self, simulation: Simulation) -> None:
        self._director = simulation.director
        self._invoice = simulation.invoice
        self._received = simulation.received

    async def health(self, _request: Request) -> Response:
        return _json({"status": "ok", "simulated": True})

    async def behaviour(self, request: Request) -> Response:
        if request.method == "PUT":
            try:
                self._director.direct(msgspec.json.decode(await request.body(), type=Behaviour))
            except msgspec.DecodeError as error:
                return _problem(422, f"{error}; nothing was changed")
        elif request.method == "DELETE":
            self._director.direct(Behaviour())
        return _json(self._director.behaviour)

    async def invoice(self, request: Request) -> Response:
        if request.method == "DELETE":
            self._invoice.clear()
        try:
            since = _since(request.query_params.get("since"))
        except ValueError as error:
            return _problem(422, str(error))
        return _json(
            self._invoice.report(since=since, list_items=request.query_params.get("items") != "false")
        )

    async def received(self, request: Request) -> Response:
        fragment = request.query_params.get("contains", "")
        return _json({"calls": [call for call in self._received if fragment in call.body]})


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


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


def _problem(status: int, message: str) -> Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return Response(msgspec.json.encode({"error": error}), status, media_type="application/json")
