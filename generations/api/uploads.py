"""Files in the bodies of requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from django.core.files.uploadedfile import UploadedFile
from django.utils.module_loading import import_string
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from generations.choices import ImageRole
from generations.services.images import UploadedInput, read_upload

# Reached by its path: the API's floor stands above the apps.
MULTIPART_PARSER: Final[type[BaseParser]] = import_string("mayagen.api.parsers.StrictMultiPartParser")


class UploadViewMixin:
    """Reads files where files are taken.

    `upload_actions` names the actions that take a form with files; True stands for JSON too.
    """

    upload_actions: ClassVar[Mapping[str, bool]]

    def get_parsers(self) -> list[BaseParser]:
        """Return the parsers of the action; REST framework asks before it knows the action's name."""
        parsers: list[BaseParser] = super().get_parsers()  # type: ignore[misc]
        action = getattr(self, "action", None)
        if action is None:
            method = str(self.request.method).lower()  # type: ignore[attr-defined]
            action = self.action_map.get(method)  # type: ignore[attr-defined]
        if action not in self.upload_actions:
            return parsers
        return [*(parsers if self.upload_actions[action] else ()), MULTIPART_PARSER()]


def is_multipart(request: Request) -> bool:
    """Return whether the body of the request is a form that may hold files."""
    return str(request.content_type or "").startswith("multipart/")


def read_files(files: Sequence[UploadedFile], role: str = ImageRole.REFERENCE) -> list[UploadedInput]:
    """Return the files of a body as input images of one role."""
    return [UploadedInput(read_upload(file), role) for file in files]


def read_inputs(values: dict[str, Any]) -> list[UploadedInput]:
    """Take `inputs` and `mask` out of a body's values and return them as input images."""
    inputs = read_files(values.pop("inputs", []))
    mask = values.pop("mask", None)
    return inputs if mask is None else [*inputs, *read_files([mask], ImageRole.MASK)]
