"""Reading cases from files: every fault with its line, all of the file or nothing."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.models import User
from generations.models import Dataset, DatasetItem, DatasetVersion
from generations.services import dataset_rows
from generations.services.dataset_files import read_rows
from generations.services.dataset_rows import ColumnMapping, DatasetImportError
from generations.services.datasets import (
    DatasetAlreadyDeletedError,
    DatasetInvalidError,
    DatasetNotDeletedError,
    change_dataset,
    create_dataset,
    delete_dataset,
    import_dataset,
    make_rows,
    restore_dataset,
    set_item_images,
)
from generations.services.images import UploadedInput
from mayagen.common.errors import DomainError, NotFoundError, PermissionDeniedError
from prompts.services import SlugTakenError
from tests.generations.factories import DatasetFactory, DatasetItemFactory, make_png

PARTI = ColumnMapping(brief="Prompt", variables={"prompt": "Prompt"}, tags=("Category", "Challenge"))


def errors_of(content: bytes, **options: Any) -> list[tuple[int, str]]:
    with pytest.raises(DatasetImportError) as caught:
        read_rows(content, **options)
    return [(error["line"], error["code"]) for error in caught.value.extra["errors"]]


def test_columns_become_what_their_names_say() -> None:
    content = b"key,brief,tags,subject,art_style\na,A cat.,x; y,cat,ink\n,,,dog,\n"

    rows = read_rows(content)

    assert [(row.key, row.brief, list(row.tags), dict(row.variables)) for row in rows] == [
        ("a", "A cat.", ["x", "y"], {"subject": "cat", "art_style": "ink"}),
        ("item-0002", "", [], {"subject": "dog", "art_style": ""}),
    ]


def test_a_mapping_takes_the_columns_it_names_and_no_others() -> None:
    content = b"Prompt\tCategory\tChallenge\tNote\nbond\tAbstract\tBasic\tBiology\n"

    (row,) = read_rows(content, file_name="parti.tsv", mapping=PARTI)

    assert (row.key, row.brief) == ("item-0001", "bond")
    assert (dict(row.variables), list(row.tags)) == ({"prompt": "bond"}, ["Abstract", "Basic"])


@pytest.mark.parametrize(
    ("file_name", "content"),
    [
        ("a.csv", b"subject\na cat\n"),
        ("a.tsv", b"subject\na cat\n"),
        ("a.jsonl", b'{"subject": "a cat"}\n'),
        ("", b'{"variables": {"subject": "a cat"}}\n'),
        ("", b"subject\tkey\na cat\tk\n"),
        ("", b"\xef\xbb\xbfsubject\r\na cat\r\n"),
        ("", b"subject\na cat"),
        ("", b"subject\n\n\na cat\n\n"),
    ],
)
def test_the_format_is_known_from_the_name_or_the_first_line(file_name: str, content: bytes) -> None:
    (row,) = read_rows(content, file_name=file_name)

    assert row.variables == {"subject": "a cat"}


def test_quotes_in_tabbed_files_are_letters_unless_they_hold_a_cell() -> None:
    plain = b'prompt\n"G I G G L E" painted on a wall\n'
    quoted = b'prompt\n"two\nlines, and a ""quote"""\n'

    assert read_rows(plain, file_format="tsv")[0].variables == {"prompt": '"G I G G L E" painted on a wall'}
    assert read_rows(quoted, file_format="tsv")[0].variables == {"prompt": 'two\nlines, and a "quote"'}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", [(1, "header_missing")]),
        (b"subject\n", [(1, "empty")]),
        (b"key,subject\na,1\nb,2\na,3\nb,4\n", [(4, "key_duplicate"), (5, "key_duplicate")]),
        (b"subject,subject\n1,2\n", [(1, "column_duplicate")]),
        (b"art style\nink\n", [(1, "variable_name")]),
        (b"subject\na,b\n", [(2, "too_many_cells")]),
        (b'subject\n"a"b\n', [(2, "quotes")]),
        (b"subject\na\xff\n", [(2, "encoding")]),
        (b"subject\na\n\x00\n", [(3, "nul")]),
        ("subject\n1\n".encode("utf-16"), [(1, "encoding")]),
        (b"subject\n" + b"x" * 20_001, [(2, "variable_value")]),
        (b"key,subject\n" + b"k" * 121 + b",a\n", [(2, "key_too_long")]),
        (b"brief,subject\n" + b"b" * 2_001 + b",a\n", [(2, "brief_too_long")]),
        (b"tags,subject\n" + b"t" * 81 + b",a\n", [(2, "tags")]),
    ],
)
def test_faults_of_tables_are_named_by_line(content: bytes, expected: list[tuple[int, str]]) -> None:
    assert errors_of(content, file_format="csv") == expected


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"{", "json"),
        (b"[1]", "json"),
        (b'{"a": NaN}', "json"),
        (b'{"a": 1, "a": 2}', "json"),
        (b'{"a": ' + b"[" * 100_000, "json"),
        (b'{"a": ' + b"1" * 5_000 + b"}", "json"),
        (b'{"a": [1]}', "variable_value"),
        (b'{"a": null}', "variable_value"),
        (b'{"a": 1e400}', "variable_value"),
        (b'{"a": "\\u0000"}', "variable_value"),
        (b'{"a": "\\ud800"}', "variable_value"),
        (b'{"a b": 1}', "variable_value"),
        (b'{"key": 1.5}', "text"),
        (b'{"tags": [1]}', "tags"),
        (b'{"variables": 1}', "variables"),
        (b'{"key": "\\u0000"}', "character"),
    ],
)
def test_faults_of_json_lines_are_named_by_line(line: bytes, code: str) -> None:
    assert errors_of(b'{"subject": "a"}\n' + line + b"\n", file_format="jsonl") == [(2, code)]


