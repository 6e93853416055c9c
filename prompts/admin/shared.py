"""What the pages of prompts share: columns from above, links to pages above, people's names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.http import urlencode

from accounts.models import User
from accounts.permissions import can
from prompts.models import ImageModel, PromptVersion

LAUNCH_URL_NAME = "admin:generations_run_launch"
TEST_URL_NAME = "admin:generations_run_test_model"


@dataclass(frozen=True, slots=True)
class VersionColumn:
    """A column that an app above adds to the tables of versions.

    Args:
        title: Its heading.
        load: Called once per page with the ids of its versions; returns the texts by id, those of versions
            without anything to show left out.
    """

    title: str
    load: Callable[[Sequence[UUID]], Mapping[UUID, str]]


_columns: list[VersionColumn] = []


def add_version_column(column: VersionColumn) -> None:
    """Add a column to the tables of versions; for the `ready` of an app above this one."""
    _columns.append(column)


def load_columns(version_ids: Sequence[UUID]) -> list[tuple[str, Mapping[UUID, str]]]:
    """Return the added columns' headings with their texts by version."""
    return [(column.title, column.load(version_ids)) for column in _columns]


def launch_url(versions: Sequence[PromptVersion], user: User) -> str | None:
    """Return the address of the page that launches a run of the versions; None if there is none."""
    if not can(user, "generations.add_run"):
        return None
    try:
        address = reverse(LAUNCH_URL_NAME)
    except NoReverseMatch:
        return None
    query = urlencode([("version", str(version.pk)) for version in versions])
    return f"{address}?{query}" if query else address


def test_url(image_model: ImageModel, user: User) -> str | None:
    """Return the address of the page that tests a model by one call; None if there is none for this user."""
    if image_model.is_deleted or not can(user, "prompts.change_imagemodel"):
        return None
    try:
        return reverse(TEST_URL_NAME, args=[image_model.pk])
    except NoReverseMatch:
        return None


def name_of(person: User | None, request: HttpRequest) -> str:
    """Return a person's name; their e-mail address only to those who may see it."""
    if person is None:
        return "–"
    if person.name:
        return person.name
    return person.email if can(request.user, "accounts.view_user") else "Somebody"
