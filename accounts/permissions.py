"""The one check of rights that services, admin, pages and API call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mayagen.common.errors import PermissionDeniedError

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

    from accounts.models import User


def can(actor: User | AnonymousUser, permission: str) -> bool:
    """Return whether the actor is active and their role holds the permission (`app.verb_model`)."""
    return bool(actor.is_active and actor.has_perm(permission))


def require(actor: User | AnonymousUser, permission: str) -> None:
    """Return if the actor holds the permission.

    Raises:
        PermissionDeniedError: The actor's role does not hold it.
    """
    if not can(actor, permission):
        raise PermissionDeniedError
