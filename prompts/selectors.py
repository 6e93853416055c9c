"""Reads that several pages of this app and its API share."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from django.conf import settings
from django.db.models import Count, OuterRef, Prefetch, QuerySet, Subquery
from django.db.models.functions import Coalesce

from prompts.diffing import FieldChange, diff_fields
from prompts.models import Label, Prompt, PromptVersion, ProviderKey
from prompts.querysets import PromptQuerySet, PromptVersionQuerySet
from prompts.rendering import TemplateSyntaxError, list_variables
from prompts.sealing import SealBrokenError, Sealer

# What a version says; its number, note and author are about it.
CONTENT_FIELDS = (
    "system_prompt",
    "user_prompt",
    "negative_prompt",
    "image_model",
    "parameters",
    "output_type",
    "n_outputs",
    "aspect_ratio",
    "resolution_px",
    "temperature",
)


def with_overview(prompts: PromptQuerySet) -> PromptQuerySet:
    """Return the prompts with `n_versions`, `newest_version_id`, `newest_number` and their labels.

    Deleted versions count in none of them.
    """
    alive = PromptVersion.objects.alive().filter(prompt=OuterRef("pk"))
    newest = alive.order_by("-number")
    counted = alive.order_by().values("prompt").annotate(n=Count("pk")).values("n")
    return prompts.annotate(
        n_versions=Coalesce(Subquery(counted), 0),
        newest_version_id=Subquery(newest.values("pk")[:1]),
        newest_number=Subquery(newest.values("number")[:1]),
    ).prefetch_related(Prefetch("labels", list_labels()))


def with_context(versions: PromptVersionQuerySet) -> PromptVersionQuerySet:
    """Return the versions with their prompt, model, parent, author and labels, in two queries."""
    return versions.select_related("prompt", "image_model", "parent", "created_by").prefetch_related(
        Prefetch("labels", Label.objects.order_by("name"))
    )


def list_labels() -> QuerySet[Label]:
    """Return labels by name, with their versions."""
    return Label.objects.select_related("version").order_by("name")


def list_version_variables(version: PromptVersion) -> tuple[str, ...]:
    """Return the variables of all templates of a version, each once, in the order of their use."""
    names: dict[str, None] = {}
    for template in (version.system_prompt, version.user_prompt, version.negative_prompt):
        try:
            names.update(dict.fromkeys(list_variables(template)))
        except TemplateSyntaxError:
            # Nothing that can't be read is ever saved by a verb; an import by SQL is shown all the same.
            continue
    return tuple(names)


def compare_versions(before: PromptVersion, after: PromptVersion) -> tuple[FieldChange, ...]:
    """Return in which fields two versions differ, and where."""
    return diff_fields(_describe(before), _describe(after))


def get_newest_version(prompt: Prompt) -> PromptVersion | None:
    """Return the prompt's version with the highest number that is not deleted."""
    return with_context(PromptVersion.objects.alive()).filter(prompt=prompt).order_by("-number").first()


def _describe(version: PromptVersion) -> dict[str, object]:
    values: dict[str, object] = {name: getattr(version, name) for name in CONTENT_FIELDS}
    values["image_model"] = version.image_model.name
    return values


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A provider's key, or the sentence that says why there is none."""

    value: str | None = field(default=None, repr=False)
    fault: str = ""


def find_provider_key(name: str) -> FoundKey:
    """Return the key of that name: the environment's, else the stored one, which costs one query.

    For the engine alone. No name asks for no key.
    """
    if not name:
        return FoundKey()
    if name in settings.PROVIDER_KEYS:
        return FoundKey(settings.PROVIDER_KEYS[name])
    sealed = ProviderKey.objects.filter(name=name).values_list("sealed_value", flat=True).first()
    if sealed is None:
        return FoundKey(
            fault=f"There is no key {name}: none is stored, and the environment variable"
            f" MAYAGEN_PROVIDER_KEY_{name} is not set."
        )
    try:
        return FoundKey(Sealer(settings.SEALING_KEYS).open(name=name, sealed=sealed))
    except SealBrokenError:
        return FoundKey(fault=f"The stored key {name} opens with none of MAYAGEN_SEALING_KEYS. Set it again.")


def describe_key_source(name: str, *, stored: Collection[str]) -> str:
    """Return where the key of that name comes from, for people: `environment`, `stored` or `missing`.

    Args:
        stored: The names of the stored keys.
    """
    if name in settings.PROVIDER_KEYS:
        return "environment"
    return "stored" if name in stored else "missing"
