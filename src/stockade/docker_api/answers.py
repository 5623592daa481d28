"""What is said to a client: bytes and a status, JSON, or an error in Docker's form."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from stockade.errors import StockadeError, http_status

JSON = "application/json"
RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"
TAR = "application/x-tar"

REASONS = {
    101: "UPGRADED",
    200: "OK",
    201: "Created",
    204: "No Content",
    304: "Not Modified",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    408: "Request Timeout",
    409: "Conflict",
    413: "Request Entity Too Large",
    426: "Upgrade Required",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}

_encoder = msgspec.json.Encoder(enc_hook=list)


class Answer(NamedTuple):
    """A whole answer."""

    status: int
    body: bytes = b""
    kind: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


NO_CONTENT = Answer(204)


def encode(value: object) -> bytes:
    """The JSON of a value, ended by a new line as Go's encoder does."""
    return _encoder.encode(value) + b"\n"


def json(value: object, status: int = 200) -> Answer:
    """An answer that carries a value."""
    return Answer(status, encode(value))


def failure(error: StockadeError) -> Answer:
    """Docker's error, and what our own clients raise again: `condition` is the class, `hint` what to do about it."""
    if http_status(error) == 304:
        return Answer(304)
    return json(error_body(error), http_status(error))


def error_body(error: StockadeError) -> dict[str, str]:
    """The members of an error answer."""
    body = {"message": error.message, "condition": type(error).__name__}
    if error.hint:
        body["hint"] = error.hint
    return body
