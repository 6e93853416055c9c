"""Raise the ceiling of a run that exists, or remove it: what it had stopped goes on."""

from __future__ import annotations

from decimal import Decimal

from django.db import transaction
from django.db.models import Sum

from accounts import audit
from accounts.models import User
from accounts.permissions import require
from generations.choices import Status
from generations.models import Generation, OpenCharge, Run
from generations.querysets import GenerationQuerySet
from generations.services.ledger import format_usd
from generations.services.planning import prepare_version
from generations.services.retrying import replace
from generations.services.run_money import count_begun
from generations.services.runs import CEILING_RULE, is_ceiling
from generations.waking import wake_engine
from mayagen.common.errors import ConflictError, DomainError
from prompts.models import PromptVersion


class CeilingInvalidError(DomainError):
    """The amount is none that a ceiling may be."""

    code = "ceiling_invalid"
    sentence = CEILING_RULE


class CeilingNotRaisedError(ConflictError):
    """The run has no ceiling, or one that is as high already."""

    code = "ceiling_not_raised"
    sentence = "A new ceiling has to be higher than the one that there is."


@transaction.atomic
def raise_ceiling(*, actor: User, run: Run, ceiling_usd: Decimal | None) -> int:
    """Let a run cost more, and return how many generations were queued that its ceiling had stopped.

    New ones take the places of those stopped, as many as the new ceiling has room for beside what has begun
    and what waits. They are reserved for the actor, in this month; when a quota refuses, nothing is changed.

    Args:
        ceiling_usd: Higher than the present one, or None to remove it.

    Raises:
        CeilingInvalidError: The amount is out of range.
        CeilingNotRaisedError: The run has no ceiling, or its ceiling is not lower.
        QuotaExceededError: A monthly quota leaves less than what would be queued is expected to cost.
        VersionDeletedError: A version of what was stopped is deleted.
        VersionUnusableError: A model of theirs is not available.
        PriceUnknownError: A model of theirs is neither free nor priced.
    """
    require(actor, "generations.change_run")
    if ceiling_usd is not None and not is_ceiling(ceiling_usd):
        raise CeilingInvalidError(fields={"ceiling_usd": [CEILING_RULE]})
    # Claims of the run wait here: what they are about to stop is stopped before, or let through after.
    locked = Run.objects.select_for_update(no_key=True).get(pk=run.pk)
    before_usd = _check_raised(locked, ceiling_usd)
    stopped = _list_stopped(locked)
    if ceiling_usd is not None:
        stopped = _keep_fitting(stopped, ceiling_usd - count_begun(locked) - _sum_waiting(locked))
        Run.objects.filter(pk=run.pk).update(ceiling_usd=ceiling_usd)
    else:
        # Without a ceiling nothing is counted any more.
        OpenCharge.objects.filter(run=run).delete()
        Run.objects.filter(pk=run.pk).update(ceiling_usd=None, settled_usd=0)
    n_queued = len(replace(actor, stopped))
    audit.record(
        actor=actor,
        verb="raise_ceiling",
        target=run,
        before={"ceiling_usd": str(before_usd)},
        after={"ceiling_usd": None if ceiling_usd is None else str(ceiling_usd), "n_queued": n_queued},
    )
    wake_engine()
    run.refresh_from_db(fields=("ceiling_usd", "settled_usd"))
    return n_queued


def _check_raised(run: Run, ceiling_usd: Decimal | None) -> Decimal:
    """Return the present ceiling."""
    if run.ceiling_usd is None:
        raise CeilingNotRaisedError("The run has no ceiling.")
    if ceiling_usd is not None and ceiling_usd <= run.ceiling_usd:
        sentence = f"The ceiling is {format_usd(run.ceiling_usd)}; a new one has to be higher."
        raise CeilingNotRaisedError(
            sentence, fields={"ceiling_usd": [sentence]}, extra={"present_ceiling_usd": str(run.ceiling_usd)}
        )
    return run.ceiling_usd


def _list_stopped(run: Run) -> GenerationQuerySet:
    return Generation.objects.filter(run=run).ended_early().filter(status=Status.CANCELLED).order_by("id")


def _sum_waiting(run: Run) -> Decimal:
    waiting = Generation.objects.filter(run=run, status=Status.QUEUED, started_at__isnull=True)
    return round(Decimal(waiting.aggregate(sum=Sum("reserved_usd"))["sum"] or 0), 6)


def _keep_fitting(stopped: GenerationQuerySet, room_usd: Decimal) -> GenerationQuerySet:
    """Return the first of these, as many as there is room for at today's prices."""
    versions = PromptVersion.objects.select_related("prompt", "image_model").filter(
        pk__in=stopped.order_by().values("prompt_version")
    )
    prices = {version.pk: prepare_version(version).reserved_usd or Decimal(0) for version in versions}
    last = None
    for pk, version_id in stopped.values_list("pk", "prompt_version_id"):
        room_usd -= prices[version_id]
        if room_usd < 0:
            return stopped.none() if last is None else stopped.filter(pk__lte=last)
        last = pk
    return stopped
