"""Write who did what, in the transaction of the verb that did it."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from django.db import models

from accounts.models import AuditEntry, User

current_ip_address: ContextVar[str | None] = ContextVar("current_ip_address", default=None)
"""The address of the request being served; set by `accounts.middleware` and empty outside of requests."""


def record(
    *,
    actor: User | None,
    verb: str,
    target: models.Model,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> AuditEntry:
    """Write one audit entry; call it inside the verb's own transaction.

    Args:
        actor: The person, or None for the product itself.
        verb: The verb's name, such as `create_version`.
        target: The saved object it was done to.
        before: JSON-ready values of what changed, as they were.
        after: The same as they are now. Neither may hold a secret.
    """
    return AuditEntry.objects.create(
        actor=actor,
        verb=verb,
        object_type=target._meta.label_lower,
        object_id=str(target.pk),
        object_label=str(target)[:200],
        before=dict(before or {}),
        after=dict(after or {}),
        ip_address=current_ip_address.get(),
    )


def record_change(
    *,
    actor: User | None,
    verb: str,
    target: models.Model,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
) -> AuditEntry:
    """Write one audit entry of what differs between two descriptions, which have the same names."""
    changed = [name for name in after if after[name] != before[name]]
    return record(
        actor=actor,
        verb=verb,
        target=target,
        before={name: before[name] for name in changed},
        after={name: after[name] for name in changed},
    )
