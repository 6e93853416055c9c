"""The three roles and what each may do, as data; groups and their permissions are made from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

ADMIN: Final = "admin"
EVALUATOR: Final = "evaluator"
VIEWER: Final = "viewer"
ROLES: Final = (ADMIN, EVALUATOR, VIEWER)

_READABLE = (
    "prompts.view_imagemodel",
    "prompts.view_prompt",
    "prompts.view_promptversion",
    "prompts.view_label",
    "generations.view_dataset",
    "generations.view_datasetversion",
    "generations.view_datasetitem",
    "generations.view_run",
    "generations.view_generation",
    "generations.view_attempt",
    "generations.view_inputimage",
    "generations.view_outputimage",
    "generations.view_providerhealth",
    "generations.view_quota",
    "evaluations.view_criterion",
    "evaluations.view_reviewqueue",
    "evaluations.view_rating",
    "evaluations.view_analytics",
)
_WRITABLE = (
    "accounts.view_user",
    "accounts.add_user",
    "accounts.change_user",
    "accounts.view_auditentry",
    "prompts.add_imagemodel",
    "prompts.change_imagemodel",
    "prompts.delete_imagemodel",
    "prompts.view_providerkey",
    "prompts.add_providerkey",
    "prompts.change_providerkey",
    "prompts.delete_providerkey",
    "prompts.add_prompt",
    "prompts.change_prompt",
    "prompts.delete_prompt",
    "prompts.add_promptversion",
    "prompts.change_promptversion",
    "prompts.delete_promptversion",
    "prompts.add_label",
    "prompts.change_label",
    "prompts.delete_label",
    "generations.add_dataset",
    "generations.change_dataset",
    "generations.delete_dataset",
    "generations.add_run",
    "generations.change_run",
    "generations.change_generation",
    "generations.add_generation",
    "generations.add_quota",
    "generations.change_quota",
    "generations.change_providerhealth",
    "evaluations.add_criterion",
    "evaluations.change_criterion",
    "evaluations.add_reviewqueue",
    "evaluations.change_reviewqueue",
    "evaluations.delete_reviewqueue",
    "evaluations.add_rating",
    "evaluations.view_assignment",
    "evaluations.change_assignment",
)

PERMISSIONS: Final[Mapping[str, frozenset[str]]] = {
    ADMIN: frozenset(_READABLE) | frozenset(_WRITABLE) | {"evaluations.review"},
    EVALUATOR: frozenset({"evaluations.review"}),
    VIEWER: frozenset(_READABLE),
}
"""Permission codes (`app.verb_model`) of each role.

An evaluator holds only `evaluations.review`: to work in a queue and to see their own ratings. Nothing that a
blind queue hides is readable to somebody who may rate in it.
"""
