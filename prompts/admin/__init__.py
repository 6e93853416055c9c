"""The admin's pages of prompts, versions, labels and image models."""

from prompts.admin.image_models import ImageModelAdmin
from prompts.admin.prompts import PromptAdmin
from prompts.admin.provider_keys import ProviderKeyAdmin
from prompts.admin.versions import PromptVersionAdmin

__all__ = ["ImageModelAdmin", "PromptAdmin", "PromptVersionAdmin", "ProviderKeyAdmin"]
