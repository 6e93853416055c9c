"""Stored files that no row names are removed once they are old; everything else is left alone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from django_q.models import Schedule

from generations import tasks
from generations.choices import ImageRole, ImportState
from generations.image_files import StoredFiles, store_image
from generations.media.naming import MediaFolder, make_probe_key, make_storage_key, make_upload_key
from generations.models import DatasetImportImage, InputImage, OutputImage
from generations.services import orphans
from generations.services.orphans import AgeTooLowError, TooManyOrphansError, collect_orphans
from generations.waking import COLLECT_TASK
from tests.generations.factories import (
    DatasetImportFactory,
    DatasetItemImageFactory,
    GenerationFactory,
    InputImageFactory,
    OutputImageFactory,
    make_png,
)
from tests.generations.s3_server import S3Server, running_s3_server

pytestmark = pytest.mark.django_db

DAY_SECONDS = 24 * 60 * 60


def get_media() -> Path:
    return Path(default_storage.path(""))


def list_stored() -> set[str]:
    return {str(path.relative_to(get_media())) for path in get_media().rglob("*") if path.is_file()}


def age(*names: str, seconds: float = DAY_SECONDS + 60) -> None:
    """Let stored files look as if they had been stored that long ago; all of them without names."""
    then = time.time() - seconds
    for name in names or list_stored():
        os.utime(default_storage.path(name), (then, then))


def leave(*, folder: MediaFolder = "outputs", seconds: float = DAY_SECONDS + 60) -> str:
    """Leave a file as a process does that dies before it writes the row."""
    name = default_storage.save(make_storage_key(folder, "image/png"), ContentFile(b"left"))
    age(name, seconds=seconds)
    return name


def test_old_files_without_a_row_go_and_the_young_stay() -> None:
    kinds: tuple[MediaFolder, ...] = ("inputs", "outputs", "thumbnails", "blind")
    old = [leave(folder=folder) for folder in kinds]
    for key in (make_upload_key(), make_probe_key()):
        old.append(default_storage.save(key, ContentFile(b"left")))
        age(old[-1])
    young = leave(seconds=DAY_SECONDS - 60)

    collected = collect_orphans()

    assert list_stored() == {young}
    assert (collected.n_seen, collected.n_orphans, collected.n_removed) == (7, 6, 6)
    assert (collected.n_young, collected.n_foreign, collected.n_failed) == (1, 0, 0)
    assert collected.is_whole


def test_a_dry_run_counts_and_removes_nothing() -> None:
    left = leave()

    collected = collect_orphans(is_dry_run=True)

    assert list_stored() == {left}
    assert (collected.n_orphans, collected.n_removed) == (1, 0)


def test_every_row_keeps_its_files() -> None:
    OutputImageFactory(content=make_png(101))
    InputImageFactory(content=make_png(102))
    DatasetItemImageFactory(content=make_png(103))
    upload = default_storage.save(make_upload_key(), ContentFile(b"key,brief\n"))
    dataset_import = DatasetImportFactory(upload=upload)
    stored = store_image(make_png(104), folder="inputs")
    DatasetImportImage.objects.create(dataset_import=dataset_import, name="a.png", **stored.as_fields())
    named = list_stored()
    age()

    collected = collect_orphans()

    assert len(named) == 4 * 4 + 1
    assert list_stored() == named
    assert (collected.n_seen, collected.n_orphans) == (17, 0)


def test_files_of_what_was_deleted_softly_stay() -> None:
    image = DatasetItemImageFactory(content=make_png(105))
    dataset = image.item.dataset_version.dataset
    type(dataset).objects.filter(pk=dataset.pk).update(deleted_at=timezone.now())
    age()

    assert collect_orphans().n_orphans == 0


@pytest.mark.parametrize(
    "name",
    [
        "outputs/README.txt",
        "outputs/ab/" + "ab" + "0" * 30 + ".svg",
        "outputs/ab/" + "cd" + "0" * 30 + ".png",
        "outputs/AB/" + "AB" + "0" * 30 + ".png",
        "outputs/ab/" + "ab" + "0" * 30 + ".png\n",
        "outputs/ab/deeper/" + "ab" + "0" * 30 + ".png",
        "outputs/lost+found/" + "ab" + "0" * 30 + ".png",
        "outputs/ab/.nfs000000000001",
        "backups/ab/" + "ab" + "0" * 30 + ".png",
        "ab/" + "ab" + "0" * 30 + ".png",
        "uploads/ab/" + "ab" + "0" * 30 + ".csv",
        "health/probe",
    ],
)
def test_a_name_that_is_not_made_here_is_left_alone(name: str) -> None:
    path = get_media() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"somebody else's")
    age(name)

    assert collect_orphans(may_be_many=True).n_removed == 0
    assert path.read_bytes() == b"somebody else's"


def test_a_folder_that_is_named_like_a_file_is_left_alone() -> None:
    folder = get_media() / make_storage_key("outputs", "image/png")
    folder.mkdir(parents=True)
    os.utime(folder, (0, 0))

    assert collect_orphans(may_be_many=True).n_removed == 0
    assert folder.is_dir()


def test_a_link_goes_but_not_what_it_leads_to(tmp_path: Path) -> None:
    outside = tmp_path / "outside.png"
    outside.write_bytes(b"somebody else's")
    os.utime(outside, (0, 0))
    link = get_media() / make_storage_key("outputs", "image/png")
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)

    collect_orphans()

    assert outside.read_bytes() == b"somebody else's"


def test_a_row_that_is_written_after_the_look_keeps_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = store_image(make_png(106), folder="outputs")
    left = leave()
    age()
    generation = GenerationFactory(completed=True, outputs=None)
    writing = _write_after_first_look(
        monkeypatch, lambda: OutputImage.objects.create(generation=generation, **stored.as_fields())
    )

    collected = collect_orphans()

    assert writing == ["written"]
    assert list_stored() == set(stored.list_names())
    assert left not in list_stored()
    assert (collected.n_orphans, collected.n_removed) == (1, 1)


def _write_after_first_look(monkeypatch: pytest.MonkeyPatch, write: Callable[[], object]) -> list[str]:
    """Write rows between the moment at which files were found without one and that of their removal."""
    written: list[str] = []
    tell_age = orphans._read_time

    def write_then_tell(name: str) -> datetime:
        if not written:
            write()
            written.append("written")
        return tell_age(name)

    monkeypatch.setattr(orphans, "_read_time", write_then_tell)
    return written


def test_an_image_that_moves_from_its_import_to_its_item_keeps_its_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generation = GenerationFactory(completed=True, outputs=None)
    stored = store_image(make_png(107), folder="inputs")
    row = DatasetImportImage.objects.create(
        dataset_import=DatasetImportFactory(state=ImportState.IMPORTING), name="a.png", **stored.as_fields()
    )
    age()
    seen: list[str] = []

    def move(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        # The rows that it goes to have been read, and those that it comes from not yet.
        if "generations_datasetimportimage" in sql and "SELECT" in sql and not seen:
            seen.append("moved")
            moved = StoredFiles.of(row).as_fields()
            InputImage.objects.create(generation=generation, role=ImageRole.REFERENCE, **moved)
            DatasetImportImage.objects.filter(pk=row.pk).delete()
        return execute(sql, params, many, context)

    with connection.execute_wrapper(move):
        collected = collect_orphans()

    assert seen == ["moved"]
    assert list_stored() == set(stored.list_names())
    assert collected.n_removed == 0


def test_files_that_go_meanwhile_are_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    left = leave()
    _write_after_first_look(monkeypatch, lambda: default_storage.delete(left))

    collected = collect_orphans()

    assert (collected.n_orphans, collected.n_failed) == (0, 0)


def test_more_than_a_batch_is_compared_batch_by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphans, "_BATCH", 4)
    monkeypatch.setattr(orphans, "_REMOVED_AT_ONCE", 2)
    named = {str(OutputImageFactory(content=make_png(110 + number)).file) for number in range(2)}
    for _ in range(9):
        leave()
    age()

    collected = collect_orphans()

    assert (collected.n_seen, collected.n_removed) == (2 * 4 + 9, 9)
    assert len(list_stored()) == 8
    assert named <= list_stored()


def test_a_batch_may_have_more_names_than_a_statement_has_places_for_values() -> None:
    image = OutputImageFactory(content=make_png(112))
    names = [make_storage_key("outputs", "image/png") for _ in range(orphans._BATCH)]

    assert orphans._find_named([*names, str(image.file), str(image.blind)]) == {image.file, image.blind}


def test_a_batch_reads_each_table_once_however_many_names_it_has() -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            # What it would take for a table that it knows to be empty.
            cursor.execute("SET LOCAL enable_nestloop = off")
    for rows, columns in orphans._list_columns():
        plan = orphans._select_naming(rows, columns, '["a", "b"]').explain()

        if connection.vendor == "postgresql":
            assert plan.count("hashed SubPlan") + plan.count("Hash Semi Join") == len(columns), plan
        else:
            assert plan.count("LIST SUBQUERY") == len(columns), plan
            assert "CORRELATED" not in plan
        assert plan.upper().count("SCAN ") - plan.upper().count("SCAN JSON_EACH") == 1, plan


def test_so_many_without_a_row_are_not_removed_unless_asked_for() -> None:
    left = {leave() for _ in range(11)}

    with pytest.raises(TooManyOrphansError):
        collect_orphans()
    assert list_stored() == left

    assert collect_orphans(may_be_many=True).n_removed == 11
    assert list_stored() == set()


def test_a_collection_without_time_says_so() -> None:
    left = leave()

    collected = collect_orphans(seconds=-1)

    assert not collected.is_whole
    assert list_stored() == {left}


def test_an_empty_storage_is_no_failure() -> None:
    assert collect_orphans().n_seen == 0


def test_less_than_an_hour_is_refused() -> None:
    with pytest.raises(AgeTooLowError):
        collect_orphans(older_than=timedelta(minutes=59))


def test_the_daily_task_collects_and_is_scheduled() -> None:
    leave()

    tasks.collect_orphaned_files()

    schedule = Schedule.objects.get(func=COLLECT_TASK)
    assert list_stored() == set()
    assert (schedule.schedule_type, schedule.repeats) == (Schedule.DAILY, -1)


def test_the_command_counts_and_then_removes() -> None:
    leave(seconds=2 * 60 * 60)
    said = StringIO()

    call_command("collect_orphans", stdout=said)
    call_command("collect_orphans", "--dry-run", "--older-than-hours", "1.5", stdout=said)
    assert len(list_stored()) == 1
    call_command("collect_orphans", "--older-than-hours", "1.5", stdout=said)

    assert list_stored() == set()
    assert [line[:55] for line in said.getvalue().splitlines()] == [
        "1 files; 0 old ones without a row, 0 removed; 1 young o",
        "1 files; 1 old ones without a row, 0 removed; 0 young o",
        "1 files; 1 old ones without a row, 1 removed; 0 young o",
    ]


@pytest.mark.parametrize("hours", ["0.5", "-1", "nan", "inf"])
def test_the_command_refuses_hours_that_make_no_safe_age(hours: str) -> None:
    with pytest.raises(CommandError):
        call_command("collect_orphans", "--older-than-hours", hours)


@pytest.fixture
def s3(settings: Any) -> Iterator[S3Server]:
    """A bucket, and the installation's media in it."""
    with running_s3_server() as server:
        settings.STORAGES = {**settings.STORAGES, "default": server.storage}
        yield server


