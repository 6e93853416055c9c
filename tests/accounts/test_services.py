"""What is done to people, and by whom."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest

from accounts import services
from accounts.models import AuditEntry, User
from accounts.permissions import can
from accounts.roles import PERMISSIONS
from mayagen.common.errors import PermissionDeniedError
from tests.accounts.factories import PASSWORD, UserFactory

pytestmark = pytest.mark.django_db


def test_a_person_is_made_with_one_role_and_no_password(admin: User) -> None:
    user = services.create_user(actor=admin, email=" New.Person@Example.COM ", role="evaluator", name=" N ")

    user.refresh_from_db()
    assert (user.email, user.name, user.role) == ("new.person@example.com", "N", "evaluator")
    assert not user.has_usable_password()
    assert not user.is_superuser
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.verb, entry.object_id) == (admin, "create_user", str(user.pk))
    assert entry.after == {"email": "new.person@example.com", "role": "evaluator"}


def test_no_audit_entry_holds_a_password(admin: User) -> None:
    services.create_user(actor=admin, email="a@example.com", role="viewer", password=PASSWORD)
    services.set_own_password(actor=admin, password="another pass phrase")

    for entry in AuditEntry.objects.all():
        assert PASSWORD not in str(entry.before) + str(entry.after)
        assert "another" not in str(entry.before) + str(entry.after)


@pytest.mark.parametrize(
    "email",
    [
        "",
        "no address",
        "a@b",
        "a@" + "b" * 250 + ".example",
        "ad\u0430@example.com",
        "\u212aate@example.com",
        "a@ex\u00e4mple.com",
        "a\x00@example.com",
        "a@example.com\nb@example.com",
    ],
)
def test_an_address_that_is_none_or_a_look_alike_is_refused(admin: User, email: str) -> None:
    with pytest.raises(services.EmailInvalidError):
        services.create_user(actor=admin, email=email, role="viewer")


def test_an_address_in_other_case_is_the_same_address(admin: User) -> None:
    UserFactory(email="ada@example.com")

    with pytest.raises(services.EmailTakenError) as refusal:
        services.create_user(actor=admin, email="ADA@example.com", role="viewer")
    assert set(refusal.value.fields) == {"email"}


@pytest.mark.parametrize("password", ["short", "password123", "new.person@example.com"])
def test_a_password_that_is_easy_to_guess_is_refused(admin: User, password: str) -> None:
    with pytest.raises(services.PasswordInvalidError):
        services.create_user(actor=admin, email="new.person@example.com", role="viewer", password=password)
    assert not User.objects.filter(email="new.person@example.com").exists()


@pytest.mark.parametrize("role", ["", "superuser", "Admin", "staff"])
def test_there_are_three_roles_and_no_other(admin: User, role: str) -> None:
    with pytest.raises(services.RoleUnknownError):
        services.create_user(actor=admin, email="a@example.com", role=role)


@pytest.mark.parametrize("role", ["evaluator", "viewer", None])
def test_only_administrators_do_anything_to_others(role: str | None) -> None:
    actor, other = UserFactory(role=role), UserFactory(role="viewer")
    before = AuditEntry.objects.count()

    for attempt in (
        lambda: services.create_user(actor=actor, email="a@example.com", role="viewer"),
        lambda: services.change_role(actor=actor, user=other, role="evaluator"),
        lambda: services.change_role(actor=actor, user=actor, role="admin"),
        lambda: services.deactivate_user(actor=actor, user=other),
        lambda: services.reactivate_user(actor=actor, user=other),
        lambda: services.set_name(actor=actor, user=other, name="Mallory"),
        lambda: services.make_password_key(actor=actor, user=other),
    ):
        with pytest.raises(PermissionDeniedError):
            attempt()
    assert AuditEntry.objects.count() == before


def test_a_deactivated_administrator_may_do_nothing(admin: User) -> None:
    gone = UserFactory(role="admin", is_active=False)

    with pytest.raises(PermissionDeniedError):
        services.change_role(actor=gone, user=admin, role="viewer")


def test_nobody_grants_what_they_lack(admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        cast("dict[str, frozenset[str]]", PERMISSIONS),
        "viewer",
        frozenset({"accounts.add_user", "accounts.change_user", "accounts.view_user"}),
    )
    lesser, other = UserFactory(role="viewer"), UserFactory(role="evaluator")

    for attempt in (
        lambda: services.create_user(actor=lesser, email="a@example.com", role="admin"),
        lambda: services.change_role(actor=lesser, user=other, role="admin"),
        lambda: services.change_role(actor=lesser, user=lesser, role="admin"),
        lambda: services.change_role(actor=lesser, user=admin, role="viewer"),
        lambda: services.deactivate_user(actor=lesser, user=admin),
        lambda: services.make_password_key(actor=lesser, user=admin),
    ):
        with pytest.raises(services.RoleNotGrantableError):
            attempt()


def test_a_role_change_leaves_exactly_one_role(admin: User) -> None:
    user = UserFactory(role="viewer")

    services.change_role(actor=admin, user=user, role="evaluator")

    fresh = User.objects.get(pk=user.pk)
    assert [group.name for group in fresh.groups.all()] == ["evaluator"]
    assert can(fresh, "evaluations.review")
    assert not can(fresh, "prompts.view_prompt")
    entry = AuditEntry.objects.get()
    assert (entry.before, entry.after) == ({"role": "viewer"}, {"role": "evaluator"})


def test_what_changes_nothing_writes_no_audit_entry(admin: User) -> None:
    services.change_role(actor=admin, user=admin, role="admin")
    services.set_name(actor=admin, user=admin, name=admin.name)
    services.reactivate_user(actor=admin, user=admin)

    assert not AuditEntry.objects.exists()


def test_the_last_administrator_stays(admin: User) -> None:
    UserFactory(role="admin", is_active=False)

    attempts: list[Callable[[], User]] = [
        lambda: services.deactivate_user(actor=admin, user=admin),
        lambda: services.change_role(actor=admin, user=admin, role="viewer"),
    ]
    for attempt in attempts:
        with pytest.raises(services.LastAdminError) as refusal:
            attempt()
        assert (refusal.value.status, refusal.value.code) == (409, "last_admin")
    admin.refresh_from_db()
    assert admin.is_active


def test_an_administrator_may_go_while_another_stays(admin: User) -> None:
    UserFactory(role="admin")

    services.deactivate_user(actor=admin, user=admin)

    assert not User.objects.get(pk=admin.pk).is_active


def test_a_deactivated_administrator_may_lose_the_role(admin: User) -> None:
    gone = UserFactory(role="admin", is_active=False)

    services.change_role(actor=admin, user=gone, role="viewer")

    assert User.objects.get(pk=gone.pk).role == "viewer"


def test_deactivating_twice_is_written_down_once(admin: User) -> None:
    user = UserFactory()
    for _ in range(2):
        services.deactivate_user(actor=admin, user=user)

    assert AuditEntry.objects.count() == 1


def test_everybody_may_name_themselves(evaluator: User) -> None:
    services.set_name(actor=evaluator, user=evaluator, name="  Eve  ")

    evaluator.refresh_from_db()
    assert evaluator.name == "Eve"
