"""Turns wrong path and query parameters, which FastAPI finds, into error objects."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.responses import Response

from streams.events import ErrorInfo
from streams.serving.frame import Render, render_plainly


def answer_wrong_parameters(app: FastAPI, *, render: Render = render_plainly) -> None:
    """Answer a wrong parameter with a 400 that names it. The app must be inside a `RequestFrame`."""

    async def on_wrong_parameters(request: Request, fault: Exception) -> Response:
        if not isinstance(fault, RequestValidationError):
            raise fault
        first = fault.errors()[0]
        param = ".".join(str(part) for part in first["loc"][1:])
        message = f"{param}: {first['msg']}"
        error = ErrorInfo(type="invalid_request_error", code="invalid_request", message=message, param=param)
        return render(request, 400, error, {})

    app.add_exception_handler(RequestValidationError, on_wrong_parameters)
