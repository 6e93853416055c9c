"""The prompts app."""

from django.apps import AppConfig


class PromptsConfig(AppConfig):
    """Registers the prompts app."""

    name = "prompts"
