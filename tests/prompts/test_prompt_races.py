"""Several people at once on one prompt, on real connections."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import User
from mayagen.common.errors import DomainError
from prompts import services
from prompts.models import Label, LabelMove, Prompt, PromptVersion
from tests.accounts.factories import UserFactory
from tests.prompts.factories import ImageModelFactory, LabelFactory, PromptFactory, PromptVersionFactory

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]

N_PEOPLE = 8


def run_at_once(verb: Callable[[int], object], times: int = N_PEOPLE) -> list[object]:
    """Call the verb in as many threads, released together; return results and domain errors."""
    barrier = threading.Barrier(times)

    def call(number: int) -> object:
        try:
            barrier.wait(timeout=20)
            return verb(number)
        except DomainError as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(call, range(times)))


@pytest.fixture
def actor() -> User:
    return UserFactory(role="admin")


def test_versions_saved_at_once_get_each_number_once(actor: User) -> None:
    prompt, model = PromptFactory(), ImageModelFactory()

    run_at_once(
        lambda n: services.create_version(actor=actor, prompt=prompt, user_prompt=f"{n}", image_model=model)
    )

    numbers = sorted(PromptVersion.objects.values_list("number", flat=True))
    assert numbers == list(range(1, N_PEOPLE + 1))


def test_prompts_of_one_name_made_at_once_get_different_slugs(actor: User) -> None:
    run_at_once(lambda _: services.create_prompt(actor=actor, name="Same"))

    assert len(set(Prompt.objects.values_list("slug", flat=True))) == N_PEOPLE


def test_of_prompts_with_one_given_slug_made_at_once_one_is_stored(actor: User) -> None:
    results = run_at_once(lambda _: services.create_prompt(actor=actor, name="x", slug="same"))

    assert sum(isinstance(result, services.SlugTakenError) for result in results) == N_PEOPLE - 1
    assert Prompt.objects.count() == 1


def test_of_label_moves_with_one_expectation_one_succeeds(actor: User) -> None:
    label = LabelFactory()
    versions = [
        PromptVersionFactory(prompt=label.prompt, image_model=label.version.image_model)
        for _ in range(N_PEOPLE)
    ]

    results = run_at_once(
        lambda n: services.set_label(
            actor=actor,
            prompt=label.prompt,
            name="production",
            version=versions[n],
            expected_version_id=label.version_id,
        )
    )

    assert sum(isinstance(result, Label) for result in results) == 1
    assert sum(isinstance(result, services.LabelMovedError) for result in results) == N_PEOPLE - 1
    assert LabelMove.objects.count() == 1


def test_a_change_saved_while_a_version_is_frozen_is_seen_or_refused(actor: User) -> None:
    version = PromptVersionFactory(user_prompt="Before")

    def change_or_freeze(number: int) -> object:
        if number:
            return services.change_version(actor=actor, version=version, user_prompt="After")
        from django.db import transaction

        with transaction.atomic():
            services.freeze_versions(version_ids=[version.pk], now=timezone.now())
            return PromptVersion.objects.get(pk=version.pk).user_prompt

    read, changed = run_at_once(change_or_freeze, times=2)

    stored = PromptVersion.objects.get()
    assert stored.user_prompt == read
    assert stored.is_used
    assert isinstance(changed, services.VersionInUseError) == (read == "Before")


def test_a_version_is_deleted_or_labelled_never_both(actor: User) -> None:
    for _ in range(5):
        version = PromptVersionFactory()

        def delete_or_label(number: int, version: PromptVersion = version) -> object:
            if number:
                return services.delete_version(actor=actor, version=version)
            return services.set_label(actor=actor, prompt=version.prompt, name="best", version=version)

        run_at_once(delete_or_label, times=2)

        stored = PromptVersion.objects.get(pk=version.pk)
        assert stored.is_deleted != stored.labels.exists()
