"""Datasets, runs, generations and images for tests; image rows have real files in the test's own storage."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import factory
from django.core.files.storage import default_storage
from django.utils import timezone
from factory.django import DjangoModelFactory
from PIL import Image, ImageDraw

from generations.choices import AttemptState, BreakerState, ErrorCode, ImageRole, ImportState, Status
from generations.image_files import StoredFiles, store_image
from generations.models import (
    Attempt,
    Dataset,
    DatasetImport,
    DatasetItem,
    DatasetItemImage,
    DatasetVersion,
    Generation,
    InputImage,
    OutputImage,
    ProviderHealth,
    Quota,
    Run,
)

_FINISHED_AFTER = timedelta(seconds=2)


@lru_cache(maxsize=64)
def make_png(number: int = 0, *, width: int = 64, height: int = 48) -> bytes:
    """Return the bytes of a small PNG that differs from number to number."""
    background = (40 + 37 * number % 200, 40 + 71 * number % 200, 40 + 113 * number % 200)
    image = Image.new("RGB", (width, height), background)
    ImageDraw.Draw(image).ellipse((width // 4, height // 4, width // 2 + number % 8, height // 2), "white")
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


@lru_cache(maxsize=256)
def _store_once(location: str, number: int) -> StoredFiles:
    return store_image(make_png(number), folder="outputs")


def make_stored_files(number: int = 0) -> StoredFiles:
    """Return small stored files; the same ones for the same number as long as the storage is the same."""
    return _store_once(str(getattr(default_storage, "location", "")), number % 6)


class DatasetFactory(DjangoModelFactory):
    """A dataset without versions."""

    class Meta:
        model = Dataset

    slug = factory.Sequence(lambda n: f"dataset-{n}")
    name = factory.Sequence(lambda n: f"Dataset {n}")


class DatasetVersionFactory(DjangoModelFactory):
    """A version without items."""

    class Meta:
        model = DatasetVersion

    dataset = factory.SubFactory(DatasetFactory)
    number = factory.LazyAttribute(lambda version: version.dataset.versions.count() + 1)


class DatasetItemFactory(DjangoModelFactory):
    """A case with one variable, `subject`."""

    class Meta:
        model = DatasetItem

    dataset_version = factory.SubFactory(DatasetVersionFactory)
    position = factory.LazyAttribute(lambda item: item.dataset_version.items.count())
    key = factory.Sequence(lambda n: f"item-{n}")
    brief = factory.Sequence(lambda n: f"A lighthouse number {n}.")
    variables = factory.Sequence(lambda n: {"subject": f"lighthouse {n}"})
    tags = factory.LazyFunction(lambda: ["buildings"])


class DatasetImportFactory(DjangoModelFactory):
    """A file without rows that was checked, whose upload is gone."""

    class Meta:
        model = DatasetImport

    dataset = factory.SubFactory(DatasetFactory)
    file_name = "items.csv"
    state = ImportState.CHECKED


class RunFactory(DjangoModelFactory):
    """A run without generations; give `prompt_versions=[…]` to name its versions."""

    class Meta:
        model = Run
        skip_postgeneration_save = True

    name = factory.Sequence(lambda n: f"Run {n}")

    @factory.post_generation
    def prompt_versions(self, create: bool, extracted: Any, **kwargs: Any) -> None:
        if create and extracted:
            self.prompt_versions.set(extracted)


class _StoredImageFactory(DjangoModelFactory):
    """The files and facts of one image; `content=` gives other bytes than the shared small ones."""

    class Meta:
        abstract = True

    @classmethod
    def _adjust_kwargs(cls, **kwargs: Any) -> dict[str, Any]:
        content = kwargs.pop("content", None)
        number = kwargs.get("position", 0)
        stored = store_image(content, folder="outputs") if content else make_stored_files(number)
        return {**stored.as_fields(), **kwargs}


class DatasetItemImageFactory(_StoredImageFactory):
    """An input image of a case."""

    class Meta:
        model = DatasetItemImage

    item = factory.SubFactory(DatasetItemFactory)
    position = factory.LazyAttribute(lambda image: image.item.images.count())
    role = ImageRole.REFERENCE


class InputImageFactory(_StoredImageFactory):
    """An input image of a generation."""

    class Meta:
        model = InputImage

    generation = factory.SubFactory("tests.generations.factories.GenerationFactory")
    position = factory.LazyAttribute(lambda image: image.generation.inputs.count())
    role = ImageRole.REFERENCE


class OutputImageFactory(_StoredImageFactory):
    """An output image; its generation is a completed one."""

    class Meta:
        model = OutputImage

    generation = factory.SubFactory(
        "tests.generations.factories.GenerationFactory", completed=True, outputs=None
    )
    position = factory.LazyAttribute(lambda image: image.generation.outputs.count())


class GenerationFactory(DjangoModelFactory):
    """A queued generation; `completed=True` has one output with real files (`outputs=None`: without)."""

    class Meta:
        model = Generation
        skip_postgeneration_save = True

    prompt_version = factory.SubFactory("tests.prompts.factories.PromptVersionFactory")
    image_model = factory.SelfAttribute("prompt_version.image_model")
    run = factory.SubFactory(RunFactory)
    case_key = factory.Sequence(lambda n: f"case-{n}")
    brief = factory.Sequence(lambda n: f"A lighthouse number {n}.")
    variables = factory.LazyFunction(lambda: {"subject": "lighthouse"})
    rendered_prompt = "A painting of a lighthouse."
    seed = 1
    width_px = 512
    height_px = 512
    # SQLite's clock counts milliseconds: what is made and claimed within one would not be due yet.
    due_at = factory.LazyFunction(lambda: timezone.now() - timedelta(milliseconds=2))

    class Params:
        processing = factory.Trait(
            status=Status.PROCESSING,
            fence=1,
            n_attempts=1,
            worker="worker-1",
            started_at=factory.LazyFunction(timezone.now),
            lease_expires_at=factory.LazyFunction(lambda: timezone.now() + timedelta(minutes=1)),
        )
        completed = factory.Trait(
            status=Status.COMPLETED,
            fence=1,
            n_attempts=1,
            started_at=factory.LazyFunction(lambda: timezone.now() - _FINISHED_AFTER),
            finished_at=factory.LazyFunction(timezone.now),
            duration_ms=2_000,
            outputs=factory.RelatedFactory(OutputImageFactory, factory_related_name="generation"),
        )
        failed = factory.Trait(
            status=Status.FAILED,
            fence=1,
            n_attempts=1,
            started_at=factory.LazyFunction(lambda: timezone.now() - _FINISHED_AFTER),
            finished_at=factory.LazyFunction(timezone.now),
            error_code=ErrorCode.REFUSED,
            error_message="The provider refused the request under its content policy.",
        )
        cancelled = factory.Trait(
            status=Status.CANCELLED, finished_at=factory.LazyFunction(lambda: datetime.now(UTC))
        )


class AttemptFactory(DjangoModelFactory):
    """A call that succeeded."""

    class Meta:
        model = Attempt

    generation = factory.SubFactory(GenerationFactory, completed=True, outputs=None)
    image_model = factory.SelfAttribute("generation.image_model")
    number = factory.LazyAttribute(lambda attempt: attempt.generation.attempts.count() + 1)
    state = AttemptState.SUCCEEDED
    fence = 1
    idempotency_key = factory.Sequence(lambda n: f"attempt-{n}")
    answered_at = factory.LazyFunction(timezone.now)
    duration_ms = 2_000


class QuotaFactory(DjangoModelFactory):
    """A quota of the whole installation without limits; give `user`, `limit_generations`, `limit_usd`."""

    class Meta:
        model = Quota


class ProviderHealthFactory(DjangoModelFactory):
    """An address that was in trouble; trait `opened` is one that is not called now."""

    class Meta:
        model = ProviderHealth

    class Params:
        opened = factory.Trait(
            state=BreakerState.OPEN,
            n_failures=5,
            n_openings=1,
            opened_at=factory.LazyFunction(timezone.now),
            blocked_until=factory.LazyFunction(lambda: timezone.now() + timedelta(minutes=5)),
        )

    provider = "openai"
    base_url = factory.Sequence(lambda n: f"https://images-{n}.example.com/v1")
    last_failed_at = factory.LazyFunction(timezone.now)
    last_error_code = ErrorCode.PROVIDER_UNAVAILABLE
    last_error_message = "The provider could not be reached or failed on its side."
