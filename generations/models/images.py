"""Files of generations: what went in and what came out."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from generations.choices import ImageRole
from generations.querysets import InputImageQuerySet, OutputImageQuerySet
from mayagen.common.models import UUIDModel


class StoredImage(UUIDModel):
    """An image whose bytes were checked, decoded and synced to storage before this row was written.

    `blind` is the one re-encoded copy that evaluators are shown. The copies of an output are made right
    after its generation has completed; until then their names are empty.
    """

    file = models.FileField(max_length=200)
    thumbnail = models.FileField(max_length=200, blank=True)
    small_thumbnail = models.FileField(max_length=200, blank=True)
    blind = models.FileField(max_length=200, blank=True)
    width_px = models.PositiveIntegerField()
    height_px = models.PositiveIntegerField()
    size_bytes = models.PositiveBigIntegerField()
    mime_type = models.CharField(max_length=40)
    sha256 = models.CharField(max_length=64)

    class Meta:
        abstract = True


class DatasetItemImage(StoredImage):
    """An input image of a dataset item; generations of that item share its stored files."""

    item = models.ForeignKey("generations.DatasetItem", on_delete=models.CASCADE, related_name="images")
    position = models.PositiveSmallIntegerField(default=0)
    role = models.CharField(max_length=12, choices=ImageRole.choices, default=ImageRole.REFERENCE)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=["item", "position"], name="dataset_item_image_position_unique"),
        )

    def __str__(self) -> str:
        return f"{self.role} {self.position}"


class InputImage(StoredImage):
    """An image that a generation was given."""

    generation = models.ForeignKey("generations.Generation", on_delete=models.PROTECT, related_name="inputs")
    position = models.PositiveSmallIntegerField(default=0)
    role = models.CharField(max_length=12, choices=ImageRole.choices, default=ImageRole.REFERENCE)
    rating = models.DecimalField(max_digits=4, decimal_places=2, null=True, editable=False)

    objects = InputImageQuerySet.as_manager()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=["generation", "position"], name="input_image_position_unique"),
        )

    def __str__(self) -> str:
        return f"{self.role} {self.position}"


class OutputImage(StoredImage):
    """An image that a generation made; `rating` is the consensus of its raters, null until rated.

    `perceptual_hash` is made with the copies. `is_near_duplicate` is null until the output has been compared
    with the others of its run; of those that look nearly the same, all but one point to that one.
    """

    generation = models.ForeignKey("generations.Generation", on_delete=models.PROTECT, related_name="outputs")
    position = models.PositiveSmallIntegerField(default=0)
    rating = models.DecimalField(max_digits=4, decimal_places=2, null=True, editable=False)
    perceptual_hash = models.BigIntegerField(null=True, editable=False)
    is_near_duplicate = models.BooleanField(null=True, editable=False)
    near_duplicate_of = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, editable=False, db_index=False, related_name="+"
    )

    objects = OutputImageQuerySet.as_manager()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=["generation", "position"], name="output_image_position_unique"),
        )
        indexes = (
            models.Index(fields=["id"], name="output_image_unrated", condition=Q(rating__isnull=True)),
            models.Index(fields=["-rating", "-id"], name="output_image_rating"),
            models.Index(fields=["generation", "rating"], name="output_image_rated"),
            models.Index(fields=["id"], name="output_image_unprepared", condition=Q(blind="")),
            models.Index(
                fields=["id"],
                name="output_image_uncompared",
                condition=Q(is_near_duplicate__isnull=True) & ~Q(blind=""),
            ),
            models.Index(
                fields=["generation"], name="output_image_duplicate", condition=Q(is_near_duplicate=True)
            ),
        )

    def __str__(self) -> str:
        return f"Output {self.position + 1}"
