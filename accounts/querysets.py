"""Which people and which audit entries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from django.contrib.auth.models import Group
from django.db.models import OuterRef, QuerySet, Subquery

from accounts.permissions import can

if TYPE_CHECKING:
    from accounts.models import AuditEntry, User


class UserQuerySet(QuerySet["User"]):
    """People."""

    def active(self) -> Self:
        """Keep the people who may sign in."""
        return self.filter(is_active=True)

    def with_role(self) -> Self:
        """Annotate each person with `role_name`, the name of their one role or None."""
        role = Group.objects.filter(user=OuterRef("pk")).order_by("name").values("name")[:1]
        return self.annotate(role_name=Subquery(role))

    def visible_to(self, actor: User) -> Self:
        """Keep the people whom the actor may see: everybody for an admin, else only oneself."""
        return self if can(actor, "accounts.view_user") else self.filter(pk=actor.pk)


class AuditEntryQuerySet(QuerySet["AuditEntry"]):
    """Audit entries."""

    def visible_to(self, actor: User) -> Self:
        """Keep all for who may read the audit trail, none for anybody else."""
        return self if can(actor, "accounts.view_auditentry") else self.none()
