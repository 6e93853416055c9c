"""People for tests."""

from __future__ import annotations

from typing import Any

import factory
from django.contrib.auth.models import Group

from accounts.models import User
from accounts.roles import VIEWER

PASSWORD = "a long enough pass phrase"


class UserFactory(factory.django.DjangoModelFactory):
    """An active person with one role (`role="admin"`; None for none) who signs in with `PASSWORD`."""

    class Meta:
        model = User

    email = factory.Sequence(lambda n: f"person{n}@example.com")
    name = factory.Sequence(lambda n: f"Person {n}")

    @classmethod
    def _create(cls, model_class: type[User], *args: Any, **fields: Any) -> User:
        role: str | None = fields.pop("role", VIEWER)
        user = User.objects.create_user(fields.pop("email"), fields.pop("password", PASSWORD), **fields)
        if role is not None:
            user.groups.set([Group.objects.get(name=role)])
        return user