def test_at_most_a_hundred_faults_are_named() -> None:
    content = b"subject\n" + b"a,b\n" * 500

    assert len(errors_of(content, file_format="csv")) == 100


def test_too_many_rows_and_bytes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert errors_of(b"x" * (20 * 1024 * 1024 + 1)) == [(1, "file_too_large")]
    monkeypatch.setattr(dataset_rows, "MAX_ROWS", 3)
    assert errors_of(b"subject\na\nb\nc\nd\n") == [(5, "too_many_rows")]


def test_a_column_that_is_not_there_is_named() -> None:
    mapping = ColumnMapping(variables={"prompt": "Text"})

    assert errors_of(b"Prompt\na\n", mapping=mapping) == [(1, "column_unknown")]


@pytest.mark.django_db
def test_an_import_makes_a_dataset_and_again_a_new_version(admin: User) -> None:
    first = import_dataset(actor=admin, content=b"key,subject\na,cat\n", name="Animals")
    second = import_dataset(
        actor=admin, content=b"key,subject\na,cat\nb,dog\n", dataset=first.dataset, note="More"
    )

    assert (first.dataset.slug, first.number, second.number) == ("animals", 1, 2)
    assert (first.items.count(), second.items.count()) == (1, 2)
    assert [item.position for item in second.items.order_by("position")] == [0, 1]


@pytest.mark.django_db
def test_a_refused_import_writes_nothing(admin: User) -> None:
    with pytest.raises(DatasetImportError):
        import_dataset(actor=admin, content=b"subject\na,b\n", name="Animals")
    with pytest.raises(DatasetInvalidError):
        import_dataset(actor=admin, content=b"subject\na\n", name=" ")

    assert not Dataset.objects.exists()
    assert not DatasetItem.objects.exists()


@pytest.mark.django_db
def test_datasets_of_one_name_get_different_slugs_and_a_given_one_must_be_free(admin: User) -> None:
    names = [create_dataset(actor=admin, name="Animals!").slug for _ in range(2)]

    assert names == ["animals", "animals-2"]
    with pytest.raises(SlugTakenError):
        create_dataset(actor=admin, name="Other", slug="animals")


@pytest.mark.django_db
def test_a_dataset_is_renamed_deleted_and_restored(admin: User) -> None:
    dataset = create_dataset(actor=admin, name="Animals")

    change_dataset(actor=admin, dataset=dataset, name="Beasts", slug="beasts")
    delete_dataset(actor=admin, dataset=dataset)

    with pytest.raises(DatasetAlreadyDeletedError):
        delete_dataset(actor=admin, dataset=dataset)
    with pytest.raises(DatasetAlreadyDeletedError):
        import_dataset(actor=admin, content=b"subject\na\n", dataset=dataset)
    restore_dataset(actor=admin, dataset=dataset)
    with pytest.raises(DatasetNotDeletedError):
        restore_dataset(actor=admin, dataset=dataset)
    dataset.refresh_from_db()
    assert (dataset.slug, dataset.is_deleted) == ("beasts", False)


