"""The evaluations app."""

from django.apps import AppConfig


class EvaluationsConfig(AppConfig):
    """Registers the evaluations app."""

    name = "evaluations"
