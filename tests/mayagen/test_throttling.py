"""Limits on how often a client may call."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client
from rest_framework.settings import api_settings
from rest_framework.test import APIClient

from accounts.models import User
from mayagen.api.throttling import RowThrottle
from tests.mayagen.probe_routes import ThrottledView

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.mayagen.probe_routes")]
PATH = "/api/v1/throttled/"


@pytest.fixture(autouse=True)
def _throttled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Declare the throttle on the view, whatever the settings say."""
    monkeypatch.setattr(ThrottledView, "throttle_classes", [RowThrottle])


def test_a_burst_is_granted_and_the_next_call_told_when_to_come_back(client: Client) -> None:
    statuses = [client.get(PATH).status_code for _ in range(3)]
    refused = client.get(PATH)

    assert statuses == [200, 200, 429]
    assert refused.json()["code"] == "throttled"
    assert 1 <= int(refused["Retry-After"]) <= 10


def test_a_made_up_forwarded_address_gives_no_new_allowance(client: Client) -> None:
    assert api_settings.NUM_PROXIES == 0

    statuses = [
        client.get(PATH, headers={"X-Forwarded-For": f"203.0.113.{number}"}).status_code
        for number in range(4)
    ]

    assert statuses == [200, 200, 429, 429]


def test_people_are_counted_apart_from_addresses_and_from_each_other(
    client: Client, api_as: Callable[[User | None], APIClient], viewer: User, evaluator: User
) -> None:
    for _ in range(3):
        client.get(PATH)
    first = [api_as(viewer).get(PATH).status_code for _ in range(3)]
    second = [api_as(evaluator).get(PATH).status_code for _ in range(3)]

    assert first == second == [200, 200, 429]


def test_a_view_without_a_scope_is_not_counted(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ThrottledView, "throttle_scope", None)

    assert {client.get(PATH).status_code for _ in range(5)} == {200}
