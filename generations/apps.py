"""The generations app."""

from django.apps import AppConfig


class GenerationsConfig(AppConfig):
    """Registers the generations app."""

    name = "generations"
