"""One row of every kind, with markup in every text that takes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.db import models
from django.urls import reverse

from accounts import audit
from accounts.models import AuditEntry, IdempotencyRecord, RateBucket, User
from evaluations.models import ReviewQueue
from generations.models import Run
from mayagen.admin_site import PRODUCT_APPS
from prompts.models import LabelMove
from tests.accounts.factories import UserFactory
from tests.evaluations.factories import make_queue, rate, take
from tests.generations.factories import (
    AttemptFactory,
    DatasetImportFactory,
    DatasetItemFactory,
    GenerationFactory,
    InputImageFactory,
    ProviderHealthFactory,
    QuotaFactory,
)
from tests.prompts.factories import LabelFactory, PromptVersionFactory, ProviderKeyFactory

CANARY = "<script>canary</script>'\"{{7*7}}"
MARKUP = b"<script>canary"
STORED_KEY = "sk-canary-key-in-the-database"
ADMIN_PAGES = ("index", "analytics", "overview", "queue-status", "spending")
# Vocabularies, addresses, names of files and keys: text that nobody types freely.
_NOT_FREE = {
    *("slug", "email", "password", "endpoint", "base_url", "credential_name", "object_type", "verb"),
    *("mime_type", "sha256", "object_id", "provider", "sealed_value", "sealing_key_id"),
}


@dataclass(frozen=True)
class World:
    """What there is: a row of each model, who rated, and who wrote it all and has no name."""

    rows: dict[type[models.Model], models.Model]
    evaluator: User
    author: User

    def get(self, label: str) -> Any:
        """Return the row of a model such as `prompts.Prompt`."""
        return self.rows[apps.get_model(label)]


def make_world() -> World:
    """Make the rows, rated by an evaluator and written by an author."""
    author = UserFactory(role="admin", email="the.author@example.org", name="")
    evaluator = UserFactory(role="evaluator", email="the.evaluator@example.org")
    queue = make_queue(3, evaluators=[evaluator])
    assignment = rate(queue, evaluator, note=CANARY)
    take(queue, evaluator)
    output = assignment.output_image
    generation = output.generation
    InputImageFactory(generation=generation)
    AttemptFactory(generation=generation)
    GenerationFactory(failed=True, run=generation.run, prompt_version=generation.prompt_version)
    version = generation.prompt_version
    PromptVersionFactory(prompt=version.prompt, parent=version, number=99)
    LabelFactory(version=version, prompt=version.prompt)
    LabelMove.objects.create(prompt=version.prompt, name="candidate", to_version=version, actor=author)
    item = DatasetItemFactory()
    DatasetImportFactory(dataset=item.dataset_version.dataset)
    ProviderHealthFactory(opened=True)
    ProviderKeyFactory(name="STORED", value=STORED_KEY)
    QuotaFactory(user=author, limit_usd=100)
    _spoil_texts()
    User.objects.filter(pk=author.pk).update(name="")
    version.prompt.refresh_from_db()
    audit.record(actor=author, verb="create_prompt", target=version.prompt, after={CANARY: CANARY})
    for model in list_own_models():
        if any(field.name == "created_by" for field in model._meta.fields):
            model._default_manager.update(created_by=author)
    rows = {model: row for model in list_own_models() if (row := model._default_manager.first())}
    rows |= {ReviewQueue: queue, type(generation): generation, type(version): version}
    rows |= {type(version.prompt): version.prompt, type(assignment): assignment}
    if generation.run is not None:
        rows[Run] = generation.run
    return World(rows=rows, evaluator=evaluator, author=author)


def list_own_models() -> list[type[models.Model]]:
    """Return the product's own models."""
    return [model for model in apps.get_models() if model._meta.app_label in PRODUCT_APPS]


def _spoil_texts() -> None:
    for model in list_own_models():
        if model in {AuditEntry, RateBucket, IdempotencyRecord}:
            continue  # The first refuses any change; the others hold no text of people.
        fields = [field for field in model._meta.fields if _is_free_text(field)]
        for number, pk in enumerate(model._default_manager.values_list("pk", flat=True)):
            values = {field.name: _spoil(field, number) for field in fields}
            if values:
                model._default_manager.filter(pk=pk).update(**values)


def _is_free_text(field: Any) -> bool:
    is_text = type(field) in {models.CharField, models.TextField, models.JSONField}
    return is_text and not field.choices and not field.unique and field.name not in _NOT_FREE


def _spoil(field: Any, number: int) -> Any:
    text = f"<script>canary{number}</script>'\"{{{{7*7}}}}"
    if field.name == "parameters_schema":
        return {"properties": {text: {"type": "string", "title": text, "description": text}}}
    if isinstance(field, models.JSONField):
        return [text] if field.default is list else {text: text}
    return text[: field.max_length]


def list_admin_addresses(world: World) -> Iterator[str]:
    """Yield the address of every page of the admin that shows something."""
    yield from (reverse(f"admin:{name}") for name in ADMIN_PAGES)
    for model in admin.site._registry:
        yield from list_model_addresses(model, world)
    version, run = world.get("prompts.PromptVersion"), world.get("generations.Run")
    other = type(version)._default_manager.exclude(pk=version.pk).filter(prompt=version.prompt).first()
    yield f"{reverse('admin:prompts_promptversion_compare')}?version={version.pk}&version={other.pk}"
    yield f"{reverse('admin:generations_run_launch')}?version={version.pk}"
    yield reverse("admin:generations_run_test_model", args=[version.image_model_id])
    yield reverse("admin:generations_run_progress", args=[run.pk])
    dataset, dataset_import = world.get("generations.Dataset"), world.get("generations.DatasetImport")
    yield reverse("admin:generations_dataset_imported", args=[dataset_import.pk])
    yield reverse("admin:generations_dataset_import_state", args=[dataset_import.pk])
    yield reverse("admin:generations_dataset_item", args=[dataset.pk])
    yield reverse("admin:generations_generation_part", args=[world.get("generations.Generation").pk])


def list_model_addresses(model: type[models.Model], world: World) -> Iterator[str]:
    """Yield the addresses of a model's list, of a new row and of one that is there."""
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    yield reverse(f"{name}_changelist")
    yield reverse(f"{name}_add")
    yield reverse(f"{name}_change", args=[world.rows[model].pk])
