"""What the admin's pages tell somebody whose work stands still, or may be paid for twice."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from generations.choices import BreakerState, ErrorCode, RunKind, Status
from generations.models import ProviderHealth, Run
from generations.services.model_tests import PROMPT_SLUG
from prompts.choices import Provider
from tests.accounts.signing_in import sign_in
from tests.generations.factories import GenerationFactory, ProviderHealthFactory, RunFactory
from tests.prompts.factories import ImageModelFactory, PromptFactory, PromptVersionFactory

pytestmark = pytest.mark.django_db
WAITS = "waits: its provider is down"


@pytest.fixture
def as_admin(admin: User) -> Client:
    return sign_in(admin)


def read(client: Client, name: str, *arguments: object) -> str:
    return client.get(reverse(f"admin:{name}", args=arguments)).content.decode()


def make_stalled_run() -> Run:
    """Return a run whose model's provider is not called for five minutes."""
    health = ProviderHealthFactory(opened=True)
    model = ImageModelFactory(name="Far away", provider=Provider.OPENAI, base_url=health.base_url)
    version = PromptVersionFactory(image_model=model, change_note="Warmer light.")
    run: Run = RunFactory(prompt_versions=[version])
    GenerationFactory(run=run, prompt_version=version, image_model=model)
    return run


def test_a_run_that_stands_still_says_whose_provider_is_down_and_until_when(
    as_admin: Client, viewer: User
) -> None:
    run = make_stalled_run()
    health = ProviderHealth.objects.get()
    assert health.blocked_until is not None

    for page in ("generations_run_change", "generations_run_progress"):
        text = read(as_admin, page, run.pk)
        assert WAITS in text
        assert f"next at {health.blocked_until:%H:%M} UTC" in text
        assert health.base_url not in text
    assert WAITS in read(sign_in(viewer), "generations_run_change", run.pk)

    ProviderHealth.objects.update(state=BreakerState.CLOSED, blocked_until=None)
    assert WAITS not in read(as_admin, "generations_run_change", run.pk)


def test_the_list_of_health_counts_its_rows_in_words(as_admin: Client) -> None:
    for name in ("a", "b"):
        ProviderHealthFactory(base_url=f"https://{name}.example")

    words = read(as_admin, "generations_providerhealth_changelist").split()

    assert "2 provider health records" in " ".join(words)


def test_a_run_that_moves_is_not_asked_what_holds_it_back(as_admin: Client) -> None:
    run = make_stalled_run()
    address = reverse("admin:generations_run_progress", args=[run.pk])
    counts = []
    for status in (None, Status.PROCESSING):
        if status:
            GenerationFactory(
                run=run,
                status=status,
                prompt_version=run.prompt_versions.get(),
                lease_expires_at=timezone.now() + timedelta(minutes=1),
            )
        with CaptureQueriesContext(connection) as captured:
            text = as_admin.get(address).content.decode()
        counts.append(sum("blocked_until" in query["sql"] for query in captured))
        assert (WAITS in text) == (status is None)

    assert counts == [1, 0]


def test_the_grid_says_in_what_its_versions_differ(as_admin: Client) -> None:
    assert "Warmer light." in read(as_admin, "generations_run_change", make_stalled_run().pk)


def test_a_retry_of_what_may_have_been_paid_for_says_so(as_admin: Client) -> None:
    unknown = GenerationFactory(failed=True, error_code=ErrorCode.OUTCOME_UNKNOWN)
    refused = GenerationFactory(failed=True)

    warned, plain = (read(as_admin, "generations_generation_change", each.pk) for each in (unknown, refused))

    assert "A retry is a second call, which may be paid for too." in warned
    assert "A retry is a second call" not in plain


def test_the_result_of_a_test_leads_back_to_its_model_and_to_another_test(as_admin: Client) -> None:
    test = GenerationFactory(run=RunFactory(kind=RunKind.TEST), completed=True)
    launched = GenerationFactory(completed=True)
    again = reverse("admin:generations_run_test_model", args=[test.image_model_id])

    text = read(as_admin, "generations_generation_change", test.pk)

    assert reverse("admin:prompts_imagemodel_change", args=[test.image_model_id]) in text
    assert again in text
    assert "Test it again" not in read(as_admin, "generations_generation_change", launched.pk)


def test_what_models_were_tested_with_is_not_offered_for_runs_unless_named(as_admin: Client) -> None:
    tested = PromptVersionFactory(prompt=PromptFactory(name="Model tests", slug=PROMPT_SLUG))
    written = PromptVersionFactory()
    address = reverse("admin:generations_run_launch")

    offered = as_admin.get(address).context["offered"]
    named = as_admin.get(address, {"version": str(tested.pk)}).context["offered"]

    assert offered == [written]
    assert set(named) == {tested, written}


def test_a_provider_in_trouble_has_a_page_in_words_with_the_button_that_ends_its_wait(
    as_admin: Client, viewer: User
) -> None:
    health = ProviderHealthFactory(opened=True)
    listed = reverse("admin:generations_providerhealth_changelist")
    as_viewer = sign_in(viewer)

    page = read(as_admin, "generations_providerhealth_change", health.pk)
    seen = read(as_viewer, "generations_providerhealth_change", health.pk)

    assert "N openings" not in page
    assert f"{health.blocked_until:%Y-%m-%d %H:%M}" not in page, "A time stands there as Python writes it."
    assert f"{health.blocked_until:%H:%M}" in page
    assert "work for it waits" in as_admin.get(listed).content.decode()
    assert "Let work go on now" not in as_viewer.get(listed).content.decode()
    assert ('id="close-now"' in page, 'id="close-now"' in seen) == (True, False)
    assert (health.base_url in page, health.base_url in seen) == (True, False)

    as_admin.post(listed, {"action": "close_now", "_selected_action": [str(health.pk)]})

    health.refresh_from_db()
    assert health.state == BreakerState.CLOSED
    assert 'id="close-now"' not in read(as_admin, "generations_providerhealth_change", health.pk)
