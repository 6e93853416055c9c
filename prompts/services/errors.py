"""Why a verb of this app refuses."""

from __future__ import annotations

from collections.abc import Iterable

from mayagen.common.errors import ConflictError, DomainError, NotFoundError


class FieldsInvalidError(DomainError):
    """Values that their fields do not take; `fields` has sentences by field."""

    code = "fields_invalid"
    status = 422
    sentence = "Some values can't be taken."


class SlugTakenError(ConflictError):
    """Another row that is not deleted has the slug."""

    code = "slug_taken"

    def __init__(self, slug: str, *, noun: str) -> None:
        sentence = f"Another {noun} has the slug “{slug}”. Choose another one."
        super().__init__(sentence, fields={"slug": [sentence]})


class AlreadyDeletedError(ConflictError):
    """It has been deleted before."""

    code = "already_deleted"
    sentence = "This is deleted already."


class NotDeletedError(ConflictError):
    """It can't be restored since it is not deleted."""

    code = "not_deleted"
    sentence = "This is not deleted, so there is nothing to restore."


class PromptDeletedError(ConflictError):
    """The prompt is deleted and takes nothing new."""

    code = "prompt_deleted"
    sentence = "The prompt is deleted. Restore it first."


class VersionDeletedError(ConflictError):
    """The version is deleted and can't be changed or pointed to."""

    code = "version_deleted"
    sentence = "The version is deleted. Restore it first."


class VersionInUseError(ConflictError):
    """Images were made from the version, so it never changes again."""

    code = "version_in_use"
    sentence = "Images were made from this version, so it can't change any more. Make a new version of it."


class VersionLabelledError(ConflictError):
    """Labels point to the version, so it can't be deleted."""

    code = "version_labelled"

    def __init__(self, names: Iterable[str]) -> None:
        listed = ", ".join(names)
        super().__init__(f"Labels point to this version: {listed}. Move or remove them first.")


class ImageModelUnavailableError(ConflictError):
    """The image model is deleted or switched off, so nothing new may use it."""

    code = "image_model_unavailable"

    def __init__(self, name: str) -> None:
        sentence = f"The image model “{name}” is deleted or switched off. Choose another one."
        super().__init__(sentence, fields={"image_model": [sentence]})


class TooManyOutputsError(DomainError):
    """The version asks for more images than its model makes in one request."""

    code = "too_many_outputs"

    def __init__(self, *, asked: int, limit: int) -> None:
        images = "1 image" if limit == 1 else f"{limit} images"
        sentence = f"The model makes at most {images} in one request, not {asked}."
        super().__init__(sentence, fields={"n_outputs": [sentence]}, extra={"limit": limit})


class ParentOfAnotherPromptError(DomainError):
    """The parent is a version of another prompt."""

    code = "parent_of_another_prompt"

    def __init__(self) -> None:
        sentence = "The parent must be a version of the same prompt."
        super().__init__(sentence, fields={"parent": [sentence]})


class LabelOfAnotherPromptError(DomainError):
    """A label can't point to another prompt's version."""

    code = "label_of_another_prompt"

    def __init__(self) -> None:
        sentence = "A label can only point to a version of its own prompt."
        super().__init__(sentence, fields={"version": [sentence]})


class LabelMovedError(ConflictError):
    """The label no longer points where the caller last saw it."""

    code = "label_moved"
    status = 412
    sentence = "Somebody moved this label in the meantime. Look where it points now, then move it again."


class ProviderKeyNameTakenError(ConflictError):
    """A key of that name is stored already."""

    code = "provider_key_name_taken"

    def __init__(self, name: str) -> None:
        sentence = f"A key named “{name}” is stored already. Replace that one."
        super().__init__(sentence, fields={"name": [sentence]})


class ProviderKeyGoneError(NotFoundError):
    """Somebody removed the key in the meantime."""

    code = "provider_key_gone"
    sentence = "This key has been removed."
