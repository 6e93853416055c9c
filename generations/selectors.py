"""Reads that span the models of this app."""

from __future__ import annotations

import uuid

from accounts.models import User
from generations.models import DatasetItem, DatasetItemImage, InputImage, OutputImage, StoredImage


def get_visible_image(*, actor: User, image_id: uuid.UUID) -> StoredImage | None:
    """Return the output, input or dataset image of that id, or None if the actor may see no such image."""
    output = OutputImage.objects.visible_to(actor).filter(pk=image_id).first()
    if output is not None:
        return output
    given = InputImage.objects.visible_to(actor).filter(pk=image_id).first()
    if given is not None:
        return given
    items = DatasetItem.objects.visible_to(actor)
    return DatasetItemImage.objects.filter(pk=image_id, item__in=items).first()
