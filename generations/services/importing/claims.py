"""Who works on an import: a lease on the database's clock, and a number that fences off late workers."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.db.models import Case, F, Value, When
from django.db.models.functions import Now

from generations.choices import WORKED_IMPORT_STATES, ImportState
from generations.models import DatasetImport

LEASE: Final = timedelta(minutes=3)
# How often a worker may die over one import before nobody tries any more.
MAX_CLAIMS: Final = 5


class ClaimLostError(Exception):
    """The import was cancelled, or another worker has taken it: write nothing."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One worker's hold on one import."""

    import_id: uuid.UUID
    fence: int

    def write(self, **values: Any) -> None:
        """Set values of the import and hold it for another while.

        Raises:
            ClaimLostError: It is held no longer; nothing was set.
        """
        self._set(lease_expires_at=Now() + LEASE, **values)

    def release(self, **values: Any) -> None:
        """Set values of the import and let go of it, so that whoever comes next may work on.

        Raises:
            ClaimLostError: It is held no longer; nothing was set.
        """
        self._set(lease_expires_at=None, n_claims=0, **values)

    def _set(self, **values: Any) -> None:
        held = DatasetImport.objects.filter(
            pk=self.import_id, fence=self.fence, state__in=WORKED_IMPORT_STATES
        )
        if not held.update(updated_at=Now(), **values):
            raise ClaimLostError


def claim_next() -> Claim | None:
    """Take the import that nobody has worked on for longest; None when none waits, or one is worked on.

    One at a time, so that imports never take the workers that generations need. That is a courtesy, and no
    lock: what keeps two workers off one import is the conditional update.
    """
    if DatasetImport.objects.held(Now()).exists():
        return None
    waiting = DatasetImport.objects.due(Now()).order_by("updated_at", "id")
    for import_id in waiting.values_list("pk", flat=True):
        claim = claim_import(import_id)
        if claim is not None:
            return claim
    return None


def claim_import(import_id: uuid.UUID) -> Claim | None:
    """Take one import, or return None when it does not wait for a worker."""
    is_new = When(state=ImportState.UPLOADED, then=Value(ImportState.CHECKING))
    fence = DatasetImport.objects.filter(pk=import_id).values_list("fence", flat=True).first()
    if fence is None:
        return None
    waiting = DatasetImport.objects.due(Now()).filter(pk=import_id, fence=fence)
    is_taken = waiting.update(
        fence=F("fence") + 1,
        n_claims=F("n_claims") + 1,
        lease_expires_at=Now() + LEASE,
        state=Case(is_new, default=F("state")),
        updated_at=Now(),
    )
    return Claim(import_id, fence + 1) if is_taken else None
