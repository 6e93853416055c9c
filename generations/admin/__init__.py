"""The admin's pages of datasets, runs and generations."""

from generations.admin.datasets import DatasetAdmin
from generations.admin.generations import GenerationAdmin
from generations.admin.health import ProviderHealthAdmin
from generations.admin.quotas import QuotaAdmin
from generations.admin.runs import RunAdmin

__all__ = ["DatasetAdmin", "GenerationAdmin", "ProviderHealthAdmin", "QuotaAdmin", "RunAdmin"]
