"""How people are found, and what their role lets them do."""

from __future__ import annotations

import uuid
from typing import Any, Final

from allauth.account.auth_backends import AuthenticationBackend
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.db import connection
from django.db.models import QuerySet

from accounts.models import User
from accounts.roles import PERMISSIONS
from mayagen.common.statements import KeptStatement


def _find_person(*, person: uuid.UUID) -> QuerySet[Any, Any]:
    people = User.objects.get_queryset().active().with_role().filter(pk=person)
    return people.values_list(*_COLUMNS, "role_name")


_COLUMNS: Final = [field.attname for field in User._meta.concrete_fields]
# Every request of somebody signed in asks this, and building it anew takes four times as long as asking.
_FIND_PERSON: Final = KeptStatement(_find_person, "person")


class RoleBackend(AuthenticationBackend):
    """Sign-in by e-mail; one query brings a person and their role, and the role's rights need none.

    A group's permissions are written from `accounts.roles` at each migration, so reading them from there
    is the same answer without a query for every request.
    """

    def get_user(self, user_id: Any) -> User | None:
        """Return the active person with that id and their role, or None."""
        person_id = User._meta.pk.to_python(user_id)
        if not connection.features.has_native_uuid_field:
            return User.objects.get_queryset().active().with_role().filter(pk=person_id).first()
        row = next(iter(_FIND_PERSON.run(person=person_id)), None)
        if row is None:
            return None
        person = User.from_db(connection.alias, _COLUMNS, row[:-1])
        person.role_name = row[-1]
        return person

    def get_group_permissions(self, user_obj: AbstractBaseUser | AnonymousUser, obj: Any = None) -> set[str]:
        """Return the permission codes of the person's role; none for objects, the inactive, strangers."""
        if obj is not None or not isinstance(user_obj, User) or not user_obj.is_active:
            return set()
        return set(PERMISSIONS.get(user_obj.role or "", ()))

    def get_user_permissions(self, user_obj: AbstractBaseUser | AnonymousUser, obj: Any = None) -> set[str]:
        """Return no permissions: a person has a role and nothing beside it."""
        return set()

    def get_all_permissions(self, user_obj: AbstractBaseUser | AnonymousUser, obj: Any = None) -> set[str]:
        """Return the permission codes of the person's role."""
        return self.get_group_permissions(user_obj, obj)

    def has_perm(self, user_obj: AbstractBaseUser | AnonymousUser, perm: str, obj: Any = None) -> bool:
        """Return whether the person's role holds the permission."""
        return perm in self.get_group_permissions(user_obj, obj)

    def has_module_perms(self, user_obj: AbstractBaseUser | AnonymousUser, app_label: str) -> bool:
        """Return whether the person's role holds any permission of the app."""
        return any(code.startswith(f"{app_label}.") for code in self.get_group_permissions(user_obj))
