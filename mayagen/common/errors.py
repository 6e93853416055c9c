"""The one family of errors that a person may see: a stable code, a sentence, an HTTP status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class DomainError(Exception):
    """A rule of the product was not met, and nothing was changed.

    Subclasses stand beside the verb that raises them and set `code` (snake case of the class name
    without `Error`), `status` and a default sentence. The API, the pages and the admin map it once.

    Args:
        message: A sentence that a person understands; the class's own sentence when omitted.
        fields: Messages by field name, for errors that belong to parts of a form or body.
        extra: JSON-ready facts about the error, for programs.
    """

    code: ClassVar[str] = "invalid"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "The request could not be carried out."

    def __init__(
        self,
        message: str | None = None,
        *,
        fields: Mapping[str, list[str]] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self.message = message or self.sentence
        self.fields = dict(fields or {})
        self.extra = dict(extra or {})
        super().__init__(self.message)


class PermissionDeniedError(DomainError):
    """The actor's role does not allow this verb."""

    code = "permission_denied"
    status = 403
    sentence = "Your role does not allow this."


class NotFoundError(DomainError):
    """There is no such object, or the actor may not know of it."""

    code = "not_found"
    status = 404
    sentence = "There is no such object."


class ConflictError(DomainError):
    """The object is no longer in the state that the verb needs."""

    code = "conflict"
    status = 409
    sentence = "The object has changed in the meantime."
