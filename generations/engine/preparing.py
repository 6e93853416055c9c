"""Make the copies that a dead worker left unmade."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Final

from django.db.models.functions import Now

from generations.engine.transitions import Prepared, apply_all
from generations.image_files import discard_files, store_copies
from generations.media.errors import MediaError
from generations.models import OutputImage

logger = logging.getLogger(__name__)
BATCH_SIZE: Final = 100
GRACE: Final = timedelta(seconds=60)


def prepare_forgotten() -> int:
    """Make the copies of outputs that have been without for a minute, and return how many were made."""
    forgotten = OutputImage.objects.unprepared().filter(created_at__lt=Now() - GRACE).order_by("id")
    n_prepared = 0
    for image in forgotten[:BATCH_SIZE]:
        try:
            copies = store_copies(str(image.file))
        except (MediaError, OSError):
            logger.exception("the copies of output %s could not be made", image.pk)
            continue
        if apply_all([Prepared(image.pk, copies)])[0]:
            n_prepared += 1
        else:
            discard_files(copies.list_names())
    return n_prepared
