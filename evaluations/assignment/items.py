"""Read what an evaluator is given of an assignment, in one statement on either database.

The statements are written out because they are the hot path: building them anew for each request costs
more than the database takes to answer.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from django.db import connection

from evaluations.choices import AssignmentState
from evaluations.models import ScaleLevel
from mayagen.common.statements import fetch, to_parameter, to_uuid


@dataclass(frozen=True, slots=True)
class LevelFacts:
    """One level of a scale."""

    id: int
    level: int
    name: str
    description: str


@dataclass(frozen=True, slots=True)
class CriterionFacts:
    """What is asked, on the newest scale."""

    id: uuid.UUID
    slug: str
    name: str
    description: str
    scale_id: uuid.UUID

    @property
    def levels(self) -> tuple[LevelFacts, ...]:
        """The levels of the scale, lowest first; read once in the life of the process."""
        return get_levels(self.scale_id)


@dataclass(frozen=True, slots=True)
class RatingFacts:
    """The newest rating of an assignment."""

    id: uuid.UUID
    level: int
    note: str
    is_flagged: bool
    is_surplus: bool
    is_standing: bool


@dataclass(frozen=True, slots=True)
class AssignedItem:
    """What the page shows of an assignment."""

    public_id: uuid.UUID
    state: str
    lease_expires_at: datetime
    brief: str
    input_roles: tuple[str, ...]
    rating: RatingFacts | None = None


@dataclass(frozen=True, slots=True)
class AssignmentFacts:
    """An assignment with all that the verbs on it need to know."""

    id: uuid.UUID
    queue_id: uuid.UUID
    item_id: int
    evaluator_id: uuid.UUID
    output_image_id: uuid.UUID
    generation_id: uuid.UUID
    prompt_version_id: uuid.UUID
    author_id: uuid.UUID | None
    leased_at: datetime
    finished_at: datetime | None
    holds_place: bool
    is_blind: bool
    is_in_default_queue: bool
    note: str
    is_flagged: bool
    last_revision: int
    last_exclusion_reason: str
    criterion: CriterionFacts
    shown: AssignedItem

    @property
    def state(self) -> str:
        """Where the evaluator stands with the item."""
        return self.shown.state

    @property
    def rating(self) -> RatingFacts | None:
        """The rating that the assignment was submitted with, if it was."""
        return self.shown.rating


# `inputs` is sorted when it is read: SQLite's aggregate has no order of its own.
_SHOWN: Final = """
    a.public_id, a.state, a.lease_expires_at, g.brief,
    CASE WHEN g.brief = '' THEN COALESCE(di.variables, g.variables) END,
    (SELECT {join}(ii.position || ':' || ii.role, ',') FROM generations_inputimage ii
     WHERE ii.generation_id = g.id)"""
_PICTURE: Final = """
    JOIN generations_outputimage o ON o.id = a.output_image_id
    JOIN generations_generation g ON g.id = o.generation_id
    LEFT JOIN generations_datasetitem di ON di.id = g.dataset_item_id"""
_FACTS: Final = f"""
SELECT {_SHOWN},
    r.id, r.level, r.note, r.is_flagged, r.is_surplus, r.is_standing, r.exclusion_reason,
    c.id, c.slug, c.name, c.description,
    (SELECT s.id FROM evaluations_scale s WHERE s.criterion_id = c.id ORDER BY s.number DESC LIMIT 1),
    a.id, a.queue_id, a.item_id, a.evaluator_id, a.output_image_id, g.id, g.prompt_version_id,
    v.created_by_id, a.created_at, a.finished_at, a.note, a.is_flagged, a.holds_place,
    q.is_blind, q.is_default,
    COALESCE((SELECT max(x.revision) FROM evaluations_rating x WHERE x.output_image_id = a.output_image_id
              AND x.criterion_id = c.id AND x.rater_id = a.evaluator_id), 0)
FROM evaluations_assignment a
    JOIN evaluations_reviewqueue q ON q.id = a.queue_id
    JOIN evaluations_criterion c ON c.id = q.criterion_id {_PICTURE}
    JOIN prompts_promptversion v ON v.id = g.prompt_version_id
    LEFT JOIN evaluations_rating r ON r.id = (
        SELECT x.id FROM evaluations_rating x WHERE x.assignment_id = a.id
        ORDER BY x.revision DESC LIMIT 1)
