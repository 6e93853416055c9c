"""What is made: datasets, runs, generations, attempts and images."""

from generations.models.datasets import Dataset, DatasetItem, DatasetVersion
from generations.models.generations import Attempt, Generation
from generations.models.health import ProviderHealth
from generations.models.images import DatasetItemImage, InputImage, OutputImage, StoredImage
from generations.models.imports import DatasetImport, DatasetImportImage
from generations.models.money import MonthlySpend, OpenCharge, Quota
from generations.models.runs import Run

__all__ = [
    "Attempt",
    "Dataset",
    "DatasetImport",
    "DatasetImportImage",
    "DatasetItem",
    "DatasetItemImage",
    "DatasetVersion",
    "Generation",
    "InputImage",
    "MonthlySpend",
    "OpenCharge",
    "OutputImage",
    "ProviderHealth",
    "Quota",
    "Run",
    "StoredImage",
]
