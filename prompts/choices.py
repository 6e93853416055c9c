"""The vocabularies of prompts and image models."""

from __future__ import annotations

from django.db import models


class Kind(models.TextChoices):
    """What an image model makes from what."""

    TEXT_TO_IMAGE = "text_to_image", "Text to image"
    IMAGE_EDIT = "image_edit", "Image edit"
    INPAINTING = "inpainting", "Inpainting"


class OutputType(models.TextChoices):
    """What a version asks for."""

    IMAGE = "image", "Image"


class AspectRatio(models.TextChoices):
    """Width to height."""

    SQUARE = "1:1", "1:1 square"
    LANDSCAPE_4_3 = "4:3", "4:3 landscape"
    PORTRAIT_3_4 = "3:4", "3:4 portrait"
    LANDSCAPE_3_2 = "3:2", "3:2 landscape"
    PORTRAIT_2_3 = "2:3", "2:3 portrait"
    WIDE_16_9 = "16:9", "16:9 wide"
    TALL_9_16 = "9:16", "9:16 tall"


class Resolution(models.IntegerChoices):
    """Length of the longer side in pixels."""

    PX_256 = 256, "256 px"
    PX_512 = 512, "512 px"
    PX_768 = 768, "768 px"
    PX_1024 = 1024, "1024 px"
    PX_1536 = 1536, "1536 px"
    PX_2048 = 2048, "2048 px"


class Provider(models.TextChoices):
    """The adapters an image model may name; `generations.providers` has one for each."""

    EMBEDDED = "embedded", "Embedded renderer (not AI)"
    OPENAI = "openai", "OpenAI images API, or a server that speaks it"
    AZURE_OPENAI = "azure_openai", "Azure OpenAI"
    FAL = "fal", "fal.ai"
    REPLICATE = "replicate", "Replicate"