"""  # noqa: S608 - no value in it
_N_SHOWN: Final = 6
_N_RATING: Final = 7


@lru_cache(maxsize=256)
def get_levels(scale_id: uuid.UUID) -> tuple[LevelFacts, ...]:
    """Return the levels of a scale, lowest first; a scale never changes, so they are kept."""
    rows = ScaleLevel.objects.filter(scale=scale_id).order_by("level")
    return tuple(LevelFacts(*row) for row in rows.values_list("id", "level", "name", "description"))


def get_facts(
    *, public_id: uuid.UUID, evaluator_id: uuid.UUID, is_locked: bool = False
) -> AssignmentFacts | None:
    """Return the assignment if it is this evaluator's.

    Args:
        public_id: The id that the evaluator was given.
        evaluator_id: Whose it must be.
        is_locked: Keep assignment and generation from changing until the transaction ends. The generation
            stands for its outputs' consensus, which only one transaction at a time may work out.
    """
    lock = " FOR NO KEY UPDATE OF a, g" if is_locked and connection.vendor == "postgresql" else ""
    rows = _read(
        f"{_FACTS} WHERE a.public_id = %s AND a.evaluator_id = %s{lock}",
        [to_parameter(public_id), to_parameter(evaluator_id)],
    )
    return _build_facts(rows[0]) if rows else None


def list_facts(assignment_ids: Sequence[uuid.UUID]) -> list[AssignmentFacts]:
    """Return the assignments of these ids in their order."""
    if not assignment_ids:
        return []
    marks = ", ".join(["%s"] * len(assignment_ids))
    rows = _read(f"{_FACTS} WHERE a.id IN ({marks})", [to_parameter(each) for each in assignment_ids])
    found = {facts.id: facts for facts in map(_build_facts, rows)}
    return [found[each] for each in assignment_ids if each in found]


def select_shown(source: str) -> str:
    """Return a statement that reads `AssignedItem` columns of the assignments in `source`, oldest first."""
    return f"SELECT {_SHOWN} FROM {source} a {_PICTURE} ORDER BY a.id"  # noqa: S608 - no value in it


def list_shown(statement: str, parameters: Mapping[str, Any]) -> list[AssignedItem]:
    """Run a statement that ends in `select_shown` and return what it gives."""
    return [_build_shown(row, rating=None) for row in _read(statement, parameters)]


def _read(statement: str, parameters: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
    join = "string_agg" if connection.vendor == "postgresql" else "group_concat"
    return fetch(statement.replace("{join}", join), parameters)


def _build_shown(row: Sequence[Any], *, rating: RatingFacts | None) -> AssignedItem:
    public_id, state, lease_expires_at, brief, variables, inputs = row
    places = (place.split(":") for place in (inputs or "").split(",") if place)
    return AssignedItem(
        public_id=to_uuid(public_id),
        state=state,
        lease_expires_at=_to_time(lease_expires_at),
        brief=brief or write_brief(json.loads(variables)),
        input_roles=tuple(role for _, role in sorted((int(at), role) for at, role in places)),
        rating=rating,
    )


def _build_facts(row: Sequence[Any]) -> AssignmentFacts:
    shown, rest = row[:_N_SHOWN], row[_N_SHOWN:]
    rated, rest = rest[:_N_RATING], rest[_N_RATING:]
    is_rated = shown[1] == AssignmentState.SUBMITTED and rated[0] is not None
    rating = RatingFacts(to_uuid(rated[0]), *rated[1:3], *map(bool, rated[3:6])) if is_rated else None
    criterion = CriterionFacts(to_uuid(rest[0]), rest[1], rest[2], rest[3], to_uuid(rest[4]))
    (own_id, queue_id, item_id, evaluator_id, output_id, generation_id, version_id, author_id) = rest[5:13]
    leased_at, finished_at, note, is_flagged, holds_place, is_blind, is_default, last_revision = rest[13:]
    return AssignmentFacts(
        id=to_uuid(own_id),
        queue_id=to_uuid(queue_id),
        item_id=item_id,
        evaluator_id=to_uuid(evaluator_id),
        output_image_id=to_uuid(output_id),
        generation_id=to_uuid(generation_id),
        prompt_version_id=to_uuid(version_id),
        author_id=author_id and to_uuid(author_id),
        leased_at=_to_time(leased_at),
        finished_at=finished_at and _to_time(finished_at),
        holds_place=bool(holds_place),
        is_blind=bool(is_blind),
        is_in_default_queue=bool(is_default),
        note=note,
        is_flagged=bool(is_flagged),
        last_revision=last_revision,
        last_exclusion_reason=rated[6] or "",
        criterion=criterion,
        shown=_build_shown(shown, rating=rating),
    )


def write_brief(variables: object) -> str:
    """Return the sentence that stands for a brief which nobody wrote: the case's own variables."""
    if not isinstance(variables, dict) or not variables:
        return ""
    if len(variables) == 1:
        return str(next(iter(variables.values())))
    return "; ".join(f"{name}: {value}" for name, value in sorted(variables.items()))


def _to_time(value: datetime | str) -> datetime:
    """Return an aware time; SQLite knows no zones, and gives text where a column is computed."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
