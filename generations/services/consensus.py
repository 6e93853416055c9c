"""Write what people think of images into the rows of this app; the caller has worked it out."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from django.db import connection, transaction

from generations.models import Generation, InputImage, OutputImage
from mayagen.common.errors import NotFoundError
from mayagen.common.statements import Statement, read_and_write, run_each

_SET_OF_OUTPUT: Final = "UPDATE generations_outputimage SET rating = %s WHERE id = %s"
_SET_OF_GENERATION: Final = """
UPDATE generations_generation g SET result_rating = %s FROM generations_outputimage o
WHERE o.id = %s AND g.id = o.generation_id RETURNING g.id
"""


@transaction.atomic(savepoint=False)
def set_consensus(
    *,
    output_image_id: uuid.UUID,
    output_rating: Decimal | None,
    generation_rating: Decimal | None,
    along: Sequence[Statement] = (),
) -> None:
    """Write the consensus of one output and of the generation that it belongs to.

    Called in the transaction that saved a rating, so that ratings and consensus are never seen apart.

    Args:
        output_image_id: The output that was rated.
        output_rating: Mean of its standing ratings, two decimals; None when it has none.
        generation_rating: The same over all outputs of its generation.
        along: Further writes, made in the same round trip.

    Raises:
        NotFoundError: There is no such output.
    """
    if connection.vendor == "postgresql":
        # Part of every rating, so in one round trip.
        of_output = Statement(_SET_OF_OUTPUT, [output_rating, output_image_id])
        of_generation = Statement(_SET_OF_GENERATION, [generation_rating, output_image_id])
        if not read_and_write(of_generation, [of_output, *along]):
            raise NotFoundError
        return
    if not OutputImage.objects.filter(pk=output_image_id).update(rating=output_rating):
        raise NotFoundError
    generation_id = OutputImage.objects.filter(pk=output_image_id).values("generation")
    Generation.objects.filter(pk__in=generation_id).update(result_rating=generation_rating)
    run_each(along)


def set_input_rating(*, input_image_id: uuid.UUID, rating: Decimal | None) -> None:
    """Write the consensus of one input image.

    Raises:
        NotFoundError: There is no such input image.
    """
    if not InputImage.objects.filter(pk=input_image_id).update(rating=rating):
        raise NotFoundError
