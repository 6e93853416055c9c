"""What the task queue runs; messages carry no arguments, and each task is safe to run twice."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.db.models.functions import Now

from generations.engine.adopting import list_forsaken
from generations.engine.drain import DrainLimits
from generations.engine.drain import drain as drain_due
from generations.engine.draining_places import PLACES
from generations.engine.preparing import prepare_forgotten
from generations.engine.recovering import close_cancelled_attempts, recover_abandoned
from generations.engine.stopping import is_cluster_stopping
from generations.engine.waiting import get_seconds_until_due
from generations.models import Generation
from generations.services.importing.work import is_import_forgotten, work_on_imports
from generations.services.near_duplicates import compare_outputs, hash_outputs
from generations.services.orphans import collect_orphans
from generations.waking import wake_engine, wake_importer

COLLECTION_SECONDS: Final = 300.0
LINGER: Final = timedelta(seconds=DrainLimits().linger_seconds)


def drain() -> None:
    """Generate everything that is due, if this worker may drain; ask for another drain when more is.

    Else those who drain already claim what is due: nothing is left to this one.
    """
    place = PLACES.take()
    if place is None:
        return
    has_asked = False

    def make_room() -> None:
        """Let another worker drain while this one waits for what it has claimed, and makes copies."""
        nonlocal has_asked
        place.close()
        # Only now: of what was queued since the last claim, the messages were in vain.
        has_asked = _ask_for_more()

    with place:
        drain_due(claimed=make_room)
    if not has_asked:
        # What has failed meanwhile may have been queued again.
        _ask_for_more()
    compare_outputs()


def import_datasets() -> None:
    """Work on uploaded datasets for a while; ask for another turn when more waits."""
    if work_on_imports():
        wake_importer()


def sweep() -> None:
    """Find what no wake-up told of: lapsed leases, due rows, attempts of cancelled work, copies, imports."""
    recover_abandoned()
    close_cancelled_attempts()
    prepare_forgotten()
    if Generation.objects.due(Now()).exists() or list_forsaken().exists():
        wake_engine()
    if is_import_forgotten():
        wake_importer()
    hash_outputs()
    compare_outputs()


def collect_orphaned_files() -> None:
    """Remove stored files that no row names; what there is no time for today is left for another day."""
    collect_orphans(seconds=COLLECTION_SECONDS)


def _ask_for_more() -> bool:
    """Ask for a drain if something is due soon, unless this cluster stops; return whether that was so."""
    if is_cluster_stopping() or get_seconds_until_due(within=LINGER) is None:
        return False
    wake_engine()
    return True
