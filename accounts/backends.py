"""How people are found, and what their role lets them do."""

from __future__ import annotations

import uuid
from functools import lru_cache
from typing import Any, Final

from allauth.account.auth_backends import AuthenticationBackend
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.db import connection

from accounts.models import User
from accounts.roles import PERMISSIONS

_ANYBODY: Final = "anybody"


@lru_cache(maxsize=4)
def _translate_lookup(_vendor: str) -> tuple[str, list[Any]]:
    """Return the statement that finds a person by id; `_ANYBODY` stands for the id.

    Every request of somebody signed in runs it, and building it anew costs four times what it takes.
    """
    stand_in = uuid.UUID(int=0)
    people = User.objects.get_queryset().active().with_role().filter(pk=stand_in)
    statement, parameters = people.query.sql_with_params()
    return statement, [_ANYBODY if each in (stand_in, stand_in.hex) else each for each in parameters]


class RoleBackend(AuthenticationBackend):
    """Sign-in by e-mail; one query brings a person and their role, and the role's rights need none.

    A group's permissions are written from `accounts.roles` at each migration, so reading them from there
    is the same answer without a query for every request.
    """

    def get_user(self, user_id: Any) -> User | None:
        """Return the active person with that id and their role, or None."""
        statement, parameters = _translate_lookup(connection.vendor)
        key = User._meta.pk.get_db_prep_value(User._meta.pk.to_python(user_id), connection)
        values = [key if each == _ANYBODY else each for each in parameters]
        return next(iter(User.objects.raw(statement, values)), None)

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
