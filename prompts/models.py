"""What is asked: the catalogue of image models, prompts, their versions, and labels that point to them."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from accounts.models import User
from mayagen.common.models import SoftDeleteModel, UUIDModel
from prompts.choices import AspectRatio, Kind, OutputType, Resolution
from prompts.querysets import (
    ImageModelQuerySet,
    LabelMoveQuerySet,
    LabelQuerySet,
    PromptQuerySet,
    PromptVersionQuerySet,
    ProviderKeyQuerySet,
)


class ImageModel(SoftDeleteModel, UUIDModel):
    """One provider's model: where it is, what it takes, how fast it may be asked, and what it costs."""

    slug = models.SlugField(max_length=80)
    name = models.CharField(max_length=120)
    description = models.TextField(blank=True)
    provider = models.CharField(max_length=40, help_text="The adapter that speaks to it.")
    endpoint = models.CharField(
        max_length=200, blank=True, help_text="The model's or deployment's name at the provider."
    )
    base_url = models.URLField(
        max_length=300, blank=True, help_text="Address of the API; the provider's own when empty."
    )
    credential_name = models.CharField(
        max_length=40,
        blank=True,
        help_text="NAME of the environment variable MAYAGEN_PROVIDER_KEY_NAME that holds the key.",
    )
    provider_options = models.JSONField(default=dict, blank=True)
    kind = models.CharField(max_length=20, choices=Kind.choices, default=Kind.TEXT_TO_IMAGE)
    parameters_schema = models.JSONField(default=dict, blank=True)
    default_parameters = models.JSONField(default=dict, blank=True)
    max_outputs = models.PositiveSmallIntegerField(default=1, validators=[MinValueValidator(1)])
    max_inputs = models.PositiveSmallIntegerField(default=0)
    price_usd = models.DecimalField(
        max_digits=10, decimal_places=6, null=True, blank=True, help_text="For one output, in USD."
    )
    is_free = models.BooleanField(default=False)
    max_in_flight = models.PositiveIntegerField(default=8, validators=[MinValueValidator(1)])
    rate_per_minute = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    timeout_seconds = models.PositiveIntegerField(
        default=120, validators=[MinValueValidator(1), MaxValueValidator(900)]
    )
    max_attempts = models.PositiveSmallIntegerField(default=3, validators=[MinValueValidator(1)])
    repeats_unknown = models.BooleanField(
        default=False,
        help_text="Send again a request whose outcome is unknown, although it may be paid twice.",
    )
    is_active = models.BooleanField(default=True)

    objects = ImageModelQuerySet.as_manager()

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=["slug"], condition=Q(deleted_at__isnull=True), name="image_model_slug_unique"
            ),
            models.CheckConstraint(condition=Q(max_outputs__gte=1), name="image_model_outputs_positive"),
            models.CheckConstraint(condition=Q(max_in_flight__gte=1), name="image_model_in_flight_positive"),
            models.CheckConstraint(condition=Q(max_attempts__gte=1), name="image_model_attempts_positive"),
            models.CheckConstraint(
                condition=Q(price_usd__isnull=True) | Q(price_usd__gte=0),
                name="image_model_price_not_negative",
            ),
        )

    def __str__(self) -> str:
        return self.name


class ProviderKey(UUIDModel):
    """A provider's key, sealed; the engine opens it for a call, and nobody is ever shown it.

    `sealing_key_id` names the sealing key that it was last sealed under.
    """

    name = models.CharField(max_length=40, unique=True)
    sealed_value = models.TextField(editable=False)
    sealing_key_id = models.CharField(max_length=16, editable=False)
    set_at = models.DateTimeField(default=timezone.now, editable=False)
    set_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+", editable=False)

    objects = ProviderKeyQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name


