"""Which prompts, versions, labels and image models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from django.db.models import QuerySet

from accounts.models import User
from accounts.permissions import can
from mayagen.common.models import SoftDeleteQuerySet

if TYPE_CHECKING:
    from prompts.models import ImageModel, Label, LabelMove, Prompt, PromptVersion, ProviderKey


class ImageModelQuerySet(SoftDeleteQuerySet["ImageModel"]):
    """Catalogue entries."""

    def active(self) -> Self:
        """Keep the entries that new versions and runs may use."""
        return self.alive().filter(is_active=True)

    def visible_to(self, actor: User) -> Self:
        """Keep what the actor may see."""
        return self if can(actor, "prompts.view_imagemodel") else self.none()


class ProviderKeyQuerySet(QuerySet["ProviderKey"]):
    """Sealed keys of providers."""

    def visible_to(self, actor: User) -> Self:
        """Keep what the actor may know of."""
        return self if can(actor, "prompts.view_providerkey") else self.none()


class PromptQuerySet(SoftDeleteQuerySet["Prompt"]):
    """Prompts."""

    def visible_to(self, actor: User) -> Self:
        """Keep what the actor may see."""
        return self if can(actor, "prompts.view_prompt") else self.none()


class PromptVersionQuerySet(SoftDeleteQuerySet["PromptVersion"]):
    """Versions of prompts."""

    def usable(self) -> Self:
        """Keep the versions that a new run may use: neither they nor their prompt nor model deleted."""
        return self.alive().filter(
            prompt__deleted_at__isnull=True, image_model__deleted_at__isnull=True, image_model__is_active=True
        )

    def visible_to(self, actor: User) -> Self:
        """Keep what the actor may see."""
        return self if can(actor, "prompts.view_promptversion") else self.none()


class LabelQuerySet(QuerySet["Label"]):
    """Labels."""

    def visible_to(self, actor: User) -> Self:
        """Keep what the actor may see."""
        return self if can(actor, "prompts.view_label") else self.none()


class LabelMoveQuerySet(QuerySet["LabelMove"]):
    """Moves of labels."""

    def visible_to(self, actor: User) -> Self:
        """Keep what the actor may see."""
        return self if can(actor, "prompts.view_label") else self.none()
