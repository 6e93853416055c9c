"""Groups, permissions and the one check of rights."""

from __future__ import annotations

from io import StringIO

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.template import Context, Template
from django.test import Client
from pytest_django.asserts import assertNumQueries

from accounts import services
from accounts.groups import sync_groups
from accounts.models import AuditEntry, User
from accounts.permissions import can
from accounts.roles import PERMISSIONS, ROLES
from tests.accounts.factories import PASSWORD, UserFactory

pytestmark = pytest.mark.django_db


def read_groups() -> dict[str, set[str]]:
    rows = Group.objects.values_list("name", "permissions__content_type__app_label", "permissions__codename")
    groups: dict[str, set[str]] = {}
    for name, app_label, codename in rows:
        groups.setdefault(name, set()).add(f"{app_label}.{codename}")
    return groups


def test_after_migrating_the_groups_are_the_roles() -> None:
    assert read_groups() == {role: set(codes) for role, codes in PERMISSIONS.items()}


def test_syncing_takes_away_and_gives_back_and_changes_nothing_the_second_time() -> None:
    viewers = Group.objects.get(name="viewer")
    viewers.permissions.set(Permission.objects.filter(codename__in=["delete_user", "delete_prompt"]))

    for _ in range(2):
        for config in apps.get_app_configs():
            sync_groups(sender=config, using="default", apps=apps)
        assert read_groups()["viewer"] == PERMISSIONS["viewer"]


@pytest.mark.parametrize("role", [*ROLES, None])
def test_rights_come_from_the_role_and_nowhere_else(role: str | None) -> None:
    user = UserFactory(role=role)
    user.user_permissions.set(Permission.objects.all())

    fresh = User.objects.get(pk=user.pk)

    assert fresh.get_all_permissions() == set(PERMISSIONS.get(role or "", ()))


@pytest.mark.parametrize("role", ROLES)
def test_the_inactive_have_no_rights(role: str) -> None:
    user = UserFactory(role=role, is_active=False)

    assert not user.get_all_permissions()
    assert not any(can(user, code) for code in PERMISSIONS[role])


@pytest.mark.parametrize(("role", "expected"), [("admin", "yes"), ("viewer", "yes"), ("evaluator", "no")])
def test_templates_ask_for_rights_by_perms(rf: object, role: str, expected: str) -> None:
    from django.contrib.auth.context_processors import PermWrapper

    template = Template("{% if perms.prompts.view_prompt and perms.prompts %}yes{% else %}no{% endif %}")

    assert template.render(Context({"perms": PermWrapper(UserFactory(role=role))})) == expected


def test_who_is_asking_and_all_their_rights_cost_two_queries(client: Client) -> None:
    client.force_login(UserFactory(role="admin"))

    with assertNumQueries(2):
        assert client.get("/api/v1/me/").json()["permissions"]


def test_the_audit_trail_refuses_every_change(admin: User) -> None:
    services.set_name(actor=admin, user=admin, name="Seen")

    for attempt in (
        lambda: AuditEntry.objects.update(verb="x"),
        lambda: AuditEntry.objects.all().delete(),
        lambda: connection.cursor().execute("DELETE FROM accounts_auditentry"),
    ):
        with pytest.raises(DatabaseError, match="never changed"), transaction.atomic():
            attempt()
    assert AuditEntry.objects.get().verb == "set_name"


def test_the_first_administrator_is_made_by_command() -> None:
    output = StringIO()

    call_command("create_admin", "Root@Example.com", generate_password=True, stdout=output)

    user = get_user_model().objects.get()
    password = output.getvalue().rpartition("Password: ")[2].strip()
    assert (user.email, user.role, user.is_superuser) == ("root@example.com", "admin", False)
    assert user.check_password(password)
    assert AuditEntry.objects.get().actor is None


def test_the_command_asks_for_a_password_where_there_is_somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    answers = [PASSWORD, PASSWORD, PASSWORD, "another", "short", "short"]
    monkeypatch.setattr("getpass.getpass", lambda _prompt: answers.pop(0))
    output = StringIO()

    call_command("create_admin", "root@example.com", stdout=output)
    with pytest.raises(CommandError, match="differ"):
        call_command("create_admin", "other@example.com", stdout=output)
    with pytest.raises(CommandError, match="too short"):
        call_command("create_admin", "other@example.com", stdout=output)

    assert User.objects.get().check_password(PASSWORD)
    assert PASSWORD not in output.getvalue()


@pytest.mark.parametrize("email", ["no address", "taken@example.com"])
def test_the_command_refuses_in_a_sentence(email: str) -> None:
    UserFactory(email="taken@example.com")

    with pytest.raises(CommandError, match="e-mail"):
        call_command("create_admin", email, generate_password=True)