def test_a_bucket_is_collected_page_by_page(s3: S3Server) -> None:
    old, young = datetime.now(UTC) - timedelta(days=2), datetime.now(UTC)
    output = OutputImage.objects.create(
        generation=GenerationFactory(completed=True, outputs=None),
        file=make_storage_key("outputs", "image/png"),
        width_px=1,
        height_px=1,
        size_bytes=1,
    )
    kept = {str(output.file): old, make_storage_key("blind", "image/jpeg"): young}
    kept |= dict.fromkeys(["outputs/../../secret.png", "outputs/ab//x", "backups/all.tar", "outputs/"], old)
    left = [f"outputs/ab/ab{number:030x}.png" for number in range(8)]
    s3.objects.update(kept, **dict.fromkeys(left, old))

    collected = collect_orphans()

    assert s3.objects == kept
    assert (collected.n_removed, collected.n_young, collected.n_failed) == (8, 1, 0)


def test_a_file_that_the_bucket_does_not_let_go_is_counted(s3: S3Server) -> None:
    keys = [make_storage_key("outputs", "image/png") for _ in range(2)]
    s3.objects.update(dict.fromkeys(keys, datetime.now(UTC) - timedelta(days=2)))
    s3.undeletable.add(keys[0])

    with pytest.raises(CommandError, match="1 files"):
        call_command("collect_orphans", stdout=StringIO())

    assert list(s3.objects) == keys[:1]
