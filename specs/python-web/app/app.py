"""An ASGI application that says hello and tells what it runs as."""

from __future__ import annotations

import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route


async def hello(_request: Request) -> Response:
    """Greet."""
    return PlainTextResponse("Hello from starlette in an immutable image.\n")


async def health(_request: Request) -> Response:
    """Say that all is well, and as whom."""
    return JSONResponse({"status": "ok", "uid": os.getuid()})


app = Starlette(routes=[Route("/", hello), Route("/health", health)])
