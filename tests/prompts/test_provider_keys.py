"""Providers' keys are stored sealed, used by the engine, and shown to nobody."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from rest_framework.test import APIClient

from accounts.models import AuditEntry, User
from mayagen.common.errors import PermissionDeniedError
from prompts import services
from prompts.models import ProviderKey
from prompts.selectors import find_provider_key
from tests.accounts.signing_in import sign_in
from tests.contracts.world import list_admin_addresses, make_world
from tests.prompts.factories import ProviderKeyFactory

pytestmark = pytest.mark.django_db

ApiAs = Callable[[User | None], APIClient]
ROOT = "/api/v1/provider-keys/"
VALUE, OTHER = "sk-canary-first-value", "sk-canary-second-value"
OLD_SEAL, NEW_SEAL = "o" * 40, "n" * 40


@pytest.fixture(autouse=True)
def _keys(settings: Any) -> None:
    settings.PROVIDER_KEYS = {}
    settings.SEALING_KEYS = [OLD_SEAL]


def test_a_stored_key_is_found_and_not_readable_in_its_row(admin: User) -> None:
    key = services.add_provider_key(actor=admin, name="OPENAI", value=f"  {VALUE}\n")

    assert find_provider_key("OPENAI").value == VALUE
    assert VALUE not in str(ProviderKey.objects.values().get())
    assert (key.set_by, VALUE in repr(find_provider_key("OPENAI"))) == (admin, False)


def test_the_environment_goes_first(admin: User, settings: Any) -> None:
    services.add_provider_key(actor=admin, name="OPENAI", value=VALUE)

    settings.PROVIDER_KEYS = {"OPENAI": OTHER}

    assert find_provider_key("OPENAI").value == OTHER


def test_a_missing_key_is_named_and_none_asked_for_is_none() -> None:
    assert "MAYAGEN_PROVIDER_KEY_ABSENT" in find_provider_key("ABSENT").fault
    assert (find_provider_key("").value, find_provider_key("").fault) == (None, "")


def test_a_key_whose_sealing_key_is_gone_is_a_fault_that_says_so(admin: User, settings: Any) -> None:
    services.add_provider_key(actor=admin, name="OPENAI", value=VALUE)

    settings.SEALING_KEYS = [NEW_SEAL]

    found = find_provider_key("OPENAI")
    assert (found.value, "MAYAGEN_SEALING_KEYS" in found.fault) == (None, True)


def test_a_sealed_value_put_in_anothers_row_opens_nothing(admin: User) -> None:
    services.add_provider_key(actor=admin, name="OPENAI", value=VALUE)
    other = services.add_provider_key(actor=admin, name="LOCAL", value=OTHER)

    stolen = ProviderKey.objects.get(name="OPENAI").sealed_value
    ProviderKey.objects.filter(pk=other.pk).update(sealed_value=stolen)

    assert find_provider_key("LOCAL").value is None


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("", VALUE, "name"),
        ("openai", VALUE, "name"),
        ("OPEN AI", VALUE, "name"),
        ("OPENAI\n", VALUE, "name"),
        ("A" * 41, VALUE, "name"),
        ("OPENAI", "", "value"),
        ("OPENAI", "   ", "value"),
        ("OPENAI", "two\nlines", "value"),
        ("OPENAI", "nul\x00", "value"),
        ("OPENAI", "schlüssel", "value"),
        ("OPENAI", "k" * 8_193, "value"),
    ],
)
def test_what_is_no_name_or_no_key_is_refused(admin: User, name: str, value: str, field: str) -> None:
    with pytest.raises(services.FieldsInvalidError) as refusal:
        services.add_provider_key(actor=admin, name=name, value=value)

    assert list(refusal.value.fields) == [field]
    assert not ProviderKey.objects.exists()


def test_a_name_is_given_once(admin: User) -> None:
    services.add_provider_key(actor=admin, name="OPENAI", value=VALUE)

    with pytest.raises(services.ProviderKeyNameTakenError):
        services.add_provider_key(actor=admin, name="OPENAI", value=OTHER)

    assert find_provider_key("OPENAI").value == VALUE


def test_replacing_and_removing_take_effect_at_once_and_a_removed_key_stays_gone(admin: User) -> None:
    key = services.add_provider_key(actor=admin, name="OPENAI", value=VALUE)

    services.replace_provider_key(actor=admin, key=key, value=OTHER)
    assert find_provider_key("OPENAI").value == OTHER

    services.remove_provider_key(actor=admin, key=key)
    assert not ProviderKey.objects.exists()
    with pytest.raises(services.ProviderKeyGoneError):
        services.replace_provider_key(actor=admin, key=key, value=VALUE)


def test_only_admins_handle_keys(evaluator: User, viewer: User) -> None:
    key = ProviderKeyFactory()

    for person in (evaluator, viewer):
        with pytest.raises(PermissionDeniedError):
            services.add_provider_key(actor=person, name="OPENAI", value=VALUE)
        with pytest.raises(PermissionDeniedError):
            services.replace_provider_key(actor=person, key=key, value=VALUE)
        with pytest.raises(PermissionDeniedError):
            services.remove_provider_key(actor=person, key=key)


def test_rotation_seals_all_keys_again_and_then_the_old_sealing_key_may_go(
    admin: User, settings: Any
) -> None:
    services.add_provider_key(actor=admin, name="OPENAI", value=VALUE)
    settings.SEALING_KEYS = [NEW_SEAL, OLD_SEAL]
    services.add_provider_key(actor=admin, name="LOCAL", value=OTHER)

    said = io.StringIO()
    call_command("rotate_provider_keys", stdout=said)
    settings.SEALING_KEYS = [NEW_SEAL]

    assert said.getvalue() == "1 keys were sealed again.\n"
    assert [find_provider_key(name).value for name in ("OPENAI", "LOCAL")] == [VALUE, OTHER]


def test_rotation_names_what_it_cannot_open(admin: User, settings: Any) -> None:
    services.add_provider_key(actor=admin, name="OPENAI", value=VALUE)
    settings.SEALING_KEYS = [NEW_SEAL]

    with pytest.raises(CommandError, match="OPENAI"):
        call_command("rotate_provider_keys", stdout=io.StringIO())


def test_over_the_api_values_go_in_and_none_comes_out(api_as: ApiAs, admin: User) -> None:
    client = api_as(admin)

    made = client.post(ROOT, {"name": "OPENAI", "value": VALUE}, format="json")
    address = f"{ROOT}{made.json()['id']}/"
    answers = [
        made,
        client.post(ROOT, {"name": "OPENAI", "value": VALUE}, format="json"),
        client.post(ROOT, {"name": "open ai", "value": VALUE}, format="json"),
        client.post(ROOT, {"name": "OPENAI", "value": VALUE, "unknown": 1}, format="json"),
        client.patch(address, {"value": OTHER}, format="json"),
        client.patch(address, {"value": f"{OTHER}\n{OTHER}"}, format="json"),
        client.get(ROOT),
        client.get(address),
        client.delete(address),
        client.get(address),
    ]

    assert [answer.status_code for answer in answers] == [201, 409, 422, 400, 200, 422, 200, 200, 204, 404]
    assert set(made.json()) == {"id", "name", "source", "set_at", "set_by", "created_at"}
    for answer in answers:
        assert b"canary" not in answer.content


@pytest.mark.parametrize("role", ["evaluator", "viewer"])
def test_to_other_roles_there_are_no_keys_in_the_api(
    api_as: ApiAs, role: str, request: pytest.FixtureRequest
) -> None:
    client, key = api_as(request.getfixturevalue(role)), ProviderKeyFactory()

    for answer in (
        client.get(ROOT),
        client.get(f"{ROOT}{key.pk}/"),
        client.post(ROOT, {"name": "OPENAI", "value": VALUE}, format="json"),
        client.patch(f"{ROOT}{key.pk}/", {"value": VALUE}, format="json"),
        client.delete(f"{ROOT}{key.pk}/"),
    ):
        assert answer.status_code == 404


def test_the_admin_sets_replaces_and_removes_a_key_and_shows_none(admin: User) -> None:
    client = sign_in(admin)
    new = reverse("admin:prompts_providerkey_add")

    pages = [client.post(new, {"name": "OPENAI", "value": VALUE}, follow=True)]
    key = ProviderKey.objects.get()
    change = reverse("admin:prompts_providerkey_change", args=[key.pk])
    pages += [
        client.post(new, {"name": "OPENAI", "value": VALUE}, follow=True),
        client.post(new, {"name": "wrong name", "value": VALUE}, follow=True),
        client.get(change),
        client.post(change, {"value": OTHER}, follow=True),
        client.post(change, {"value": f"schlüssel{OTHER}"}, follow=True),
    ]

    assert find_provider_key("OPENAI").value == OTHER
    remove = reverse("admin:prompts_providerkey_delete", args=[key.pk])
    pages += [client.get(remove), client.post(remove, follow=True)]
    assert not ProviderKey.objects.exists()
    for page in pages:
        assert (page.status_code, b"canary" in page.content) == (200, False)


def test_lists_of_keys_take_the_same_number_of_queries_for_one_and_many(api_as: ApiAs, admin: User) -> None:
    page, client = sign_in(admin), api_as(admin)

    def count_queries() -> list[int]:
        counts = []
        for get, address in ((page.get, reverse("admin:prompts_providerkey_changelist")), (client.get, ROOT)):
            with CaptureQueriesContext(connection) as captured:
                assert get(address).status_code == 200
            counts.append(len(captured))
        return counts

    ProviderKeyFactory(set_by=admin)
    count_queries()
    for_one = count_queries()
    ProviderKeyFactory.create_batch(5, set_by=admin)

    assert count_queries() == for_one


def test_no_page_list_log_line_or_audit_entry_holds_a_key(
    admin: User, viewer: User, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    world = make_world()
    with caplog.at_level(logging.DEBUG):
        key = services.add_provider_key(actor=admin, name="OPENAI", value=VALUE)
        services.replace_provider_key(actor=admin, key=key, value=OTHER)
        settings.SEALING_KEYS = [NEW_SEAL, OLD_SEAL]
        call_command("rotate_provider_keys", stdout=io.StringIO())
        services.remove_provider_key(actor=admin, key=key)
        services.add_provider_key(actor=admin, name="OPENAI", value=OTHER)
        for person in (admin, viewer):
            client = sign_in(person)
            for address in list_admin_addresses(world):
                body = client.get(address, follow=True).content
                assert [text for text in (VALUE, OTHER) if text.encode() in body] == [], address

    verbs = {"add_provider_key", "replace_provider_key", "reseal_provider_key", "remove_provider_key"}
    entries = list(AuditEntry.objects.filter(verb__in=verbs).values())
    assert {entry["verb"] for entry in entries} == verbs
    assert "canary-first" not in f"{entries}{caplog.text}"
    assert "canary-second" not in f"{entries}{caplog.text}"
