"""The verbs of prompts, versions, labels and image models."""

from prompts.services.errors import (
    AlreadyDeletedError,
    FieldsInvalidError,
    ImageModelUnavailableError,
    LabelMovedError,
    LabelOfAnotherPromptError,
    NotDeletedError,
    ParentOfAnotherPromptError,
    PromptDeletedError,
    SlugTakenError,
    TooManyOutputsError,
    VersionDeletedError,
    VersionInUseError,
    VersionLabelledError,
)
from prompts.services.image_models import (
    ImageModelFields,
    change_image_model,
    create_image_model,
    delete_image_model,
    restore_image_model,
)
from prompts.services.labels import remove_label, set_label
from prompts.services.prompts import (
    PromptFields,
    change_prompt,
    create_prompt,
    delete_prompt,
    restore_prompt,
)
from prompts.services.versions import (
    VersionFields,
    change_version,
    create_version,
    delete_version,
    freeze_versions,
    restore_version,
)

__all__ = [
    "AlreadyDeletedError",
    "FieldsInvalidError",
    "ImageModelFields",
    "ImageModelUnavailableError",
    "LabelMovedError",
    "LabelOfAnotherPromptError",
    "NotDeletedError",
    "ParentOfAnotherPromptError",
    "PromptDeletedError",
    "PromptFields",
    "SlugTakenError",
    "TooManyOutputsError",
    "VersionDeletedError",
    "VersionFields",
    "VersionInUseError",
    "VersionLabelledError",
    "change_image_model",
    "change_prompt",
    "change_version",
    "create_image_model",
    "create_prompt",
    "create_version",
    "delete_image_model",
    "delete_prompt",
    "delete_version",
    "freeze_versions",
    "remove_label",
    "restore_image_model",
    "restore_prompt",
    "restore_version",
    "set_label",
]
