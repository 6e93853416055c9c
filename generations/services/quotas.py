"""Monthly quotas: set by admins, for a person or for the whole installation."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from django.db import IntegrityError, transaction

from accounts import audit
from accounts.models import User
from accounts.permissions import require
from generations.models import Quota
from mayagen.common.errors import ConflictError, DomainError

MAX_LIMIT: Final = 1_000_000_000


class QuotaInvalidError(DomainError):
    """A limit is out of range; `fields` says which."""

    code = "quota_invalid"
    sentence = "The quota can't be set like this."


class QuotaExistsError(ConflictError):
    """There is a quota for this person, or for the installation, already."""

    code = "quota_exists"
    sentence = "There is such a quota already. Change that one."


@transaction.atomic
def create_quota(
    *, actor: User, user: User | None, limit_generations: int | None, limit_usd: Decimal | None
) -> Quota:
    """Limit what a person, or without one the installation, may spend in each month.

    Args:
        user: Whose; None for the whole installation.
        limit_generations: How many; None limits nothing.
        limit_usd: How much money; None limits nothing.

    Raises:
        QuotaInvalidError: A limit is negative or too large.
        QuotaExistsError: There is one.
    """
    require(actor, "generations.add_quota")
    quota = Quota(user=user, limit_generations=limit_generations, limit_usd=limit_usd)
    _check(limit_generations, limit_usd)
    try:
        with transaction.atomic():
            quota.save(force_insert=True)
    except IntegrityError:
        raise QuotaExistsError from None
    audit.record(actor=actor, verb="create_quota", target=quota, after=_describe(quota))
    return quota


@transaction.atomic
def change_quota(
    *, actor: User, quota: Quota, limit_generations: int | None, limit_usd: Decimal | None
) -> Quota:
    """Set both limits of a quota; what is reserved already stays so, even beyond them.

    Raises:
        QuotaInvalidError: A limit is negative or too large.
    """
    require(actor, "generations.change_quota")
    _check(limit_generations, limit_usd)
    current = Quota.objects.select_for_update(of=("self",)).select_related("user").get(pk=quota.pk)
    before = _describe(current)
    current.limit_generations, current.limit_usd = limit_generations, limit_usd
    Quota.objects.filter(pk=current.pk).update(limit_generations=limit_generations, limit_usd=limit_usd)
    audit.record(actor=actor, verb="change_quota", target=current, before=before, after=_describe(current))
    return current


def _check(limit_generations: int | None, limit_usd: Decimal | None) -> None:
    fields: dict[str, list[str]] = {}
    if limit_generations is not None and not 0 <= limit_generations <= MAX_LIMIT:
        fields["limit_generations"] = [f"The limit runs from 0 to {MAX_LIMIT:,}."]
    if limit_usd is not None and not (limit_usd.is_finite() and 0 <= limit_usd <= MAX_LIMIT):
        fields["limit_usd"] = [f"The limit runs from $0 to ${MAX_LIMIT:,}."]
    elif limit_usd is not None and limit_usd != round(limit_usd, 2):
        fields["limit_usd"] = ["The limit is given in whole cents."]
    if fields:
        raise QuotaInvalidError(fields=fields)


def _describe(quota: Quota) -> dict[str, str | int | None]:
    return {
        "user": str(quota.user_id) if quota.user_id else "",
        "limit_generations": quota.limit_generations,
        "limit_usd": None if quota.limit_usd is None else str(quota.limit_usd),
    }
