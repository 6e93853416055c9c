"""Outputs on their way: on disk before any row names them, decoded once, alike ones marked."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.db import connection
from PIL import ImageFile

from generations import tasks
from generations.choices import ErrorCode, Status
from generations.engine import storing
from generations.engine.drain import drain
from generations.models import Generation, OutputImage
from tests.generations.engine_cases import LIMITS, make_due, make_model
from tests.providers.openai_server import OpenAIServer, running_server
from tests.providers.serving import make_png

pytestmark = pytest.mark.django_db

LARGE_BYTES = 600_000


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with running_server() as server:
        yield server


@pytest.fixture(params=["at hand", "put off"])
def room(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let decoded pictures be handed over for their copies, or let there be no room for that."""
    if request.param == "put off":
        monkeypatch.setattr(storing, "MAX_PIXELS_AT_HAND", 0)
    return str(request.param)


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that are synced and the statements that name them, in their order."""
    seen: list[str] = []
    sync = os.fsync

    def note_and_sync(descriptor: int) -> None:
        sync(descriptor)
        seen.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))

    monkeypatch.setattr(os, "fsync", note_and_sync)
    return seen


@pytest.mark.usefixtures("room")
def test_file_and_folder_are_synced_before_a_row_names_them(
    server: OpenAIServer, settings: Any, events: list[str]
) -> None:
    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "generations_outputimage" in sql and not sql.startswith("SELECT"):
            events.append(f"{sql} {params}")
        return execute(sql, params, many, context)

    make_due(make_model(server, settings), 3)

    with connection.execute_wrapper(note):
        drain(LIMITS)

    for output in OutputImage.objects.all():
        for name in map(str, (output.file, output.thumbnail, output.small_thumbnail, output.blind)):
            path = default_storage.path(name)
            named = next(number for number, event in enumerate(events) if name in event and event != path)
            synced = events.index(path)
            assert str(Path(path).parent) in events[synced:named]


def test_each_picture_is_decoded_once(
    server: OpenAIServer, settings: Any, room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    prepare = ImageFile.ImageFile.load_prepare

    def note_and_prepare(image: ImageFile.ImageFile) -> None:
        decoded.append(image.format or "")
        prepare(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load_prepare", note_and_prepare)
    make_due(make_model(server, settings), 6)

    drain(LIMITS)

    assert OutputImage.objects.prepared().count() == 6
    assert decoded == ["PNG"] * 6


@pytest.mark.usefixtures("room")
def test_a_truncated_picture_is_found_before_anything_completes(server: OpenAIServer, settings: Any) -> None:
    server.behaviour.fault = "truncated_image"
    [generation] = make_due(make_model(server, settings))

    drain(LIMITS)

    generation.refresh_from_db()
    assert (generation.status, generation.error_code) == (Status.FAILED, ErrorCode.BAD_OUTPUT)


@pytest.mark.usefixtures("room")
@pytest.mark.parametrize("reply_with", ["url", "b64_json"])
def test_large_outputs_go_by_disk_and_leave_nothing_there(settings: Any, reply_with: str) -> None:
    picture = make_png(LARGE_BYTES, side_px=640)
    with running_server(OpenAIServer(picture=picture)) as server:
        server.behaviour.reply_with = reply_with
        make_due(make_model(server, settings), 4)
        drain(LIMITS)

    outputs = OutputImage.objects.all()
    assert {output.sha256 for output in outputs} == {hashlib.sha256(picture).hexdigest()}
    assert {default_storage.size(str(output.file)) for output in outputs} == {len(picture)}
    assert settings.SPOOL_ROOT.is_dir()
    assert list(settings.SPOOL_ROOT.iterdir()) == []


def test_what_looks_the_same_in_a_run_is_marked_when_the_drain_has_ended(
    server: OpenAIServer, settings: Any
) -> None:
    generations = make_due(make_model(server, settings), 3)
    Generation.objects.update(run=generations[0].run)

    tasks.drain()

    outputs = list(OutputImage.objects.order_by("id"))
    assert len({output.perceptual_hash for output in outputs} - {None}) == 1
    assert [output.is_near_duplicate for output in outputs] == [False, True, True]
    assert [output.near_duplicate_of for output in outputs] == [None, outputs[0], outputs[0]]
