"""Images that people hand in: stored before the rows that name them, removed when those are not written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from django.conf import settings
from django.core.files import File
from django.db import transaction

from accounts import audit
from accounts.models import User
from accounts.permissions import require
from generations.choices import ImageRole, Source, Status
from generations.image_files import StoredFiles, discard, store_image
from generations.media.naming import MediaFolder
from generations.models import Generation, InputImage
from mayagen.common.errors import ConflictError, DomainError
from prompts.choices import Kind
from prompts.models import ImageModel

MAX_FILES: Final = 16


class TooManyFilesError(DomainError):
    """More files were handed in than one request takes."""

    code = "too_many_files"
    sentence = f"At most {MAX_FILES} files are taken at once."


class InputsInvalidError(DomainError):
    """The input images do not fit what the model takes."""

    code = "inputs_invalid"
    sentence = "The input images do not fit the model."


class InputsNotAcceptedError(ConflictError):
    """The generation has already been sent, so that nothing can be added to what went in."""

    code = "inputs_not_accepted"
    sentence = "Input images can be added only before a generation is sent."


@dataclass(frozen=True, slots=True)
class UploadedInput:
    """One input image as it was handed in: bytes that nobody has checked yet."""

    content: bytes = field(repr=False)
    role: str = ImageRole.REFERENCE


@dataclass(frozen=True, slots=True)
class InputFiles:
    """One input image in storage, ready to become a row."""

    stored: StoredFiles
    role: str


def read_upload(upload: File[bytes]) -> bytes:
    """Return the bytes of an uploaded file, one more than allowed at most, so that checking can refuse it."""
    upload.seek(0)
    return bytes(upload.read(settings.MEDIA_MAX_UPLOAD_BYTES + 1))


@contextmanager
def stored_while_written(files: Sequence[bytes], *, folder: MediaFolder) -> Iterator[list[StoredFiles]]:
    """Store the files for a block that writes their rows; remove them all if it, or one of them, fails.

    Raises:
        TooManyFilesError: There are more than 16.
        MediaError: One is no image that can be taken; its message names which.
    """
    if len(files) > MAX_FILES:
        raise TooManyFilesError
    stored: list[StoredFiles] = []
    try:
        for number, content in enumerate(files, start=1):
            try:
                stored.append(store_image(content, folder=folder))
            except DomainError as error:
                if len(files) > 1:
                    error.message = f"File {number}: {error.message}"
                raise
        yield stored
    except BaseException:
        discard(stored)
        raise


def check_inputs(*, image_model: ImageModel, roles: Sequence[str]) -> None:
    """Do nothing when the model takes input images of these roles.

    Raises:
        InputsInvalidError: There are too few, too many, or of the wrong role.
    """
    n_masks = sum(role == ImageRole.MASK for role in roles)
    n_references = len(roles) - n_masks
    if image_model.kind == Kind.TEXT_TO_IMAGE and roles:
        raise InputsInvalidError(f"{image_model} makes images from text alone and takes no input images.")
    if image_model.kind != Kind.TEXT_TO_IMAGE and n_references == 0:
        raise InputsInvalidError(f"{image_model} works on an image: give at least one input image.")
    if image_model.kind == Kind.INPAINTING and n_masks == 0:
        raise InputsInvalidError(f"{image_model} repaints a part of an image: give a mask beside it.")
    if n_masks > 1:
        raise InputsInvalidError("Give one mask at most.")
    if n_references > image_model.max_inputs:
        raise InputsInvalidError(
            f"{image_model} takes at most {image_model.max_inputs} input images; {n_references} were given."
        )


def add_inputs(*, actor: User, generation: Generation, files: Sequence[UploadedInput]) -> list[InputImage]:
    """Store and attach input images to a generation made elsewhere, or to one that was not yet sent.

    Raises:
        InputsNotAcceptedError: The engine has taken it up, or it is final.
        InputsInvalidError: The model does not take them.
        MediaError: A file is no image that can be taken; nothing is stored then.
    """
    require(actor, "generations.change_generation")
    with stored_while_written([file.content for file in files], folder="inputs") as stored:
        rows = [InputFiles(item, file.role) for item, file in zip(stored, files, strict=True)]
        return _attach(actor, generation, rows)


@transaction.atomic
def _attach(actor: User, generation: Generation, files: Sequence[InputFiles]) -> list[InputImage]:
    current = Generation.objects.select_for_update().get(pk=generation.pk)
    is_external = current.source == Source.EXTERNAL
    if not is_external and (current.status != Status.QUEUED or current.n_attempts):
        raise InputsNotAcceptedError
    there = list(current.inputs.order_by("position").values_list("position", "role"))
    roles = [role for _, role in there] + [file.role for file in files]
    if is_external:
        if len(roles) > MAX_FILES:
            raise InputsInvalidError(f"A generation has at most {MAX_FILES} input images.")
    else:
        check_inputs(image_model=current.image_model, roles=roles)
    first = there[-1][0] + 1 if there else 0
    images = make_inputs(current, files, first_position=first)
    InputImage.objects.bulk_create(images)
    audit.record(actor=actor, verb="add_inputs", target=current, after={"n_inputs": len(roles)})
    return images


def make_inputs(
    generation: Generation, files: Sequence[InputFiles], *, first_position: int = 0
) -> list[InputImage]:
    """Return unsaved rows of input images for a generation."""
    return [
        InputImage(generation=generation, position=position, role=file.role, **file.stored.as_fields())
        for position, file in enumerate(files, start=first_position)
    ]
