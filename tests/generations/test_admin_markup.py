"""What those who read the admin's pages aloud, or walk them by keys, depend on."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from tests.accounts.signing_in import sign_in
from tests.generations.factories import (
    AttemptFactory,
    DatasetImportFactory,
    DatasetItemFactory,
    DatasetVersionFactory,
    GenerationFactory,
    OutputImageFactory,
    RunFactory,
)
from tests.prompts.factories import ImageModelFactory, PromptVersionFactory

pytestmark = pytest.mark.django_db
POINTERS = ("aria-describedby", "aria-labelledby", "for")


class Markup(HTMLParser):
    """The names that a page gives its elements, and those that they point at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.pointers: list[str] = []
        self.nameless_links: list[str] = []
        self.trail: list[str] = []
        self._link: str | None = None
        self._has_name = False
        self._is_in_trail = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        self.ids += [values["id"]] if "id" in values else []
        for name in POINTERS:
            self.pointers += values.get(name, "").split()
        if tag == "a" and "href" in values:
            self._link, self._has_name = values["href"], False
        self._has_name |= any(values.get(name) for name in ("aria-label", "alt"))
        self._is_in_trail |= tag == "h1" and not self.trail

    def handle_data(self, data: str) -> None:
        self._has_name |= bool(data.strip())
        if self._is_in_trail and data.strip() not in ("", "chevron_right"):
            self.trail.append(data.strip())

    def handle_endtag(self, tag: str) -> None:
        self._is_in_trail &= tag != "h1"
        if tag == "a" and self._link is not None:
            self.nameless_links += [] if self._has_name else [self._link]
            self._link = None


@pytest.fixture
def as_admin(admin: User) -> Client:
    return sign_in(admin)


def list_pages() -> list[str]:
    item = DatasetItemFactory()
    run = RunFactory(prompt_versions=[PromptVersionFactory()], dataset_version=item.dataset_version)
    failed = GenerationFactory(run=run, failed=True)
    AttemptFactory(generation=failed)
    OutputImageFactory(generation=GenerationFactory(run=run, completed=True))
    places: list[tuple[str, list[Any]]] = [
        ("index", []),
        ("spending", []),
        ("generations_generation_changelist", []),
        ("generations_generation_change", [failed.pk]),
        ("generations_run_change", [run.pk]),
        ("generations_run_launch", []),
        ("generations_dataset_change", [item.dataset_version.dataset_id]),
        ("generations_dataset_item", [item.dataset_version.dataset_id]),
        ("prompts_imagemodel_changelist", []),
    ]
    return [reverse(f"admin:{name}", args=arguments) for name, arguments in places]


def test_the_heading_is_a_trail_that_ends_with_the_page_s_own_name(as_admin: Client) -> None:
    model = ImageModelFactory(name="Fast")
    dataset = DatasetVersionFactory(dataset__name="Faces").dataset
    upload = DatasetImportFactory(dataset=dataset, file_name="faces.csv")
    run = RunFactory(name="Trial", prompt_versions=[PromptVersionFactory()])
    runs, datasets = ["Generations", "Runs"], ["Generations", "Datasets"]
    expected: dict[tuple[str, object], list[str]] = {
        ("generations_run_launch", None): [*runs, "Launch a run"],
        ("generations_run_change", run.pk): [*runs, "Trial"],
        ("generations_run_cancel", run.pk): [*runs, "Trial", "Cancel run"],
        ("generations_run_test_model", model.pk): ["Prompts", "Image models", "Fast", "Test"],
        ("generations_dataset_add", None): [*datasets, "Add dataset"],
        ("generations_dataset_import", dataset.pk): [*datasets, "Faces", "New version"],
        ("generations_dataset_imported", upload.pk): [*datasets, "Faces", "Import of faces.csv"],
        ("generations_dataset_item", dataset.pk): [*datasets, "Faces", "New item"],
        ("generations_dataset_delete", dataset.pk): [*datasets, "Faces", "Delete dataset"],
        ("prompts_promptversion_compare", None): ["Prompts", "Prompt versions", "Compare versions"],
        ("spending", None): ["Spending"],
        ("analytics", None): ["Analytics"],
        ("queue-status", None): ["Task queue"],
    }

    for (name, argument), trail in expected.items():
        address = reverse(f"admin:{name}", args=[] if argument is None else [argument])
        assert Markup(as_admin.get(address).content.decode()).trail == trail


def test_a_page_begins_with_a_way_past_its_sidebar_and_names_its_links(as_admin: Client) -> None:
    for address in list_pages():
        text = as_admin.get(address).content.decode()
        markup = Markup(text)

        assert text.index('href="#content"') < text.index("/admin/queue-status/"), address
        assert "content" in markup.ids, address
        assert [link for link in markup.nameless_links if "/generation/" in link] == [], address


@pytest.mark.parametrize("page", ["generations_run_launch", "generations_dataset_add"])
def test_a_field_points_at_its_help_and_at_what_is_wrong_with_it(as_admin: Client, page: str) -> None:
    text = as_admin.post(reverse(f"admin:{page}"), {"name": "", "repeats": "0"}).content.decode()
    markup = Markup(text)

    assert 'role="alert"' in text
    assert "id_name_error" in markup.pointers
    assert [name for name in markup.pointers if name.startswith("id_") and name not in markup.ids] == []


def test_a_table_that_scrolls_can_be_reached_by_keys(as_admin: Client) -> None:
    attempt = AttemptFactory(generation=GenerationFactory(failed=True))

    page = as_admin.get(reverse("admin:generations_generation_change", args=[attempt.generation_id]))

    assert '<div class="mg-scroll" tabindex="0" role="region"' in page.content.decode()
