"""Prompts, their versions and labels: what the verbs do and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import AuditEntry, User
from mayagen.common.errors import DomainError, NotFoundError, PermissionDeniedError
from prompts import services
from prompts.models import Label, LabelMove, Prompt, PromptVersion
from prompts.rendering import TemplateSyntaxError
from prompts.schemas import ParametersInvalidError
from tests.prompts.factories import ImageModelFactory, LabelFactory, PromptFactory, PromptVersionFactory


def test_a_prompt_gets_a_slug_from_its_name_and_an_audit_entry(admin: User) -> None:
    prompt = services.create_prompt(actor=admin, name=" Product photo ", tags=["shop", "shop", " summer "])

    assert (prompt.name, prompt.slug, prompt.tags) == ("Product photo", "product-photo", ["shop", "summer"])
    entry = AuditEntry.objects.get(verb="create_prompt")
    assert (entry.actor, entry.object_id, entry.after["slug"]) == (admin, str(prompt.pk), "product-photo")


def test_two_prompts_of_one_name_get_different_slugs(admin: User) -> None:
    slugs = [services.create_prompt(actor=admin, name="Product photo").slug for _ in range(3)]

    assert slugs == ["product-photo", "product-photo-2", "product-photo-3"]


def test_a_name_without_letters_of_a_slug_still_gets_one(admin: User) -> None:
    assert services.create_prompt(actor=admin, name="日本").slug.startswith("prompt-")


def test_a_given_slug_that_is_taken_is_refused_by_name(admin: User) -> None:
    PromptFactory(slug="taken")

    with pytest.raises(services.SlugTakenError) as refusal:
        services.create_prompt(actor=admin, name="Other", slug="taken")

    assert "slug" in refusal.value.fields
    assert Prompt.objects.count() == 1


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 256}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"name": "ok", "description": "\ud800"}, "description"),
        ({"name": "ok", "description": "x" * 100_001}, "description"),
        ({"name": "ok", "slug": "no spaces"}, "slug"),
        ({"name": "ok", "tags": "shop"}, "tags"),
        ({"name": "ok", "tags": ["x" * 41]}, "tags"),
        ({"name": "ok", "tags": ["a\x00"]}, "tags"),
        ({"name": "ok", "tags": [f"t{n}" for n in range(21)]}, "tags"),
    ],
)
def test_a_prompt_with_a_bad_value_is_refused_and_not_stored(
    admin: User, fields: dict[str, Any], name: str
) -> None:
    with pytest.raises(services.FieldsInvalidError) as refusal:
        services.create_prompt(actor=admin, **fields)

    assert name in refusal.value.fields
    assert not Prompt.objects.exists()
    assert not AuditEntry.objects.exists()


def test_a_change_keeps_what_is_left_out_and_says_before_and_after(admin: User) -> None:
    prompt = PromptFactory(name="Old", slug="old", description="Kept")

    changed = services.change_prompt(actor=admin, prompt=prompt, name="New", slug="new")

    stored = Prompt.objects.get()
    assert (changed.name, stored.name, stored.slug, stored.description) == ("New", "New", "new", "Kept")
    entry = AuditEntry.objects.get()
    assert (entry.before["name"], entry.after["name"]) == ("Old", "New")


def test_a_change_to_a_taken_slug_is_refused(admin: User) -> None:
    PromptFactory(slug="taken")
    prompt = PromptFactory(slug="own")

    with pytest.raises(services.SlugTakenError):
        services.change_prompt(actor=admin, prompt=prompt, slug="taken")


def test_a_deleted_prompt_is_hidden_takes_nothing_new_and_comes_back(admin: User) -> None:
    version = PromptVersionFactory()
    services.delete_prompt(actor=admin, prompt=version.prompt)

    assert not Prompt.objects.alive().exists()
    assert not PromptVersion.objects.usable().exists()
    with pytest.raises(services.PromptDeletedError):
        services.create_version(actor=admin, prompt=version.prompt, parent=version)
    with pytest.raises(services.PromptDeletedError):
        services.change_prompt(actor=admin, prompt=version.prompt, name="Other")
    with pytest.raises(services.PromptDeletedError):
        services.set_label(actor=admin, prompt=version.prompt, name="production", version=version)
    with pytest.raises(services.AlreadyDeletedError):
        services.delete_prompt(actor=admin, prompt=version.prompt)

    services.restore_prompt(actor=admin, prompt=version.prompt)

    assert PromptVersion.objects.usable().exists()
    with pytest.raises(services.NotDeletedError):
        services.restore_prompt(actor=admin, prompt=version.prompt)


def test_a_prompt_whose_slug_was_taken_meanwhile_is_not_restored(admin: User) -> None:
    prompt = PromptFactory(slug="shared", deleted=True)
    PromptFactory(slug="shared")

    with pytest.raises(services.SlugTakenError):
        services.restore_prompt(actor=admin, prompt=prompt)


def test_versions_are_numbered_within_their_prompt_and_deleted_ones_keep_their_number(admin: User) -> None:
    model = ImageModelFactory()
    prompt = PromptFactory()
    first = services.create_version(actor=admin, prompt=prompt, user_prompt="One", image_model=model)
    second = services.create_version(actor=admin, prompt=prompt, parent=first, user_prompt="Two")
    services.delete_version(actor=admin, version=second)
    third = services.create_version(actor=admin, prompt=prompt, parent=first, user_prompt="Three")
    other = services.create_version(actor=admin, prompt=PromptFactory(), user_prompt="x", image_model=model)

    assert [version.number for version in (first, second, third, other)] == [1, 2, 3, 1]


def test_a_version_takes_over_from_its_parent_what_is_left_out(admin: User) -> None:
    parent = PromptVersionFactory(
        system_prompt="Be calm", negative_prompt="text", n_outputs=2, aspect_ratio="16:9", used=True
    )

    child = services.create_version(
        actor=admin, prompt=parent.prompt, parent=parent, user_prompt="A drawing", change_note="Try pencil"
    )

    assert (child.system_prompt, child.negative_prompt) == ("Be calm", "text")
    assert (child.n_outputs, child.aspect_ratio, child.image_model) == (2, "16:9", parent.image_model)
    assert (child.user_prompt, child.change_note, child.parent) == ("A drawing", "Try pencil", parent)
    assert child.first_used_at is None


def test_parameters_are_completed_by_the_models_defaults(admin: User) -> None:
    model = ImageModelFactory(default_parameters={"detail": 7})

    version = services.create_version(
        actor=admin, prompt=PromptFactory(), user_prompt="x", image_model=model, parameters={"grain": True}
    )

    assert version.parameters == {"style": "shapes", "detail": 7, "grain": True}


@pytest.mark.parametrize(
    ("fields", "error", "name"),
    [
        ({"user_prompt": "  "}, services.FieldsInvalidError, "user_prompt"),
        ({"user_prompt": "{x.__class__}"}, TemplateSyntaxError, "user_prompt"),
        ({"system_prompt": "{0}"}, TemplateSyntaxError, "system_prompt"),
        ({"negative_prompt": "{x:>999999999}"}, TemplateSyntaxError, "negative_prompt"),
        ({"parameters": {"detail": 11}}, ParametersInvalidError, "parameters.detail"),
        ({"parameters": {"steps": 1}}, ParametersInvalidError, "parameters.steps"),
        ({"parameters": {"palette": "a\x00"}}, services.FieldsInvalidError, "parameters"),
        ({"parameters": [1]}, services.FieldsInvalidError, "parameters"),
        ({"n_outputs": 5}, services.TooManyOutputsError, "n_outputs"),
        ({"n_outputs": 0}, services.FieldsInvalidError, "n_outputs"),
        ({"aspect_ratio": "7:3"}, services.FieldsInvalidError, "aspect_ratio"),
        ({"resolution_px": 500}, services.FieldsInvalidError, "resolution_px"),
        ({"temperature": 3}, services.FieldsInvalidError, "temperature"),
        ({"change_note": "x" * 501}, services.FieldsInvalidError, "change_note"),
        ({"user_prompt": "a\x00b"}, services.FieldsInvalidError, "user_prompt"),
    ],
)
def test_a_version_with_a_bad_value_is_refused_with_its_field_and_not_stored(
    admin: User, fields: dict[str, Any], error: type[DomainError], name: str
) -> None:
    parent = PromptVersionFactory()

    with pytest.raises(error) as refusal:
        services.create_version(actor=admin, prompt=parent.prompt, parent=parent, **fields)
    with pytest.raises(error):
        services.change_version(actor=admin, version=parent, **fields)

    assert name in refusal.value.fields
    assert PromptVersion.objects.get() == parent
    assert PromptVersion.objects.get().user_prompt == parent.user_prompt


def test_a_first_version_needs_a_prompt_and_a_model(admin: User) -> None:
    with pytest.raises(services.FieldsInvalidError) as refusal:
        services.create_version(actor=admin, prompt=PromptFactory())

    assert set(refusal.value.fields) == {"user_prompt", "image_model"}


@pytest.mark.parametrize("state", [{"deleted": True}, {"is_active": False}])
def test_a_model_that_is_deleted_or_off_takes_no_new_version(admin: User, state: dict[str, bool]) -> None:
    with pytest.raises(services.ImageModelUnavailableError):
        services.create_version(
            actor=admin, prompt=PromptFactory(), user_prompt="x", image_model=ImageModelFactory(**state)
        )


def test_a_parent_of_another_prompt_is_refused(admin: User) -> None:
    with pytest.raises(services.ParentOfAnotherPromptError):
        services.create_version(actor=admin, prompt=PromptFactory(), parent=PromptVersionFactory())


def test_an_unused_version_changes_in_place_and_a_used_one_never(admin: User) -> None:
    version = PromptVersionFactory(user_prompt="Before")

    services.change_version(actor=admin, version=version, user_prompt="After")
    services.freeze_versions(version_ids=[version.pk], now=timezone.now())
    # The caller's copy still says that it is unused.
    with pytest.raises(services.VersionInUseError):
        services.change_version(actor=admin, version=version, user_prompt="Later")

    assert PromptVersion.objects.get().user_prompt == "After"
    entry = AuditEntry.objects.get(verb="change_version")
    assert (entry.before, entry.after) == ({"user_prompt": "Before"}, {"user_prompt": "After"})


def test_freezing_again_keeps_the_first_time(admin: User) -> None:
    version = PromptVersionFactory()
    first = timezone.now()
    services.freeze_versions(version_ids=[version.pk], now=first)

    services.freeze_versions(version_ids=[version.pk], now=timezone.now())

    assert PromptVersion.objects.get().first_used_at == first


def test_a_deleted_version_is_not_changed_nor_labelled_and_comes_back(admin: User) -> None:
    version = PromptVersionFactory()
    services.delete_version(actor=admin, version=version)

    with pytest.raises(services.VersionDeletedError):
        services.change_version(actor=admin, version=version, user_prompt="x")
    with pytest.raises(services.VersionDeletedError):
        services.set_label(actor=admin, prompt=version.prompt, name="production", version=version)
    with pytest.raises(services.AlreadyDeletedError):
        services.delete_version(actor=admin, version=version)

    services.restore_version(actor=admin, version=version)
    assert PromptVersion.objects.usable().get() == version
    with pytest.raises(services.NotDeletedError):
        services.restore_version(actor=admin, version=version)


def test_a_labelled_version_is_not_deleted(admin: User) -> None:
    label = LabelFactory()

    with pytest.raises(services.VersionLabelledError, match="production"):
        services.delete_version(actor=admin, version=label.version)


def test_a_label_moves_and_keeps_its_history(admin: User) -> None:
    first = PromptVersionFactory()
    second = PromptVersionFactory(prompt=first.prompt, image_model=first.image_model)

    label = services.set_label(actor=admin, prompt=first.prompt, name="production", version=first)
    services.set_label(actor=admin, prompt=first.prompt, name="production", version=second)
    services.set_label(actor=admin, prompt=first.prompt, name="production", version=second)
    services.remove_label(actor=admin, label=label)

    moves = [(move.from_version, move.to_version) for move in LabelMove.objects.order_by("id")]
    assert moves == [(None, first), (first, second), (second, None)]
    assert not Label.objects.exists()
    assert AuditEntry.objects.count() == 3
    with pytest.raises(NotFoundError):
        services.remove_label(actor=admin, label=label)


def test_a_label_is_not_moved_from_where_it_no_longer_points(admin: User) -> None:
    label = LabelFactory()
    other = PromptVersionFactory(prompt=label.prompt, image_model=label.version.image_model)
    services.set_label(actor=admin, prompt=label.prompt, name="production", version=other)

    with pytest.raises(services.LabelMovedError):
        services.set_label(
            actor=admin,
            prompt=label.prompt,
            name="production",
            version=label.version,
            expected_version_id=label.version.pk,
        )
    with pytest.raises(services.LabelMovedError):
        services.remove_label(actor=admin, label=label, expected_version_id=label.version.pk)

    assert Label.objects.get().version == other


def test_a_label_does_not_point_to_another_prompts_version(admin: User) -> None:
    with pytest.raises(services.LabelOfAnotherPromptError):
        services.set_label(
            actor=admin, prompt=PromptFactory(), name="production", version=PromptVersionFactory()
        )


@pytest.mark.parametrize("name", ["", "two words", "x" * 61, "a\x00"])
def test_a_label_with_a_bad_name_is_refused(admin: User, name: str) -> None:
    version = PromptVersionFactory()

    with pytest.raises(services.FieldsInvalidError):
        services.set_label(actor=admin, prompt=version.prompt, name=name, version=version)


@pytest.mark.parametrize("role", ["viewer", "evaluator"])
def test_nobody_but_an_admin_changes_anything(role: str, request: pytest.FixtureRequest) -> None:
    actor = request.getfixturevalue(role)
    label = LabelFactory()
    version, prompt, model = label.version, label.prompt, label.version.image_model
    verbs: list[Callable[[], object]] = [
        lambda: services.create_prompt(actor=actor, name="x"),
        lambda: services.change_prompt(actor=actor, prompt=prompt, name="x"),
        lambda: services.delete_prompt(actor=actor, prompt=prompt),
        lambda: services.restore_prompt(actor=actor, prompt=prompt),
        lambda: services.create_version(actor=actor, prompt=prompt, parent=version),
        lambda: services.change_version(actor=actor, version=version, user_prompt="x"),
        lambda: services.delete_version(actor=actor, version=version),
        lambda: services.restore_version(actor=actor, version=version),
        lambda: services.set_label(actor=actor, prompt=prompt, name="x", version=version),
        lambda: services.remove_label(actor=actor, label=label),
        lambda: services.create_image_model(actor=actor, name="x", provider="embedded"),
        lambda: services.change_image_model(actor=actor, image_model=model, name="x"),
        lambda: services.delete_image_model(actor=actor, image_model=model),
        lambda: services.restore_image_model(actor=actor, image_model=model),
    ]

    for verb in verbs:
        with pytest.raises(PermissionDeniedError):
            verb()

    assert not AuditEntry.objects.exists()
