"""Bodies that declare to be too large are refused before any of them is read."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from generations.services.dataset_imports import MAX_FORM_BYTES
from tests.generations.factories import DatasetFactory

pytestmark = pytest.mark.django_db

MEBIBYTE = 1024 * 1024
LAUNCH = "admin:generations_run_launch"


class Unreadable:
    """A body that nobody may read."""

    def read(self, *_: Any) -> bytes:
        raise AssertionError("The body was read.")

    readline = read


def send(client: Client, address: str, length: int, *, is_read: bool = False) -> Any:
    """Return the answer to a form that declares to be so long."""
    body = {} if is_read else {"wsgi.input": Unreadable()}
    return client.post(
        address,
        b"",
        content_type="multipart/form-data; boundary=x",
        **{"CONTENT_LENGTH": str(length), **body},  # type: ignore[arg-type]
    )


@pytest.fixture
def client(admin: User) -> Client:
    signed_in = Client(enforce_csrf_checks=True)
    signed_in.force_login(admin)
    return signed_in


def test_a_page_takes_the_largest_image_and_a_little_more(client: Client, settings: Any) -> None:
    settings.MEDIA_MAX_UPLOAD_BYTES = 50 * MEBIBYTE

    refused = send(client, reverse(LAUNCH), 51 * MEBIBYTE + 1)

    assert refused.status_code == 413
    assert "larger than this page takes, which is 51.0" in refused.content.decode()
    # Read, and then refused for want of a token alone.
    assert send(client, reverse(LAUNCH), 51 * MEBIBYTE, is_read=True).status_code == 403


def test_pages_that_import_take_an_archive(client: Client) -> None:
    pages = [
        reverse("admin:generations_dataset_add"),
        reverse("admin:generations_dataset_import", args=[DatasetFactory().pk]),
    ]

    assert [send(client, page, MAX_FORM_BYTES + 1).status_code for page in pages] == [413, 413]
    assert [send(client, page, MAX_FORM_BYTES, is_read=True).status_code for page in pages] == [403, 403]


@pytest.mark.parametrize("page", [LAUNCH, "admin:generations_dataset_add", "account_login"])
def test_strangers_hand_in_no_files(settings: Any, page: str) -> None:
    stranger = Client(enforce_csrf_checks=True)

    assert send(stranger, reverse(page), settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1).status_code == 413


@pytest.mark.parametrize("length", ["x", "-1", "9" * 5000])
def test_a_length_that_is_none_changes_nothing(client: Client, length: Any) -> None:
    assert send(client, reverse(LAUNCH), length, is_read=True).status_code in {400, 403}


def test_the_api_keeps_its_own_limits(client: Client) -> None:
    dataset = DatasetFactory()

    answer = send(client, f"/api/v1/datasets/{dataset.pk}/imports/", 60 * MEBIBYTE, is_read=True)

    assert answer.status_code != 413
