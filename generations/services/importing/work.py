"""Work on the imports that wait: a slice of time at once, safe to be killed, doubled or forgotten."""

from __future__ import annotations

import logging
import time
from typing import Final

from django.db.models.functions import Now

from generations.choices import WORKED_IMPORT_STATES, ImportState
from generations.models import DatasetImport
from generations.services.dataset_rows import DatasetImportError
from generations.services.importing.checking import check
from generations.services.importing.claims import MAX_CLAIMS, Claim, ClaimLostError, claim_import, claim_next
from generations.services.importing.cleaning import clean_up, list_expired, list_left
from generations.services.importing.sources import Source, open_source
from generations.services.importing.writing import write
from mayagen.common.errors import DomainError

logger = logging.getLogger(__name__)
# Short, so that generations wait no longer than this for a worker that imports.
SLICE_SECONDS: Final = 30.0
_LOOK_AGAIN_SECONDS: Final = 0.5


class ImportInterruptedError(DomainError):
    """Each worker that began it died over it."""

    code = "import_interrupted"
    sentence = "The import was begun several times and never came to an end. Try a smaller file."


def work_on_imports(*, seconds: float = SLICE_SECONDS) -> bool:
    """Work on what waits for some time, and return whether more waits that nobody works on."""
    deadline = time.monotonic() + seconds
    while (claim := claim_next()) is not None:
        _work_on(claim, deadline=deadline)
        if time.monotonic() >= deadline:
            break
    clean_up()
    return is_import_forgotten()


def is_import_forgotten() -> bool:
    """Return whether something is to be done that nobody does: an import that waits, or what one has left."""
    if DatasetImport.objects.held(Now()).exists():
        return False
    is_waiting = DatasetImport.objects.due(Now()).exists()
    return is_waiting or list_left().exists() or list_expired().exists()


def finish_import(dataset_import: DatasetImport) -> DatasetImport:
    """Work on one import, or wait for whoever does, until it is checked or over; for commands."""
    while dataset_import.state in WORKED_IMPORT_STATES:
        claim = claim_import(dataset_import.pk)
        if claim is None:
            time.sleep(_LOOK_AGAIN_SECONDS)
        else:
            _work_on(claim, deadline=float("inf"))
        dataset_import.refresh_from_db()
    clean_up()
    return dataset_import


def _work_on(claim: Claim, *, deadline: float) -> None:
    dataset_import = DatasetImport.objects.select_related("dataset", "started_by").get(pk=claim.import_id)
    try:
        if dataset_import.n_claims > MAX_CLAIMS:
            raise ImportInterruptedError
        with open_source(dataset_import) as source:
            _advance(claim, dataset_import, source, deadline=deadline)
    except ClaimLostError:
        logger.info("import %s is no longer held by this worker", claim.import_id)
    except DomainError as error:
        _fail(claim, error)


def _advance(claim: Claim, dataset_import: DatasetImport, source: Source, *, deadline: float) -> None:
    if dataset_import.state == ImportState.CHECKING:
        if not check(claim, dataset_import, source, deadline=deadline):
            claim.release()
            return
        dataset_import.refresh_from_db(fields=["n_errors", "n_rows", "n_images", "used_mapping"])
        if not dataset_import.starts_when_checked:
            claim.release(state=ImportState.CHECKED)
            return
        if dataset_import.n_errors:
            raise DatasetImportError(f"{dataset_import.n_errors:,} errors in the file. Nothing was imported.")
        claim.write(state=ImportState.IMPORTING)
    write(claim, dataset_import, source)


def _fail(claim: Claim, error: DomainError) -> None:
    errors = error.extra.get("errors")
    try:
        claim.release(
            state=ImportState.FAILED,
            error_code=error.code,
            error_message=" ".join([error.message, *_list_sentences(error)]),
            finished_at=Now(),
            **({} if errors is None else {"errors": errors, "n_errors": len(errors)}),
        )
    except ClaimLostError:
        logger.info("import %s ended otherwise before it could fail", claim.import_id)


def _list_sentences(error: DomainError) -> list[str]:
    # The sentences of lines stand in the list of errors already.
    return [] if "errors" in error.extra else [text for texts in error.fields.values() for text in texts]