@pytest.mark.django_db
def test_a_dataset_whose_slug_was_taken_meanwhile_is_not_restored(admin: User) -> None:
    dataset = create_dataset(actor=admin, name="Animals")
    delete_dataset(actor=admin, dataset=dataset)
    create_dataset(actor=admin, name="Animals")

    with pytest.raises(SlugTakenError):
        restore_dataset(actor=admin, dataset=dataset)


@pytest.mark.django_db
def test_images_of_an_item_come_with_a_new_version_and_stay_in_the_next(admin: User) -> None:
    item = DatasetItemFactory(key="a")
    dataset = item.dataset_version.dataset

    with_image = set_item_images(
        actor=admin, dataset=dataset, key="a", files=[UploadedInput(make_png(1)), UploadedInput(make_png(2))]
    )
    later = import_dataset(actor=admin, content=b"key,subject\na,cat\nb,dog\n", dataset=dataset)

    assert item.images.count() == 0
    names = [image.file.name for image in with_image.items.get().images.order_by("position")]
    assert [image.file.name for image in later.items.get(key="a").images.order_by("position")] == names
    assert later.items.get(key="b").images.count() == 0
    with pytest.raises(NotFoundError):
        set_item_images(actor=admin, dataset=dataset, key="z", files=[])


@pytest.mark.django_db
@pytest.mark.parametrize("role", ["evaluator", "viewer"])
def test_only_admins_change_datasets(role: str, request: pytest.FixtureRequest) -> None:
    actor = request.getfixturevalue(role)
    dataset = DatasetFactory()

    with pytest.raises(PermissionDeniedError):
        create_dataset(actor=actor, name="A")
    with pytest.raises(PermissionDeniedError):
        import_dataset(actor=actor, content=b"subject\na\n", dataset=dataset)
    with pytest.raises(PermissionDeniedError):
        delete_dataset(actor=actor, dataset=dataset)


def test_objects_are_read_like_lines() -> None:
    rows = make_rows([{"key": "a", "variables": {"subject": "cat"}, "tags": ["x"]}, {"subject": "dog"}])

    assert [(row.key, dict(row.variables)) for row in rows] == [
        ("a", {"subject": "cat"}),
        ("item-0002", {"subject": "dog"}),
    ]
    with pytest.raises(DomainError):
        make_rows([{"key": "a"}, {"key": "a"}])


@pytest.mark.django_db
def test_the_command_imports_a_file(admin: User, tmp_path: Path) -> None:
    path = tmp_path / "parti.tsv"
    path.write_text("Prompt\tCategory\tChallenge\tNote\n" + "bond\tAbstract\tBasic\t\n" * 1_632)
    out = StringIO()

    call_command(
        "import_dataset",
        str(path),
        *("--name", "Parti", "--brief", "Prompt", "--variable", "prompt=Prompt"),
        *("--tag", "Category", "--tag", "Challenge"),
        stdout=out,
    )

    assert out.getvalue() == "parti version 1: 1,632 items.\n"
    item = DatasetVersion.objects.get().items.order_by("position")[0]
    assert (item.brief, item.variables, item.tags) == ("bond", {"prompt": "bond"}, ["Abstract", "Basic"])


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"subject\na,b\n", [], "line 2"),
        (b"subject\na\n", ["--variable", "x"], "NAME=COLUMN"),
        (b"subject\na\n", ["--dataset", "none"], "no dataset"),
        (b"subject\na\n", ["--actor", "nobody@example.com"], "no active admin"),
    ],
)
def test_the_command_says_why_it_imports_nothing(
    admin: User, tmp_path: Path, content: bytes, options: list[str], message: str
) -> None:
    path = tmp_path / "items.csv"
    path.write_bytes(content)

    with pytest.raises(CommandError, match=message):
        call_command("import_dataset", str(path), *options)

    assert not Dataset.objects.exists()


def test_the_command_names_a_file_that_is_not_there() -> None:
    with pytest.raises(CommandError, match="can't be read"):
        call_command("import_dataset", "/nowhere/items.csv")
