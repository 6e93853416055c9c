"""Imports in the background: checked first, then written whole, whatever happens to whoever works on them."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command

from accounts.models import AuditEntry, User
from accounts.services import change_role
from generations.choices import ImportState
from generations.models import (
    Dataset,
    DatasetImport,
    DatasetImportImage,
    DatasetItemImage,
    DatasetVersion,
)
from generations.services import dataset_imports as services
from generations.services.dataset_rows import ColumnMapping
from generations.services.datasets import (
    DatasetAlreadyDeletedError,
    DatasetInvalidError,
    delete_dataset,
)
from mayagen.common.errors import PermissionDeniedError
from tests.accounts.factories import UserFactory
from tests.generations.factories import DatasetFactory, DatasetItemFactory, DatasetItemImageFactory, make_png
from tests.generations.hostile_archives import HOSTILE, make_zip
from tests.generations.hostile_files import EPS, PDF, SVG, flat_png
from tests.generations.import_cases import (
    PICTURED,
    ROWS,
    get_version,
    list_files,
    make_archive,
    upload,
    work,
)

pytestmark = pytest.mark.django_db


def start(actor: User, dataset_import: DatasetImport) -> DatasetImport:
    return work(services.start_dataset_import(actor=actor, dataset_import=dataset_import))


def errors_of(dataset_import: DatasetImport) -> list[tuple[int, str]]:
    return [(error["line"], error["code"]) for error in dataset_import.errors]


def test_a_file_is_checked_first_and_imported_when_somebody_says_so(admin: User) -> None:
    checked = work(upload(admin))

    assert (checked.state, checked.n_rows, checked.n_errors) == (ImportState.CHECKED, 2, 0)
    assert checked.columns == ["key", "brief", "tags", "subject"]
    assert checked.used_mapping["variables"] == {"subject": "subject"}
    assert checked.preview[0] == {
        "key": "a",
        "brief": "A cat.",
        "variables": {"subject": "cat"},
        "tags": ["pets"],
        "images": [],
    }
    assert not Dataset.objects.exists()

    done = start(admin, checked)

    assert (done.state, done.upload.name, done.lease_expires_at) == (ImportState.COMPLETED, "", None)
    assert done.version is not None
    assert (done.dataset, done.version.number) == (Dataset.objects.get(), 1)
    assert done.version.note == "Imported 2 items."
    assert [item.key for item in done.version.items.order_by("position")] == ["a", "b"]
    assert list_files() == []
    assert set(AuditEntry.objects.values_list("verb", flat=True)) >= {
        "upload_dataset_import",
        "start_dataset_import",
        "create_dataset",
        "create_dataset_version",
    }


def test_without_a_dry_run_a_good_file_is_imported_at_once_and_a_bad_one_fails(admin: User) -> None:
    dataset = DatasetFactory()

    good = work(upload(admin, dataset=dataset, is_dry_run=False, note="All"))
    bad = work(upload(admin, b"subject\na,b\n", dataset=dataset, is_dry_run=False))

    assert (good.state, dataset.versions.get().note) == (ImportState.COMPLETED, "All")
    assert (bad.state, bad.error_code, errors_of(bad)) == (
        ImportState.FAILED,
        "dataset_import_invalid",
        [(2, "too_many_cells")],
    )
    assert dataset.versions.count() == 1
    assert list_files() == []


def test_errors_are_counted_and_the_first_hundred_named(admin: User) -> None:
    checked = work(upload(admin, b"subject\n" + b"a,b\n" * 500 + b"good\n"))

    assert (checked.state, checked.n_errors, len(checked.errors)) == (ImportState.CHECKED, 500, 100)
    assert checked.errors[0] == {
        "line": 2,
        "code": "too_many_cells",
        "message": "The line has 2 cells, the header 1.",
    }
    with pytest.raises(services.ImportHasErrorsError):
        services.start_dataset_import(actor=admin, dataset_import=checked)


@pytest.mark.parametrize(
    ("content", "errors"),
    [
        (b"subject\n", [(1, "empty")]),
        (b"key,subject\na,cat\na,dog\n", [(3, "key_duplicate")]),
        (b"subject\ngood\na\xff\n", [(3, "encoding")]),
        (b"subject\ngood\n\x00\n", [(3, "nul")]),
        (b"subject,subject\n", [(1, "column_duplicate")]),
        (b"x" * (9 * 2**20), [(1, "line_too_long")]),
    ],
)
def test_faults_of_tables_stay_to_be_seen(admin: User, content: bytes, errors: list[tuple[int, str]]) -> None:
    checked = work(upload(admin, content))

    assert (checked.state, errors_of(checked)) == (ImportState.CHECKED, errors)


def test_names_that_no_database_could_hold_are_errors_of_their_lines(admin: User) -> None:
    lines = [b'{"good": "x"}', b'{"a\\u0000": 1}', b'{"\\ud800": 1}', b'{"' + b"long" * 100 + b'": 1}']

    checked = work(upload(admin, b"\n".join(lines), file_name="a.jsonl"))
    table = work(upload(admin, b"x" * 5_000 + b",good\n1,2\n"))

    assert errors_of(checked) == [(2, "variable_value"), (3, "variable_value"), (4, "variable_value")]
    assert checked.columns == ["good"]
    assert [code for _, code in errors_of(table)] == ["column_too_long", "variable_name"]
    assert max(len(column) for column in table.columns) == 200


def test_other_columns_are_chosen_for_the_stored_file(admin: User) -> None:
    content = b"Prompt\tCategory\nbond\tAbstract\n"
    refused = work(upload(admin, content, mapping=ColumnMapping(brief="Text")))
    assert errors_of(refused) == [(1, "column_unknown")]

    mapping = ColumnMapping(brief="Prompt", variables={"prompt": "Prompt"}, tags=["Category"])
    checked = work(services.change_mapping(actor=admin, dataset_import=refused, mapping=mapping))

    assert (checked.n_errors, checked.preview[0]["tags"]) == (0, ["Abstract"])
    done = start(admin, checked)
    (item,) = get_version(done).items.all()
    assert (item.brief, item.variables, item.tags) == ("bond", {"prompt": "bond"}, ["Abstract"])


def test_an_archives_pictures_become_the_items_own(admin: User) -> None:
    checked = work(upload(admin, make_archive(), file_name="animals.zip"))
    assert (checked.n_images, checked.n_images_done, checked.n_errors) == (3, 3, 0)
    assert checked.used_mapping["references"] == ["image"]
    n_files = len(list_files())

    done = start(admin, checked)

    items = {item.key: list(item.images.order_by("position")) for item in get_version(done).items.all()}
    assert [image.role for image in items["a"]] == ["reference", "mask"]
    assert [image.file.name for image in items["b"]][1] == items["a"][0].file.name
    assert (len(items["b"]), items["c"]) == (2, [])
    assert not DatasetImportImage.objects.exists()
    # All but the upload itself.
    assert len(list_files()) == n_files - 1 == 3 * 4


def test_pictures_that_no_row_names_by_the_last_mapping_are_removed(admin: User) -> None:
    checked = work(upload(admin, make_archive(), file_name="animals.zip"))
    mapping = ColumnMapping(key="key", variables={"subject": "subject"}, masks=["mask"])

    again = work(services.change_mapping(actor=admin, dataset_import=checked, mapping=mapping))
    start(admin, again)

    assert DatasetItemImage.objects.count() == 1
    assert len(list_files()) == 4


def test_items_keep_their_pictures_unless_the_file_speaks_of_pictures(admin: User) -> None:
    item = DatasetItemFactory(key="a")
    DatasetItemImageFactory(item=item)
    dataset = item.dataset_version.dataset

    plain = start(admin, work(upload(admin, dataset=dataset)))
    pictured = start(
        admin,
        work(upload(admin, make_archive(b"key,subject,image\na,cat,\n"), dataset=dataset, file_name="a.zip")),
    )

    assert get_version(plain).items.get(key="a").images.count() == 1
    assert get_version(pictured).items.get(key="a").images.count() == 0


@pytest.mark.parametrize(
    ("picture", "code"),
    [
        (b"", "media_empty"),
        (SVG, "media_not_an_image"),
        (PDF, "media_not_an_image"),
        (EPS, "media_not_an_image"),
        (make_png(1)[:200], "media_truncated"),
        (flat_png(9_000, 9_000), "media_too_many_pixels"),
    ],
)
def test_a_picture_that_is_none_is_an_error_of_the_line_that_names_it(
    admin: User, picture: bytes, code: str
) -> None:
    content = make_archive(**{"b.png": picture})

    checked = work(upload(admin, content, file_name="animals.zip"))

    assert (checked.state, errors_of(checked)) == (ImportState.CHECKED, [(3, code)])
    assert "b.png" in checked.errors[0]["message"]


def test_a_picture_that_is_not_there_is_an_error_of_its_line(admin: User) -> None:
    table = b"key,image\na,a.png\nb,../../etc/passwd\nc,/etc/passwd\nd,none.png\n"

    checked = work(upload(admin, make_archive(table), file_name="animals.zip"))

    assert errors_of(checked) == [(3, "image_missing"), (4, "image_missing"), (5, "image_missing")]


def test_columns_of_pictures_need_an_archive(admin: User) -> None:
    mapping = ColumnMapping(key="key", references=["subject"])

    assert errors_of(work(upload(admin, mapping=mapping))) == [(1, "images_missing")]
    lines = b'{"key": "a", "subject": "cat"}\n'
    assert errors_of(work(upload(admin, lines, mapping=mapping))) == [(1, "images_missing")]


def test_objects_name_pictures_too(admin: User) -> None:
    table = b'{"key": "a", "images": ["a.png", "b.png"], "mask": "mask.png"}\n{"key": "b", "image": 5}\n'
    content = make_zip(
        {"items.jsonl": table, "a.png": make_png(1), "b.png": make_png(2), "mask.png": make_png(3)}
    )

    checked = work(upload(admin, content, file_name="animals.zip"))

    assert errors_of(checked) == [(2, "images")]
    assert [image["role"] for image in checked.preview[0]["images"]] == ["reference", "reference", "mask"]


@pytest.mark.parametrize("name", sorted(set(HOSTILE) - {"many entries", "huge directory"}))
def test_a_hostile_archive_fails_with_its_code_and_leaves_nothing(admin: User, name: str) -> None:
    make, code = HOSTILE[name]

    failed = work(upload(admin, make(), file_name="animals.zip"))

    assert (failed.state, failed.error_code) == (ImportState.FAILED, code)
    assert failed.error_message
    assert not Dataset.objects.exists()
    assert list_files() == []


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"content": b""}, services.ImportFileEmptyError),
        ({"name": " "}, DatasetInvalidError),
        ({"note": "x" * 501}, DatasetInvalidError),
        ({"file_format": "xml"}, DatasetInvalidError),
    ],
)
def test_what_cannot_be_taken_is_not_stored(admin: User, options: dict[str, Any], error: type) -> None:
    with pytest.raises(error):
        upload(admin, **options)

    assert not DatasetImport.objects.exists()
    assert list_files() == []


def test_a_file_beyond_the_limit_is_not_stored(admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "MAX_UPLOAD_BYTES", 10)

    with pytest.raises(services.ImportFileTooLargeError):
        upload(admin)
    assert list_files() == []


def test_names_of_files_are_only_shown(admin: User) -> None:
    dataset_import = upload(admin, file_name="../../etc/\x00pass\u202ewd.csv")

    assert dataset_import.file_name == "passwd.csv"
    assert ".." not in str(dataset_import.upload)


def test_pictures_that_only_a_late_object_names_are_taken_too(admin: User) -> None:
    table = b"".join(b'{"key": "k%d"}\n' % number for number in range(30))
    content = make_zip({"items.jsonl": table + b'{"key": "z", "image": "a.png"}\n', "a.png": make_png(1)})

    done = start(admin, work(upload(admin, content, file_name="animals.zip")))

    assert get_version(done).items.get(key="z").images.count() == 1


@pytest.mark.parametrize("role", ["evaluator", "viewer"])
def test_only_admins_import(role: str, admin: User, request: pytest.FixtureRequest) -> None:
    actor = request.getfixturevalue(role)
    checked = work(upload(admin))

    with pytest.raises(PermissionDeniedError):
        upload(actor)
    with pytest.raises(PermissionDeniedError):
        upload(actor, dataset=DatasetFactory())
    for verb in (services.start_dataset_import, services.cancel_dataset_import):
        with pytest.raises(PermissionDeniedError):
            verb(actor=actor, dataset_import=checked)
    with pytest.raises(PermissionDeniedError):
        services.change_mapping(actor=actor, dataset_import=checked, mapping=ColumnMapping())
    assert DatasetImport.objects.get().state == ImportState.CHECKED


def test_whoever_lost_the_right_meanwhile_imports_nothing(admin: User) -> None:
    other = UserFactory(role="admin")
    checked = work(upload(other))
    services.start_dataset_import(actor=other, dataset_import=checked)
    change_role(actor=admin, user=other, role="viewer")

    failed = work(checked)

    assert (failed.state, failed.error_code) == (ImportState.FAILED, "permission_denied")
    assert not Dataset.objects.exists()


def test_a_dataset_deleted_in_mid_flight_gets_no_version(admin: User) -> None:
    dataset = DatasetFactory()
    checked = work(upload(admin, dataset=dataset))
    services.start_dataset_import(actor=admin, dataset_import=checked)
    delete_dataset(actor=admin, dataset=dataset)

    failed = work(checked)

    assert (failed.state, failed.error_code) == (ImportState.FAILED, "dataset_deleted")
    with pytest.raises(DatasetAlreadyDeletedError):
        upload(admin, dataset=dataset)
    assert not DatasetVersion.objects.exists()


def test_each_verb_has_its_states(admin: User) -> None:
    uploaded = upload(admin)
    with pytest.raises(services.ImportNotCheckedError):
        services.start_dataset_import(actor=admin, dataset_import=uploaded)
    with pytest.raises(services.ImportNotCheckedError):
        services.change_mapping(actor=admin, dataset_import=uploaded, mapping=ColumnMapping(key="key"))

    done = start(admin, work(uploaded))
    with pytest.raises(services.ImportNotCheckedError):
        services.start_dataset_import(actor=admin, dataset_import=done)
    with pytest.raises(services.ImportFinishedError):
        services.cancel_dataset_import(actor=admin, dataset_import=done)
    assert DatasetVersion.objects.count() == 1


def test_files_are_read_from_any_upload(admin: User) -> None:
    big = services.upload_dataset_import(
        actor=admin, file=ContentFile(PICTURED), file_name="", name="No name", is_dry_run=True
    )

    assert work(big).n_rows == ROWS.count(b"\n")


def test_the_command_imports_an_archive_in_the_foreground(admin: User, tmp_path: Path) -> None:
    path = tmp_path / "animals.zip"
    path.write_bytes(make_archive())
    out = StringIO()

    call_command("import_dataset", str(path), "--dry-run", stdout=out)
    assert not Dataset.objects.exists()
    call_command(
        "import_dataset", str(path), "--key", "key", "--image", "image", "--mask", "mask", stdout=out
    )

    checked, imported = out.getvalue().splitlines()
    assert checked == "animals.zip: 3 items without errors; nothing was imported."
    assert imported == "animals version 1: 3 items."
    assert DatasetItemImage.objects.count() == 4


def test_the_command_says_what_is_wrong_with_an_archive(admin: User, tmp_path: Path) -> None:
    path = tmp_path / "animals.zip"
    path.write_bytes(HOSTILE["symlink"][0]())

    with pytest.raises(CommandError, match="holds a link"):
        call_command("import_dataset", str(path))

    assert (list_files(), Dataset.objects.count()) == ([], 0)
