"""The admin's pages of prompts, versions and image models."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import AuditEntry, User
from prompts.models import ImageModel, Label, LabelMove, Prompt, PromptVersion
from tests.accounts.signing_in import sign_in
from tests.prompts.factories import ImageModelFactory, LabelFactory, PromptFactory, PromptVersionFactory

CANARY = "<script>canary()</script>\"'><img src=x onerror=canary()>{{7*7}}"
LISTS = ("prompt", "promptversion", "imagemodel")


@pytest.fixture
def as_admin(admin: User) -> Client:
    return sign_in(admin)


@pytest.fixture
def as_viewer(viewer: User) -> Client:
    return sign_in(viewer)


def read_messages(response: Any) -> str:
    return " ".join(str(message) for message in get_messages(response.wsgi_request))


def list_pages(label: Label) -> list[str]:
    """Return the address of every page that one label, its version, prompt and model have."""
    version = label.version
    compare = f"{reverse('admin:prompts_promptversion_compare')}?version={version.pk}&version={version.pk}"
    return [
        *(reverse(f"admin:prompts_{name}_changelist") for name in LISTS),
        reverse("admin:prompts_prompt_change", args=[label.prompt.pk]),
        reverse("admin:prompts_promptversion_change", args=[version.pk]),
        reverse("admin:prompts_imagemodel_change", args=[version.image_model.pk]),
        compare,
    ]


def list_admin_pages(label: Label) -> list[str]:
    version = label.version
    return [
        *(reverse(f"admin:prompts_{name}_add") for name in LISTS),
        f"{reverse('admin:prompts_promptversion_add')}?prompt={label.prompt.pk}",
        f"{reverse('admin:prompts_promptversion_add')}?parent={version.pk}",
        reverse("admin:prompts_prompt_delete", args=[label.prompt.pk]),
        reverse("admin:prompts_promptversion_delete", args=[version.pk]),
        reverse("admin:prompts_imagemodel_delete", args=[version.image_model.pk]),
        reverse("admin:prompts_prompt_restore", args=[label.prompt.pk]),
    ]


def version_values(version: PromptVersion, **changes: Any) -> dict[str, Any]:
    """Return what the form of a version sends."""
    return {
        "user_prompt": version.user_prompt,
        "system_prompt": "",
        "negative_prompt": "",
        "image_model": str(version.image_model.pk),
        "aspect_ratio": version.aspect_ratio,
        "resolution_px": str(version.resolution_px),
        "n_outputs": "1",
        "temperature": "",
        "parameters": json.dumps(version.parameters),
        "change_note": "",
        **changes,
    }


def model_values(**changes: Any) -> dict[str, Any]:
    """Return what the form of an image model sends."""
    return {
        "name": "Renderer",
        "provider": "embedded",
        "kind": "text_to_image",
        "provider_options": "{}",
        "parameters_schema": "{}",
        "default_parameters": "{}",
        "max_outputs": "1",
        "max_inputs": "0",
        "max_in_flight": "8",
        "timeout_seconds": "60",
        "max_attempts": "3",
        "is_active": "on",
        **changes,
    }


def test_an_admin_opens_every_page(as_admin: Client) -> None:
    label = LabelFactory()

    for address in [*list_pages(label), *list_admin_pages(label)]:
        assert as_admin.get(address).status_code == 200, address


def test_a_viewer_opens_the_pages_that_change_nothing_and_finds_no_button(as_viewer: Client) -> None:
    label = LabelFactory()

    for address in list_pages(label):
        page = as_viewer.get(address)
        assert page.status_code == 200, address
        for button in (b'name="_save"', b"_newversion", b"Set label", b">Delete", b">Restore"):
            assert button not in page.content, (address, button)
    for address in list_admin_pages(label):
        assert as_viewer.get(address).status_code == 403, address


def test_a_viewer_posts_nothing(as_viewer: Client) -> None:
    label = LabelFactory()
    version, prompt = label.version, label.prompt
    other = PromptVersionFactory(prompt=prompt)
    posts = [
        (reverse("admin:prompts_prompt_add"), {"name": "x"}),
        (reverse("admin:prompts_prompt_change", args=[prompt.pk]), {"name": "x"}),
        (reverse("admin:prompts_prompt_delete", args=[prompt.pk]), {}),
        (reverse("admin:prompts_prompt_restore", args=[prompt.pk]), {}),
        (reverse("admin:prompts_promptversion_add"), version_values(version, prompt=str(prompt.pk))),
        (reverse("admin:prompts_promptversion_change", args=[version.pk]), version_values(version)),
        (reverse("admin:prompts_promptversion_delete", args=[version.pk]), {}),
        (reverse("admin:prompts_imagemodel_add"), model_values()),
        (reverse("admin:prompts_imagemodel_change", args=[version.image_model.pk]), model_values()),
        (reverse("admin:prompts_prompt_set_label", args=[prompt.pk]), {"name": "x", "version": other.pk}),
        (reverse("admin:prompts_prompt_remove_label", args=[prompt.pk]), {"name": label.name}),
    ]

    for address, values in posts:
        assert as_viewer.post(address, values).status_code == 403, address

    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize("role", ["evaluator", None])
@pytest.mark.django_db
def test_who_has_no_admin_is_sent_to_the_door(request: pytest.FixtureRequest, role: str | None) -> None:
    client = sign_in(request.getfixturevalue(role)) if role else Client()

    for address in list_pages(LabelFactory()):
        response = client.get(address)
        assert response.status_code in {302, 403}, address
        assert b"A photo of" not in response.content


def test_a_viewer_does_not_see_how_a_model_is_reached(as_viewer: Client, as_admin: Client) -> None:
    model = ImageModelFactory(paid=True)
    address = reverse("admin:prompts_imagemodel_change", args=[model.pk])

    for page in (address, reverse("admin:prompts_imagemodel_changelist")):
        for secret in (b"images.example.com", b"OPENAI", b"gpt-image-1", b"api_version"):
            assert secret not in as_viewer.get(page).content
    assert b"images.example.com" in as_admin.get(address).content


def test_a_viewer_does_not_see_the_address_of_an_author_without_a_name(as_viewer: Client) -> None:
    from tests.accounts.factories import UserFactory

    author = UserFactory(role="admin", name="", email="secret.author@example.com")
    version = PromptVersionFactory(created_by=author)
    label = LabelFactory(version=version, prompt=version.prompt)
    LabelMove.objects.create(prompt=version.prompt, name="production", to_version=version, actor=author)

    for address in list_pages(label):
        assert b"secret.author" not in as_viewer.get(address).content, address


def test_no_text_becomes_markup_on_any_page(as_admin: Client, as_viewer: Client) -> None:
    model = ImageModelFactory(
        name=CANARY,
        description=CANARY,
        endpoint=CANARY,
        provider_options={CANARY: CANARY},
        parameters_schema={"properties": {CANARY: {"type": "string", "description": CANARY}}},
        default_parameters={CANARY: CANARY},
    )
    prompt = PromptFactory(name=CANARY, description=CANARY, tags=[CANARY])
    first, second = (
        PromptVersionFactory(
            prompt=prompt,
            image_model=model,
            user_prompt=f"{CANARY} {number}",
            system_prompt=CANARY,
            negative_prompt=CANARY,
            change_note=CANARY,
            parameters={CANARY: [CANARY, number]},
        )
        for number in (1, 2)
    )
    label = LabelFactory(version=first, prompt=prompt)
    LabelMove.objects.create(prompt=prompt, name=CANARY[:60], to_version=first)
    compare = f"{reverse('admin:prompts_promptversion_compare')}?version={first.pk}&version={second.pk}"

    for client, pages in (
        (as_viewer, [*list_pages(label), compare]),
        (as_admin, [*list_pages(label), compare, *list_admin_pages(label)]),
    ):
        for address in pages:
            page = client.get(address)
            assert page.status_code == 200
            assert b"<script>canary" not in page.content, address
            assert b"<img src=x" not in page.content, address
            assert b"{{7*7}}" in page.content or b"canary" not in page.content, address


@pytest.mark.parametrize("name", LISTS)
def test_a_list_takes_as_many_queries_for_one_row_as_for_five(as_admin: Client, name: str) -> None:
    counts = []
    for n_rows in (1, 4):
        for _ in range(n_rows):
            LabelFactory()
        with CaptureQueriesContext(connection) as queries:
            assert as_admin.get(reverse(f"admin:prompts_{name}_changelist")).status_code == 200
        counts.append(len(queries))

    assert counts[0] == counts[1]


def test_a_prompts_page_takes_as_many_queries_for_one_version_as_for_five(as_admin: Client) -> None:
    label = LabelFactory()
    address = reverse("admin:prompts_prompt_change", args=[label.prompt.pk])
    counts = []
    for n_versions in (0, 4):
        for number in range(n_versions):
            version = PromptVersionFactory(prompt=label.prompt)
            LabelFactory(version=version, prompt=label.prompt, name=f"label-{number}")
        with CaptureQueriesContext(connection) as queries:
            assert as_admin.get(address).status_code == 200
        counts.append(len(queries))

    assert counts[0] == counts[1]


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(
    "query",
    [
        "id__regex=(",
        "created_at__startswith=2",
        "deleted_at__isnull=False",
        "slug__startswith=a",
        "prompt__name__startswith=A",
        "created_by__password__startswith=m",
        "labels__name=production",
        "parameters__x' OR 1=1=1",
        "image_model__id__exact=abc",
        "image_model__credential_name=OPENAI",
        "credential_name__startswith=O",
        "is_active__exact=%00",
        "deleted=%00",
        "q=%00",
        "q=" + "a+" * 150,
        "p=99999999999999999999",
        "p=-1",
        "o=99.-7.x",
        "_to_field=password",
        "nonsense=1",
        "e=1&nonsense=1",
    ],
)
def test_a_list_asked_for_what_it_does_not_offer_shows_all_or_nothing(
    as_admin: Client, name: str, query: str
) -> None:
    label = LabelFactory()
    address = reverse(f"admin:prompts_{name}_changelist")

    response = as_admin.get(f"{address}?{query}")

    if response.status_code == 302:
        assert response["Location"] == address
        assert "can't be filtered" in read_messages(response)
    else:
        assert response.status_code == 200
        shown = {"prompt": label.prompt, "promptversion": label.version}.get(name, label.version.image_model)
        assert str(shown) in response.content.decode() or "image_model__id" in query


def test_a_list_says_nothing_about_columns_that_are_no_filters(as_viewer: Client) -> None:
    ImageModelFactory(paid=True, credential_name="OPENAI")
    address = reverse("admin:prompts_imagemodel_changelist")

    answers = {
        as_viewer.get(f"{address}?credential_name__startswith={letter}")["Location"] for letter in "OX"
    }

    assert answers == {address}


def test_declared_filters_and_search_answer(as_admin: Client) -> None:
    label = LabelFactory()
    deleted = PromptVersionFactory(deleted=True, user_prompt="gone")
    address = reverse("admin:prompts_promptversion_changelist")

    def shows(query: str, version: PromptVersion) -> bool:
        page = as_admin.get(f"{address}?{query}")
        assert page.status_code == 200
        return str(version.pk) in page.content.decode()

    assert shows("", label.version)
    assert not shows("", deleted)
    assert shows("deleted=only", deleted)
    assert not shows("deleted=only", label.version)
    assert shows("deleted=all", deleted)
    assert not shows("used=yes", label.version)
    assert shows(f"image_model__id__exact={label.version.image_model.pk}", label.version)
    assert shows("q=photo", label.version)
    assert not shows("q=nothing", label.version)


def test_an_action_on_rows_that_are_none_is_a_message(as_admin: Client) -> None:
    LabelFactory()
    address = reverse("admin:prompts_promptversion_changelist")

    for selected in ("abc", "\x00", str(uuid4())):
        values = {"action": "compare", "_selected_action": selected, "index": "0"}
        response = as_admin.post(address, values)
        assert response.status_code == 302
        assert read_messages(response)
    assert b"delete_selected" not in as_admin.get(address).content


def test_two_selected_versions_are_compared(as_admin: Client) -> None:
    first = PromptVersionFactory(user_prompt="A red house")
    second = PromptVersionFactory(prompt=first.prompt, user_prompt="A blue house", n_outputs=2)
    address = reverse("admin:prompts_promptversion_changelist")
    values = {"action": "compare", "_selected_action": [str(second.pk), str(first.pk)], "index": "0"}

    page = as_admin.get(as_admin.post(address, values)["Location"]).content.decode()

    assert "<del>red</del>" in page
    assert "<ins>blue</ins>" in page
    assert "<del>1</del>" in page
    assert "System prompt" not in page


@pytest.mark.parametrize("query", ["", "version=abc", f"version={uuid4()}&version=%00", "version="])
def test_the_comparison_of_nothing_asks_for_versions(as_viewer: Client, query: str) -> None:
    PromptVersionFactory()

    page = as_viewer.get(f"{reverse('admin:prompts_promptversion_compare')}?{query}")

    assert page.status_code == 200
    assert b"Choose two versions" in page.content


def test_a_prompt_is_made_and_leads_to_its_first_version(as_admin: Client) -> None:
    values = {"name": "Poster", "slug": "", "description": "", "tags": "a, b,,a"}

    response = as_admin.post(reverse("admin:prompts_prompt_add"), values)

    prompt = Prompt.objects.get()
    assert (prompt.slug, prompt.tags, prompt.created_by_id is not None) == ("poster", ["a", "b"], True)
    assert response["Location"] == f"{reverse('admin:prompts_promptversion_add')}?prompt={prompt.pk}"
    assert AuditEntry.objects.get().verb == "create_prompt"


def test_a_refused_prompt_keeps_what_was_typed(as_admin: Client) -> None:
    PromptFactory(slug="taken")
    values = {"name": "Typed name", "slug": "taken", "description": "Typed text", "tags": "typed"}

    page = as_admin.post(reverse("admin:prompts_prompt_add"), values)

    assert page.status_code == 200
    for text in ("Another prompt has the slug", "Typed name", "Typed text", 'value="typed"'):
        assert text in page.content.decode()
    assert Prompt.objects.count() == 1


def test_a_first_version_is_made_for_the_prompt_of_the_address(as_admin: Client) -> None:
    prompt, model = PromptFactory(), ImageModelFactory()
    address = f"{reverse('admin:prompts_promptversion_add')}?prompt={prompt.pk}"
    assert str(prompt.pk) in as_admin.get(address).content.decode()
    blank = PromptVersion(prompt=prompt, image_model=model, user_prompt="A poster of {subject}")

    response = as_admin.post(address, version_values(blank, prompt=str(prompt.pk), parameters=""))

    version = PromptVersion.objects.get()
    assert (version.number, version.parameters) == (1, {"style": "shapes", "detail": 4})
    assert response["Location"] == reverse("admin:prompts_promptversion_change", args=[version.pk])


@pytest.mark.parametrize(
    ("is_used", "button", "n_versions"), [(True, "_save", 2), (False, "_newversion", 2), (False, "_save", 1)]
)
def test_saving_makes_a_new_version_of_a_used_one_and_changes_an_unused_one(
    as_admin: Client, *, is_used: bool, button: str, n_versions: int
) -> None:
    version = PromptVersionFactory(used=is_used, user_prompt="Before")
    address = reverse("admin:prompts_promptversion_change", args=[version.pk])
    values = version_values(version, user_prompt="After", change_note="Because", **{button: "1"})

    response = as_admin.post(address, values)

    assert response.status_code == 302
    newest = PromptVersion.objects.order_by("-number")[0]
    assert (PromptVersion.objects.count(), newest.user_prompt, newest.change_note) == (
        n_versions,
        "After",
        "Because",
    )
    assert newest.parent == (version if n_versions == 2 else None)
    version.refresh_from_db()
    assert version.user_prompt == ("Before" if n_versions == 2 else "After")
    assert response["Location"] == reverse("admin:prompts_promptversion_change", args=[newest.pk])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"user_prompt": "{x.__class__}"}, "Attribute access is not allowed"),
        ({"user_prompt": ""}, "This field is required"),
        ({"user_prompt": "a\x00b"}, "Null characters are not allowed"),
        ({"n_outputs": "9"}, "The model makes at most 4 images"),
        ({"n_outputs": "1e400"}, "Enter a whole number"),
        ({"temperature": "NaN"}, "Enter a number"),
        ({"temperature": "9"}, "less than or equal to 2"),
        ({"resolution_px": "500"}, "Select a valid choice"),
        ({"image_model": "abc"}, "is not a valid UUID"),
        ({"parameters": "[1]"}, "It must start with"),
        ({"parameters": '{"detail": 1, "detail": 2}'}, "A name stands twice"),
        ({"parameters": '{"detail": NaN}'}, "NaN is no JSON"),
        ({"parameters": '{"detail": 99}'}, "detail: "),
        ({"parameters": '{"detail": 1'}, "At line 1"),
        ({"parameters": "[" * 100_000}, "too long or too deep"),
        ({"parameters": '{"detail": ' + "9" * 5000 + "}"}, "too long or too deep"),
        ({"parameters": '{"palette": "\\u0000"}'}, "can&#x27;t be stored"),
        ({"parameters": '{"steps": 1}'}, "The model does not know this parameter"),
    ],
)
def test_a_refused_version_keeps_what_was_typed_and_says_why(
    as_admin: Client, changes: dict[str, str], sentence: str
) -> None:
    version = PromptVersionFactory()
    address = reverse("admin:prompts_promptversion_change", args=[version.pk])

    page = as_admin.post(address, version_values(version, change_note="Typed note", **changes))

    assert page.status_code == 200
    text = page.content.decode()
    assert sentence in text
    assert "Typed note" in text
    assert PromptVersion.objects.get().change_note == ""


def test_a_version_frozen_while_it_was_edited_is_saved_as_a_new_one(as_admin: Client) -> None:
    version = PromptVersionFactory()
    address = reverse("admin:prompts_promptversion_change", args=[version.pk])
    as_admin.get(address)
    PromptVersion.objects.update(first_used_at="2026-01-01T00:00:00Z")

    as_admin.post(address, version_values(version, user_prompt="After", _save="1"))

    assert sorted(PromptVersion.objects.values_list("number", "user_prompt")) == [
        (1, version.user_prompt),
        (2, "After"),
    ]


def test_a_preview_shows_the_values_typed_and_never_fails(as_viewer: Client) -> None:
    version = PromptVersionFactory(user_prompt="A {subject} in {place}")
    address = reverse("admin:prompts_promptversion_change", args=[version.pk])

    shown = as_viewer.get(f"{address}?var-subject=red+%7Bplace%7D+cat").content.decode()
    broken = as_viewer.get(f"{address}?var-subject=%00")

    assert "A red {place} cat in {place}" in shown
    assert broken.status_code == 200
    assert b"NUL character" in broken.content


def test_an_image_model_is_made_and_refused_with_its_fields(as_admin: Client) -> None:
    address = reverse("admin:prompts_imagemodel_add")
    values = model_values(base_url="http://sd-webui:7860/v1")
    assert as_admin.post(address, values).status_code == 302
    assert ImageModel.objects.get().slug == "renderer"

    refused = {
        "base_url": ("file:///etc/passwd", "http or https address"),
        "credential_name": ("open ai", "capital letters"),
        "provider": ("midjourney", "Select a valid choice"),
        "provider_options": ('{"api_key": "sk-1"}', "looks like a key"),
        "parameters_schema": ('{"$ref": "http://x/"}', "is not followed"),
        "default_parameters": ("{", "not a JSON object"),
        "max_outputs": ("0", "greater than or equal to 1"),
        "price_usd": ("-1", "negative"),
    }
    for name, (value, sentence) in refused.items():
        page = as_admin.post(address, model_values(**{name: value}))
        assert page.status_code == 200, name
        assert sentence in page.content.decode(), name
    assert ImageModel.objects.count() == 1


def test_a_new_image_model_leads_to_its_page_where_its_key_is_missed(as_admin: Client) -> None:
    values = model_values(provider="openai", endpoint="m", credential_name="OPENAI", price_usd="0.04")

    page = as_admin.post(reverse("admin:prompts_imagemodel_add"), values, follow=True)

    model = ImageModel.objects.get()
    assert page.redirect_chain == [(reverse("admin:prompts_imagemodel_change", args=[model.pk]), 302)]
    assert "There is no key OPENAI" in page.content.decode()


def test_a_schema_that_is_none_is_answered_with_the_example_of_one(as_admin: Client) -> None:
    page = as_admin.post(reverse("admin:prompts_imagemodel_add"), model_values(parameters_schema="{"))

    assert "{&quot;properties&quot;: {&quot;style&quot;" in page.content.decode()


@pytest.mark.parametrize("name", LISTS)
def test_a_row_is_deleted_and_restored_after_being_asked(as_admin: Client, name: str) -> None:
    version = PromptVersionFactory()
    row = {"prompt": version.prompt, "promptversion": version}.get(name, version.image_model)

    for page, is_deleted in (("delete", True), ("restore", False)):
        address = reverse(f"admin:prompts_{name}_{page}", args=[row.pk])
        assert as_admin.get(address).status_code == 200
        row.refresh_from_db()
        assert row.is_deleted is not is_deleted
        assert as_admin.post(address).status_code == 302
        row.refresh_from_db()
        assert row.is_deleted is is_deleted
        # Done already: a message, not an error page.
        again = as_admin.post(address)
        assert again.status_code == 302
        assert read_messages(again)
        shown = as_admin.get(reverse(f"admin:prompts_{name}_change", args=[row.pk]))
        assert (b"Restore</a>" in shown.content) is is_deleted


def test_a_labelled_version_is_not_deleted_and_a_deleted_one_is_not_edited(as_admin: Client) -> None:
    label = LabelFactory()
    refused = as_admin.post(reverse("admin:prompts_promptversion_delete", args=[label.version.pk]))
    assert "Labels point to this version" in read_messages(refused)

    deleted = PromptVersionFactory(deleted=True)
    address = reverse("admin:prompts_promptversion_change", args=[deleted.pk])
    assert as_admin.post(address, version_values(deleted)).status_code == 403


def test_labels_are_set_moved_and_removed_with_their_history(as_admin: Client) -> None:
    first = PromptVersionFactory()
    second = PromptVersionFactory(prompt=first.prompt)
    set_label = reverse("admin:prompts_prompt_set_label", args=[first.prompt.pk])
    remove = reverse("admin:prompts_prompt_remove_label", args=[first.prompt.pk])
    page = reverse("admin:prompts_prompt_change", args=[first.prompt.pk])

    as_admin.post(set_label, {"name": "production", "version": first.pk})
    as_admin.post(set_label, {"name": "production", "version": second.pk, "expected": first.pk})
    assert Label.objects.get().version == second
    late = as_admin.post(set_label, {"name": "production", "version": first.pk, "expected": first.pk})
    assert "moved this label in the meantime" in read_messages(late)
    as_admin.post(remove, {"name": "production"})

    assert not Label.objects.exists()
    shown = as_admin.get(page).content.decode()
    for text in ("set to v1", "moved from v1 to v2", "removed from v2", "Ada Admin"):
        assert text in shown


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"name": "production"},
        {"name": "production", "version": "abc"},
        {"name": "production", "version": str(uuid4())},
        {"name": "two words", "version": "OWN"},
        {"name": "a\x00", "version": "OWN"},
        {"name": "production", "version": "OWN", "expected": "\x00"},
        {"name": "production", "version": "FOREIGN"},
    ],
)
def test_a_label_set_wrongly_is_a_message(as_admin: Client, values: dict[str, str]) -> None:
    own, foreign = PromptVersionFactory(), PromptVersionFactory()
    named = {"OWN": str(own.pk), "FOREIGN": str(foreign.pk)}
    sent = {name: named.get(value, value) for name, value in values.items()}

    response = as_admin.post(reverse("admin:prompts_prompt_set_label", args=[own.prompt.pk]), sent)

    assert response.status_code == 302
    assert read_messages(response)
    assert not Label.objects.exists()


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("text", ["abc", "%00", str(uuid4())])
def test_a_page_of_nothing_is_no_error_page(as_admin: Client, name: str, text: str) -> None:
    for page in ("change", "delete", "restore", "history"):
        assert as_admin.get(f"/admin/prompts/{name}/{text}/{page}/").status_code in {302, 404}, page


def test_a_column_of_another_app_is_shown_once_per_page(as_admin: Client) -> None:
    from prompts.admin import shared

    version = PromptVersionFactory()
    calls: list[int] = []

    def load(ids: Any) -> dict[Any, str]:
        calls.append(len(ids))
        return {version.pk: "4.25"}

    shared.add_version_column(shared.VersionColumn("Mean rating", load))
    try:
        page = as_admin.get(reverse("admin:prompts_prompt_change", args=[version.prompt.pk])).content.decode()
    finally:
        shared._columns.pop()

    assert "Mean rating" in page
    assert "4.25" in page
    assert calls == [1]


def test_versions_picked_from_the_table_are_compared_older_first(as_viewer: Client) -> None:
    first = PromptVersionFactory(user_prompt="A red house")
    second = PromptVersionFactory(prompt=first.prompt, user_prompt="A blue house")
    address = reverse("admin:prompts_promptversion_compare")

    page = as_viewer.get(f"{address}?version={second.pk}&version={first.pk}&order=number").content

    assert b"<del>red</del>" in page
