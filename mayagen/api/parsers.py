"""Bodies of requests: what comes through here can be stored by either database and read by every client."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import IO, Any, NoReturn

from django.conf import settings
from django.http.multipartparser import MultiPartParserError
from rest_framework import exceptions, parsers, status
from rest_framework.request import Request

MAX_JSON_BYTES = 1024 * 1024
MAX_DEPTH = 32
MAX_DIGITS = 30
# What a multipart body holds besides its file: other fields, names and boundaries.
MULTIPART_OVERHEAD_BYTES = 1024 * 1024

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# Only an escape can put a NUL or half a surrogate pair into a text that is valid UTF-8.
_SUSPECT_ESCAPE = re.compile(r"\\u(?:0000|d[89a-f])", re.IGNORECASE)


class MalformedBodyError(exceptions.APIException):
    """The body is not what this API reads; `code` says why."""

    status_code = status.HTTP_400_BAD_REQUEST
    default_code = "malformed_body"
    default_detail = "The body can't be read."


class BodyTooLargeError(exceptions.APIException):
    """The body is larger than this address accepts."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "body_too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body is larger than {limit:,} bytes.")


class EncodedBodyError(exceptions.APIException):
    """The body is compressed, which would hide its size."""

    status_code = status.HTTP_415_UNSUPPORTED_MEDIA_TYPE
    default_code = "unsupported_content_encoding"
    default_detail = "Compressed bodies are not accepted."


class StrictJSONParser(parsers.JSONParser):
    """JSON without what databases, clients or the next reader understand differently.

    Refused with a code of their own: NUL and lone surrogates in texts or names, NaN and Infinity, numbers
    beyond double precision or of more than 30 digits, names given twice, more than 32 levels, another
    encoding than UTF-8 and its byte order mark, compression, and more bytes than the view's
    `max_json_bytes` (1 MB if it has none).
    """

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the parsed body."""
        context = parser_context or {}
        limit = getattr(context.get("view"), "max_json_bytes", MAX_JSON_BYTES)
        _check_head(context, limit)
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise BodyTooLargeError(limit)
        return parse_json(body)


class StrictMultiPartParser(parsers.MultiPartParser):
    """Forms with files, at most as large as the view's `max_multipart_bytes`.

    Without such a limit of the view it is the largest image accepted and 1 MB for everything else. The
    declared length is checked before anything is read.
    """

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the fields and files."""
        context = dict(parser_context or {})
        default_limit = settings.MEDIA_MAX_UPLOAD_BYTES + MULTIPART_OVERHEAD_BYTES
        _check_head(context, getattr(context.get("view"), "max_multipart_bytes", default_limit))
        try:
            parsed = super().parse(stream, media_type, context)
        except (exceptions.ParseError, MultiPartParserError):
            raise MalformedBodyError("The body is no multipart form.", code="malformed_multipart") from None
        for name, values in parsed.data.lists():
            for text in (name, *values):
                _check_text(text)
        for name in parsed.files:
            _check_text(name)
        return parsed


def parse_json(body: bytes) -> Any:
    """Return what the bytes hold.

    Raises:
        MalformedBodyError: They are not JSON, or hold what the parser of this API refuses.
    """
    if body.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise MalformedBodyError("The body starts with a byte order mark.", code="not_utf8")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedBodyError("The body is not UTF-8.", code="not_utf8") from None
    try:
        parsed = json.loads(
            text,
            object_pairs_hook=_build_object,
            parse_int=_parse_int,
            parse_float=_parse_float,
            parse_constant=_refuse_constant,
        )
    except json.JSONDecodeError as error:
        message = f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        raise MalformedBodyError(message, code="malformed_json") from None
    except RecursionError:
        raise _too_deep() from None
    _check_tree(parsed, depth=0, check_texts=bool(_SUSPECT_ESCAPE.search(text)))
    return parsed


def _check_head(context: Mapping[str, Any], limit: int) -> None:
    request: Request | None = context.get("request")
    if request is None:
        return
    if request.META.get("HTTP_CONTENT_ENCODING", "identity").lower() not in ("", "identity"):
        raise EncodedBodyError
    encoding = str(context.get("encoding") or "utf-8").lower()
    if encoding not in ("utf-8", "utf8", "us-ascii", "ascii"):
        raise MalformedBodyError("The body must be UTF-8.", code="not_utf8")
    length = request.META.get("CONTENT_LENGTH") or "0"
    if length.isascii() and length.isdigit() and int(length) > limit:
        raise BodyTooLargeError(limit)


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    built = dict(pairs)
    if len(built) != len(pairs):
        raise MalformedBodyError("A name is given twice in one object.", code="duplicate_key")
    return built


def _parse_int(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_DIGITS:
        raise _number_error()
    return int(digits)


def _parse_float(digits: str) -> float:
    if sum(digit.isdigit() for digit in digits) > MAX_DIGITS:
        raise _number_error()
    number = float(digits)
    if not math.isfinite(number):
        raise _number_error()
    return number


def _number_error() -> MalformedBodyError:
    return MalformedBodyError(
        f"A number is too large or has more than {MAX_DIGITS} digits.", code="number_out_of_range"
    )


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedBodyError(f"{name} is not JSON.", code="not_finite")


def _too_deep() -> MalformedBodyError:
    return MalformedBodyError(f"The body is nested more than {MAX_DEPTH} deep.", code="too_deep")


def _check_tree(node: Any, *, depth: int, check_texts: bool) -> None:
    if isinstance(node, dict | list):
        if depth >= MAX_DEPTH:
            raise _too_deep()
        for child in node.values() if isinstance(node, dict) else node:
            _check_tree(child, depth=depth + 1, check_texts=check_texts)
        if check_texts and isinstance(node, dict):
            for name in node:
                _check_text(name)
    elif check_texts and isinstance(node, str):
        _check_text(node)


def _check_text(text: str) -> None:
    if "\x00" in text:
        raise MalformedBodyError("A text holds a NUL character.", code="nul_character")
    if _LONE_SURROGATE.search(text):
        raise MalformedBodyError("A text holds half of a surrogate pair.", code="lone_surrogate")