class Prompt(SoftDeleteModel, UUIDModel):
    """A named line of versions."""

    slug = models.SlugField(max_length=80)
    name = models.CharField(max_length=255)
    description = models.TextField(blank=True)
    tags = models.JSONField(default=list, blank=True)
    created_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")

    objects = PromptQuerySet.as_manager()

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=["slug"], condition=Q(deleted_at__isnull=True), name="prompt_slug_unique"
            ),
        )

    def __str__(self) -> str:
        return self.name


class PromptVersion(SoftDeleteModel, UUIDModel):
    """One wording with its model and parameters; may change until its first generation, never after.

    `first_used_at` is set in the transaction that makes that first generation.
    """

    prompt = models.ForeignKey(Prompt, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    parent = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="children"
    )
    change_note = models.CharField(max_length=500, blank=True)
    system_prompt = models.TextField(blank=True)
    user_prompt = models.TextField()
    negative_prompt = models.TextField(blank=True)
    image_model = models.ForeignKey(ImageModel, on_delete=models.PROTECT, related_name="prompt_versions")
    parameters = models.JSONField(default=dict, blank=True)
    output_type = models.CharField(max_length=20, choices=OutputType.choices, default=OutputType.IMAGE)
    n_outputs = models.PositiveSmallIntegerField(default=1, validators=[MinValueValidator(1)])
    aspect_ratio = models.CharField(max_length=8, choices=AspectRatio.choices, default=AspectRatio.SQUARE)
    resolution_px = models.PositiveIntegerField(
        choices=Resolution.choices, default=Resolution.PX_512, help_text="Length of the longer side."
    )
    temperature = models.DecimalField(
        max_digits=3,
        decimal_places=2,
        null=True,
        blank=True,
        validators=[MinValueValidator(0), MaxValueValidator(2)],
    )
    created_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    first_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = PromptVersionQuerySet.as_manager()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=["prompt", "number"], name="prompt_version_number_unique"),
            models.CheckConstraint(condition=Q(number__gte=1), name="prompt_version_number_positive"),
            models.CheckConstraint(condition=~Q(user_prompt=""), name="prompt_version_user_prompt_filled"),
            models.CheckConstraint(condition=Q(n_outputs__gte=1), name="prompt_version_outputs_positive"),
            models.CheckConstraint(
                condition=Q(temperature__isnull=True) | Q(temperature__gte=0, temperature__lte=2),
                name="prompt_version_temperature_range",
            ),
        )

    def __str__(self) -> str:
        return f"{self.prompt} v{self.number}"

    @property
    def is_used(self) -> bool:
        """Whether a generation was ever made from this version, which freezes it."""
        return self.first_used_at is not None


class Label(UUIDModel):
    """A movable pointer such as `production` from a prompt to one of its versions."""

    prompt = models.ForeignKey(Prompt, on_delete=models.PROTECT, related_name="labels")
    name = models.SlugField(max_length=60)
    version = models.ForeignKey(PromptVersion, on_delete=models.PROTECT, related_name="labels")
    updated_at = models.DateTimeField(auto_now=True)

    objects = LabelQuerySet.as_manager()

    class Meta:
        constraints = (models.UniqueConstraint(fields=["prompt", "name"], name="label_name_unique"),)

    def __str__(self) -> str:
        return self.name


class LabelMove(UUIDModel):
    """One move of a label: where it pointed before, where after, and who moved it."""

    prompt = models.ForeignKey(Prompt, on_delete=models.PROTECT, related_name="label_moves")
    name = models.SlugField(max_length=60)
    from_version = models.ForeignKey(PromptVersion, null=True, on_delete=models.PROTECT, related_name="+")
    to_version = models.ForeignKey(PromptVersion, null=True, on_delete=models.PROTECT, related_name="+")
    actor = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")

    objects = LabelMoveQuerySet.as_manager()

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=Q(from_version__isnull=True)
                | Q(to_version__isnull=True)
                | ~Q(from_version=F("to_version")),
                name="label_move_changes_something",
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} moved"
