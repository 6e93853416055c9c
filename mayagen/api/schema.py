"""The OpenAPI 3.1 description: every operation says which problems it may answer with."""

from __future__ import annotations

from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from drf_spectacular.utils import Direction
from rest_framework.permissions import AllowAny

from mayagen.api.problems import MEDIA_TYPE

_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "Problem details (RFC 9457).",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string", "description": "The phrase of the HTTP status."},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "A stable name of the problem, for programs."},
        "detail": {"type": "string", "description": "A sentence for people."},
        "fields": {
            "type": "object",
            "description": "Messages by the path of the field or parameter that they belong to.",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
        },
        "extra": {"type": "object", "description": "Further facts for programs."},
    },
}
_SENTENCES = {
    "400": "The query string, a field or the body is not valid.",
    "401": "Nobody is signed in, or the token is no longer valid.",
    "403": "The role does not allow this.",
    "404": "There is no such object, or it may not be seen.",
    "409": "The object is no longer in the state that this needs.",
    "413": "The body is too large.",
    "415": "The body is of a kind that is not accepted here.",
    "422": "A rule of the product is not met.",
    "429": "Too many calls; `Retry-After` says when to try again.",
}
_WITH_BODY = {"POST", "PUT", "PATCH"}


class ProblemAutoSchema(AutoSchema):
    """Adds the problems of each operation to what the view itself declares.

    A view names in `problem_statuses` what cannot be told from its permissions, method and throttle.
    """

    def _get_response_bodies(self, direction: Direction = "response") -> dict[str, Any]:
        responses: dict[str, Any] = super()._get_response_bodies(direction)
        if direction == "response":
            reference = self._refer_to_problem()
            for status in self._list_problem_statuses():
                responses.setdefault(
                    status,
                    {
                        "description": _SENTENCES[status],
                        "content": {MEDIA_TYPE: {"schema": reference}},
                    },
                )
        return responses

    def _list_problem_statuses(self) -> list[str]:
        statuses = {"400"}
        if not any(isinstance(permission, AllowAny) for permission in self.view.get_permissions()):
            statuses |= {"401", "403"}
        if "{" in self.path:
            statuses.add("404")
        if self.method != "GET":
            statuses |= {"409", "422"}
        if self.method in _WITH_BODY:
            statuses |= {"413", "415"}
        if getattr(self.view, "throttle_scope", None):
            statuses.add("429")
        return sorted(statuses.union(getattr(self.view, "problem_statuses", ())))

    def _refer_to_problem(self) -> dict[str, Any]:
        component = ResolvedComponent(  # type: ignore[no-untyped-call]
            name="Problem", type=ResolvedComponent.SCHEMA, schema=_PROBLEM, object="Problem"
        )
        self.registry.register_on_missing(component)
        reference: dict[str, Any] = component.ref
        return reference
