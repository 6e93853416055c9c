"""What a person decides about calls whose outcome nobody knows: all of a run at once."""

from __future__ import annotations

from enum import StrEnum

from django.db import transaction
from django.db.models.functions import Now

from accounts import audit
from accounts.models import User
from accounts.permissions import require
from generations.models import Generation, Run
from generations.services.ledger import settle_unknown
from generations.services.retrying import replace
from mayagen.common.errors import ConflictError


class Decision(StrEnum):
    """What to do about them."""

    ACCEPT_AS_LOST = "accept_as_lost"
    SEND_AGAIN = "send_again"


class NoUnknownOutcomesError(ConflictError):
    """Nothing is left to decide: there were none, or somebody else has decided."""

    code = "no_unknown_outcomes"
    sentence = "The run has no calls of unknown outcome to decide about."


@transaction.atomic
def decide_unknown_outcomes(*, actor: User, run: Run, decision: Decision) -> int:
    """Close the run's calls of unknown outcome, and return how many there were.

    Accepted as lost, they stay failed, and what they may have cost is counted as spent. Sent again, new
    generations take their places; what the old ones may have cost is counted as spent all the same.

    Raises:
        NoUnknownOutcomesError: There are none.
        QuotaExceededError: A monthly quota leaves less than it is expected to cost to send them again.
        VersionDeletedError: A version of theirs is deleted.
        VersionUnusableError: A model of theirs is not available.
    """
    require(actor, "generations.change_run")
    undecided = Generation.objects.filter(run=run).undecided()
    if decision == Decision.SEND_AGAIN:
        n_decided = len(replace(actor, undecided))
    else:
        ids = list(undecided.order_by("id").select_for_update().values_list("pk", flat=True))
        chosen = Generation.objects.filter(pk__in=ids)
        n_decided = chosen.undecided().update(accepted_as_lost_at=Now())
        settle_unknown(chosen, is_paid=True)
    if not n_decided:
        raise NoUnknownOutcomesError
    audit.record(
        actor=actor,
        verb="decide_unknown_outcomes",
        target=run,
        after={"decision": decision.value, "n_decided": n_decided},
    )
    return n_decided
