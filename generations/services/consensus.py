"""Write what people think of images into the rows of this app; the caller has worked it out."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Final

from django.db import connection, transaction

from generations.models import Generation, InputImage, OutputImage
from mayagen.common.errors import NotFoundError

_SET_BOTH: Final = """
WITH rated AS (UPDATE generations_outputimage SET rating = %s WHERE id = %s RETURNING generation_id)
UPDATE generations_generation g SET result_rating = %s FROM rated WHERE g.id = rated.generation_id
"""


@transaction.atomic(savepoint=False)
def set_consensus(
    *, output_image_id: uuid.UUID, output_rating: Decimal | None, generation_rating: Decimal | None
) -> None:
    """Write the consensus of one output and of the generation that it belongs to.

    Called in the transaction that saved a rating, so that ratings and consensus are never seen apart.

    Args:
        output_image_id: The output that was rated.
        output_rating: Mean of its standing ratings, two decimals; None when it has none.
        generation_rating: The same over all outputs of its generation.

    Raises:
        NotFoundError: There is no such output.
    """
    if connection.vendor == "postgresql":
        # Part of every rating, so in one round trip.
        with connection.cursor() as cursor:
            cursor.execute(_SET_BOTH, [output_rating, output_image_id, generation_rating])
            if not cursor.rowcount:
                raise NotFoundError
        return
    if not OutputImage.objects.filter(pk=output_image_id).update(rating=output_rating):
        raise NotFoundError
    generation_id = OutputImage.objects.filter(pk=output_image_id).values("generation")
    Generation.objects.filter(pk__in=generation_id).update(result_rating=generation_rating)


def set_input_rating(*, input_image_id: uuid.UUID, rating: Decimal | None) -> None:
    """Write the consensus of one input image.

    Raises:
        NotFoundError: There is no such input image.
    """
    if not InputImage.objects.filter(pk=input_image_id).update(rating=rating):
        raise NotFoundError
