"""The admin's pages by which files become datasets, and those of single items."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import User
from generations.models import Dataset, DatasetImport, DatasetVersion
from generations.services.importing.work import work_on_imports
from tests.accounts.signing_in import sign_in
from tests.generations.factories import DatasetFactory, DatasetItemFactory, DatasetItemImageFactory
from tests.generations.import_cases import ROWS, list_files, make_archive, upload, work

pytestmark = pytest.mark.django_db
ADD = "admin:generations_dataset_add"
IMPORT = "admin:generations_dataset_import"
STOP_POLLING = 286


@pytest.fixture
def as_admin(admin: User) -> Client:
    return sign_in(admin)


def address_of(name: str, dataset_import: DatasetImport) -> str:
    return reverse(f"admin:generations_dataset_import{name}", args=[dataset_import.pk])


def read(client: Client, address: str) -> str:
    page = client.get(address)
    assert page.status_code in {200, STOP_POLLING}, address
    return page.content.decode()


def test_a_dataset_is_made_from_a_file_after_its_check(as_admin: Client) -> None:
    body = {"name": "Animals", "description": "Pets", "note": "First", "text": ROWS.decode()}

    handed_in = as_admin.post(reverse(ADD), body)
    dataset_import = DatasetImport.objects.get()
    page = address_of("ed", dataset_import)
    assert handed_in.headers["Location"] == page
    assert 'hx-trigger="every 1s"' in read(as_admin, page)
    assert as_admin.get(address_of("_state", dataset_import)).status_code == 200

    work_on_imports()
    resting = as_admin.get(address_of("_state", dataset_import))
    assert resting.status_code == STOP_POLLING
    assert "hx-trigger" not in resting.content.decode()
    assert "Nothing is in the dataset yet" in read(as_admin, page)
    assert not Dataset.objects.exists()

    as_admin.post(address_of("_start", dataset_import))
    work_on_imports()

    version = DatasetVersion.objects.get()
    assert "All of it is in version 1" in read(as_admin, page)
    assert (version.dataset.name, version.dataset.description, version.note) == ("Animals", "Pets", "First")
    shown = read(as_admin, reverse("admin:generations_dataset_change", args=[version.dataset_id]))
    assert "Last imports" in shown
    assert "A cat." in shown


def test_a_file_that_was_handed_in_is_found_again(as_admin: Client, admin: User) -> None:
    checked = work(upload(admin, file_name="found.csv"))
    cancelled = upload(admin, file_name="gone.csv")
    as_admin.post(address_of("_cancel", cancelled))

    page = read(as_admin, reverse(ADD))

    assert address_of("ed", checked) in page
    assert address_of("ed", cancelled) not in page


def test_an_archive_becomes_a_new_version_with_its_pictures(as_admin: Client) -> None:
    dataset = DatasetFactory()
    file = SimpleUploadedFile("animals.zip", make_archive())

    as_admin.post(reverse("admin:generations_dataset_import", args=[dataset.pk]), {"file": file})
    work_on_imports()
    dataset_import = dataset.imports.get()
    checked = read(as_admin, address_of("ed", dataset_import))
    as_admin.post(address_of("_start", dataset_import))
    work_on_imports()

    assert "mask.png (mask)" in checked
    shown = read(as_admin, reverse("admin:generations_dataset_change", args=[dataset.pk]))
    assert len(re.findall(r'class="mg-thumb"', shown)) == 4


def test_other_columns_are_chosen_without_choosing_the_file_again(as_admin: Client) -> None:
    dataset = DatasetFactory()
    content = b"Prompt text\tCategory\n" + b"bond\tAbstract\n" * 3
    address = reverse("admin:generations_dataset_import", args=[dataset.pk])
    as_admin.post(address, {"file": SimpleUploadedFile("parti.tsv", content)})
    work_on_imports()
    dataset_import = dataset.imports.get()
    page = read(as_admin, address_of("ed", dataset_import))
    assert "can&#x27;t be the name of a variable" in page
    assert address_of("_start", dataset_import) not in page

    chosen = {"role-0": "brief", "variable-0": "prompt", "role-1": "tags"}
    changed = as_admin.post(address_of("_columns", dataset_import), chosen)
    work_on_imports()
    as_admin.post(address_of("_start", dataset_import))
    work_on_imports()

    assert changed.status_code == 302
    items = list(dataset.versions.get().items.all())
    assert [(item.brief, item.variables, item.tags) for item in items] == [
        ("bond", {"prompt": "bond"}, ["Abstract"])
    ] * 3


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        ({"role-0": "key", "role-1": "key"}, "Choose one column for the key."),
        ({"variable-0": "a", "variable-1": "a"}, "the same variable"),
        ({}, "Choose what at least one column becomes."),
        ({"role-0": "everything"}, "Select a valid choice"),
    ],
)
def test_columns_that_cannot_be_are_refused_and_what_was_typed_is_kept(
    as_admin: Client, admin: User, chosen: dict[str, str], sentence: str
) -> None:
    checked = work(upload(admin))

    page = as_admin.post(address_of("_columns", checked), {"variable-3": "kept", **chosen} if chosen else {})

    assert page.status_code == 200
    assert sentence in page.content.decode()
    assert ('value="kept"' in page.content.decode()) == bool(chosen)
    checked.refresh_from_db()
    assert checked.state == "checked"


def test_errors_are_shown_by_line_and_nothing_can_be_started(as_admin: Client, admin: User) -> None:
    checked = work(upload(admin, b"subject\n" + b"a,b\n" * 150))

    page = read(as_admin, address_of("ed", checked))
    refused = as_admin.post(address_of("_start", checked), follow=True)

    assert "The line has 2 cells, the header 1." in page
    assert "And 50 more." in page
    assert address_of("_start", checked) not in page
    assert "The file has errors" in refused.content.decode()


@pytest.mark.parametrize("is_new", [True, False])
def test_a_file_with_errors_says_how_many_and_leads_to_handing_in_another(
    as_admin: Client, admin: User, is_new: bool
) -> None:
    dataset = None if is_new else DatasetItemFactory().dataset_version.dataset
    options: dict[str, Any] = {} if is_new else {"dataset": dataset}
    faulty = work(upload(admin, b'{"key": "a"}\n{"key": "b"\n', file_name="a.jsonl", **options))
    sound = work(upload(admin, **options))
    again = reverse(ADD if dataset is None else IMPORT, args=[] if dataset is None else [dataset.pk])

    page = read(as_admin, address_of("ed", faulty))

    assert "mg-chip-danger" in page
    assert f'id="hand-in-again" href="{again}"' in page
    assert "Mend the file and hand it in again" in page
    assert "The line is no JSON: Expecting" in page
    assert "at character 12" in page
    assert "hand-in-again" not in read(as_admin, address_of("ed", sound))


def test_an_import_is_cancelled(as_admin: Client, admin: User) -> None:
    checked = work(upload(admin))

    page = as_admin.post(address_of("_cancel", checked), follow=True)
    again = as_admin.post(address_of("_cancel", checked), follow=True)
    work_on_imports()

    assert "Cancelled" in page.content.decode()
    assert "This import is over already." in again.content.decode()
    assert list_files() == []


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"text": "subject\na\n", "name": ""}, "This field is required"),
        ({"text": "subject\na\n", "name": "x" * 256}, "at most 255"),
        ({"text": "subject\na\n", "note": "x" * 501}, "at most 500"),
        ({"file": SimpleUploadedFile("a.csv", b""), "text": ""}, "The file is empty."),
        ({"file": SimpleUploadedFile("a.csv", b"a"), "text": "b"}, "Choose a file, or write the rows"),
    ],
)
def test_a_refused_file_names_what_is_wrong(as_admin: Client, fields: dict[str, Any], sentence: str) -> None:
    response = as_admin.post(reverse(ADD), {"name": "Animals", **fields})

    assert response.status_code == 200
    assert sentence in response.content.decode()
    assert not DatasetImport.objects.exists()


def test_a_dataset_is_made_empty_and_gets_its_items_by_hand(as_admin: Client) -> None:
    made = as_admin.post(reverse(ADD), {"name": "Animals"})
    dataset = Dataset.objects.get()
    assert made.headers["Location"] == reverse("admin:generations_dataset_change", args=[dataset.pk])
    item = reverse("admin:generations_dataset_item", args=[dataset.pk])

    first = {"version": "0", "key": "a", "brief": "A cat.", "tags": "pets, small", "more": "subject=cat\nn=2"}
    as_admin.post(item, first)
    as_admin.post(item, {"version": "1", "key": "b", "variable-subject": "dog", "variable-n": ""})
    changed = {"version": "2", "key": "a", "variable-subject": "two\r\ncats", "variable-n": "2"}
    as_admin.post(f"{item}?key=a", changed)

    versions = dataset.versions.order_by("number")
    assert [version.note for version in versions] == ["Added a.", "Added b.", "Changed a."]
    items = {each.key: each for each in versions[2].items.order_by("position")}
    assert list(items) == ["a", "b"]
    assert items["a"].variables == {"subject": "two\ncats", "n": "2"}
    assert items["b"].variables == {"subject": "dog"}
    assert versions[0].items.get().tags == ["pets", "small"]


def test_values_that_are_no_text_stay_so_until_they_are_changed(as_admin: Client) -> None:
    item = DatasetItemFactory(key="a", variables={"n": 2, "wide": True})
    dataset = item.dataset_version.dataset
    address = f"{reverse('admin:generations_dataset_item', args=[dataset.pk])}?key=a"

    as_admin.post(address, {"version": "1", "key": "a", "variable-n": "2", "variable-wide": "False"})

    assert dataset.versions.get(number=2).items.get().variables == {"n": 2, "wide": "False"}


def test_a_renamed_item_keeps_its_place_and_its_pictures(as_admin: Client) -> None:
    item = DatasetItemFactory(key="a")
    dataset = item.dataset_version.dataset
    DatasetItemFactory(dataset_version=item.dataset_version, key="b")
    DatasetItemImageFactory(item=item)
    address = reverse("admin:generations_dataset_item", args=[dataset.pk])
    body = {"version": "1", "key": "z", "variable-subject": "cat"}

    as_admin.post(f"{address}?key=a", body)

    first, second = dataset.versions.get(number=2).items.order_by("position")
    assert (first.key, first.images.count(), second.key) == ("z", 1, "b")


@pytest.mark.parametrize(
    ("query", "fields", "sentence"),
    [
        ("", {"key": "a"}, "Another item has the key"),
        ("?key=b", {"key": "a"}, "Another item has the key"),
        ("", {"key": ""}, "This field is required"),
        ("", {"key": "c", "version": "0"}, "newer version"),
        ("", {"key": "c", "more": "x"}, "name=value"),
        ("", {"key": "c", "more": "a b=x"}, "the name of a variable"),
        ("", {"key": "c", "tags": "x" * 100}, "at most 20 tags"),
    ],
)
def test_an_item_that_cannot_be_saved_says_why(
    as_admin: Client, query: str, fields: dict[str, str], sentence: str
) -> None:
    item = DatasetItemFactory(key="a")
    dataset = item.dataset_version.dataset
    DatasetItemFactory(dataset_version=item.dataset_version, key="b")
    address = reverse("admin:generations_dataset_item", args=[dataset.pk])

    page = as_admin.post(f"{address}{query}", {"version": "1", **fields})

    assert page.status_code == 200
    assert sentence in page.content.decode()
    assert dataset.versions.count() == 1


def test_an_item_is_removed_after_a_question(as_admin: Client) -> None:
    item = DatasetItemFactory(key="a")
    dataset = item.dataset_version.dataset
    DatasetItemFactory(dataset_version=item.dataset_version, key="b")
    page = read(as_admin, f"{reverse('admin:generations_dataset_item', args=[dataset.pk])}?key=a")
    address = reverse("admin:generations_dataset_item_remove", args=[dataset.pk])
    assert f"{address}?key=a&amp;version=1" in page

    as_admin.post(f"{address}?key=a&version=1")
    late = as_admin.post(f"{address}?key=b&version=1", follow=True)

    assert [each.key for each in dataset.versions.get(number=2).items.all()] == ["b"]
    assert "newer version" in late.content.decode()
    assert dataset.versions.count() == 2


@pytest.mark.parametrize("key", ["none", "a%00"])
def test_items_that_are_not_there_have_no_page(as_admin: Client, key: str) -> None:
    dataset = DatasetItemFactory(key="a").dataset_version.dataset

    assert (
        as_admin.get(f"{reverse('admin:generations_dataset_item', args=[dataset.pk])}?key={key}").status_code
        == 404
    )


def test_the_items_of_a_tag_are_shown_alone(as_admin: Client) -> None:
    item = DatasetItemFactory(key="first", tags=["pets", "a&b"])
    DatasetItemFactory(key="second", dataset_version=item.dataset_version, tags=["wild"])
    address = reverse("admin:generations_dataset_change", args=[item.dataset_version.dataset_id])

    for tag, shown in (("pets", "first"), ("a%26b", "first"), ("wild", "second"), ("none", ""), ("%00", "")):
        page = read(as_admin, f"{address}?tag={tag}")
        found = [key for key in ("first", "second") if f">{key}</a>" in page]
        assert found == ([shown] if shown else [] if tag == "none" else ["first", "second"]), tag


def test_viewers_watch_an_import_and_do_nothing_to_it(admin: User, viewer: User) -> None:
    dataset = DatasetFactory()
    checked = work(upload(admin, dataset=dataset))
    client = sign_in(viewer)

    page = read(client, address_of("ed", checked))

    assert admin.email not in page
    for name in ("_start", "_cancel", "_columns"):
        assert address_of(name, checked) not in page
        assert client.post(address_of(name, checked)).status_code == 403
    assert client.get(reverse("admin:generations_dataset_item", args=[dataset.pk])).status_code == 403
    checked.refresh_from_db()
    assert checked.state == "checked"


def test_pages_of_imports_take_the_same_queries_however_large(
    as_admin: Client, admin: User, django_assert_max_num_queries: Callable[[int], Any]
) -> None:
    small = work(upload(admin, b"key,subject\na,cat\n", dataset=DatasetFactory()))
    large = work(upload(admin, make_archive(), file_name="a.zip", dataset=DatasetFactory()))
    counts = []
    for dataset_import in (small, large):
        with CaptureQueriesContext(connection) as queries:
            read(as_admin, address_of("ed", dataset_import))
        counts.append(len(queries))

    assert counts[0] == counts[1]
    with django_assert_max_num_queries(8):
        read(as_admin, address_of("_state", large))
