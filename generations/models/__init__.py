"""What is made: datasets, runs, generations, attempts and images."""

from generations.models.datasets import Dataset, DatasetItem, DatasetVersion
from generations.models.generations import Attempt, Generation
from generations.models.images import DatasetItemImage, InputImage, OutputImage, StoredImage
from generations.models.runs import Run

__all__ = [
    "Attempt",
    "Dataset",
    "DatasetItem",
    "DatasetItemImage",
    "DatasetVersion",
    "Generation",
    "InputImage",
    "OutputImage",
    "Run",
    "StoredImage",
]
