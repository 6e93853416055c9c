"""The catalogue of image models: entering, changing, hiding and bringing back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, TypedDict, Unpack
from urllib.parse import urlsplit

from django.db import transaction

from accounts import audit
from accounts.models import User
from accounts.permissions import require
from mayagen.common.errors import DomainError, NotFoundError
from prompts.choices import Provider
from prompts.models import ImageModel
from prompts.schemas import SchemaInvalidError, check_schema, validate_parameters, with_defaults
from prompts.services import checking
from prompts.services.errors import (
    FieldsInvalidError,
    ImageModelUnavailableError,
)

_CREDENTIAL_NAME = re.compile(r"[A-Z0-9_]*\Z")
_SECRET_OPTION = re.compile(r"(api[-_]?key|secret|token|password|authorization)", re.IGNORECASE)
_MAX_BASE_URL_LENGTH = 300
_FIRST_PRINTABLE = "!"
_OBJECTS = {"provider_options", "parameters_schema", "default_parameters"}


class ImageModelFields(TypedDict, total=False):
    """What may be set of a catalogue entry; what is left out stays, or has the model's default."""

    name: str
    slug: str
    description: str
    provider: str
    endpoint: str
    base_url: str
    credential_name: str
    provider_options: Mapping[str, Any]
    kind: str
    parameters_schema: Mapping[str, Any]
    default_parameters: Mapping[str, Any]
    max_outputs: int
    max_inputs: int
    price_usd: Decimal | None
    is_free: bool
    max_in_flight: int
    rate_per_minute: int | None
    timeout_seconds: int
    max_attempts: int
    repeats_unknown: bool
    is_active: bool


FIELD_NAMES = tuple(ImageModelFields.__annotations__)


def create_image_model(*, actor: User, **fields: Unpack[ImageModelFields]) -> ImageModel:
    """Enter a model into the catalogue; `name` and `provider` are required, an empty slug is made.

    Raises:
        FieldsInvalidError: A value can't be taken.
        SchemaInvalidError: The parameters' schema is none.
        ParametersInvalidError: The default parameters do not fit the schema.
        SlugTakenError: Another model has the slug.
    """
    require(actor, "prompts.add_imagemodel")
    model = ImageModel()
    _assign(model, fields)
    _check(model)
    with transaction.atomic():
        checking.save_with_slug(model, source=model.name, noun="image model")
        audit.record(actor=actor, verb="create_image_model", target=model, after=_describe(model))
    return model


def change_image_model(
    *, actor: User, image_model: ImageModel, **changes: Unpack[ImageModelFields]
) -> ImageModel:
    """Change a catalogue entry; versions keep the parameters that they were saved with.

    Raises:
        ImageModelUnavailableError: It is deleted.
        FieldsInvalidError: And the other refusals of `create_image_model`.
    """
    require(actor, "prompts.change_imagemodel")
    with transaction.atomic():
        current = ImageModel.objects.select_for_update(no_key=True).filter(pk=image_model.pk).first()
        if current is None:
            raise NotFoundError
        if current.is_deleted:
            raise ImageModelUnavailableError(current.name)
        before = _describe(current)
        _assign(current, changes)
        if not current.slug:
            current.slug = before["slug"]
        _check(current)
        after = _describe(current)
        changed = [name for name in FIELD_NAMES if after[name] != before[name]]
        if not changed:
            return current
        values = {name: getattr(current, name) for name in changed} | {"slug": current.slug}
        rows = ImageModel.objects.filter(pk=current.pk)
        checking.save_unless_slug_taken(rows, noun="image model", **values)
        audit.record_change(
            actor=actor, verb="change_image_model", target=current, before=before, after=after
        )
    return current


def delete_image_model(*, actor: User, image_model: ImageModel) -> ImageModel:
    """Hide a model from lists and pickers; its versions can't be used for new runs.

    Raises:
        AlreadyDeletedError: It is deleted already.
    """
    require(actor, "prompts.delete_imagemodel")
    with transaction.atomic():
        checking.mark_deleted(image_model)
        audit.record(actor=actor, verb="delete_image_model", target=image_model)
    return image_model


def restore_image_model(*, actor: User, image_model: ImageModel) -> ImageModel:
    """Bring a deleted model back.

    Raises:
        NotDeletedError: It is not deleted.
        SlugTakenError: Another model took its slug meanwhile.
    """
    require(actor, "prompts.delete_imagemodel")
    with transaction.atomic():
        checking.mark_restored(image_model, noun="image model")
        audit.record(actor=actor, verb="restore_image_model", target=image_model)
    return image_model


def _assign(model: ImageModel, fields: ImageModelFields) -> None:
    for name, value in fields.items():
        setattr(model, name, value.strip() if name == "name" and isinstance(value, str) else value)


def _check(model: ImageModel) -> None:
    for name in _OBJECTS - {"parameters_schema"}:
        setattr(model, name, checking.check_object(name, getattr(model, name)))
    faults = {
        "provider": _find_provider_fault(model.provider),
        "base_url": _find_base_url_fault(model.base_url),
        "credential_name": (
            None
            if _CREDENTIAL_NAME.match(model.credential_name)
            else "The name of a key holds capital letters, digits and underscores only, such as OPENAI."
        ),
        "provider_options": _find_options_fault(model.provider_options),
        "price_usd": _find_price_fault(model.price_usd),
    }
    found = {name: [fault] for name, fault in faults.items() if fault}
    if found:
        raise FieldsInvalidError(fields=found)
    names = set(FIELD_NAMES) - _OBJECTS - {"base_url"} - (set() if model.slug else {"slug"})
    checking.check_row(model, names)
    try:
        check_schema(model.parameters_schema)
    except SchemaInvalidError as error:
        raise checking.place_error(error, "parameters_schema") from None
    # What is required of a version's parameters need not be among the defaults.
    schema = {key: value for key, value in model.parameters_schema.items() if key != "required"}
    try:
        validate_parameters(schema, with_defaults({}, model.default_parameters, {}))
    except DomainError as error:
        raise checking.rename_fields(error, "parameters", "default_parameters") from None


def _find_provider_fault(provider: str) -> str | None:
    if provider in Provider.values:
        return None
    return f"There is no provider “{str(provider)[:40]}”. Known are: {', '.join(Provider.values)}."


def _find_base_url_fault(address: str) -> str | None:
    if not address:
        return None
    sentence = "This must be an http or https address without user name, query or fragment."
    if len(address) > _MAX_BASE_URL_LENGTH or any(character < _FIRST_PRINTABLE for character in address):
        return sentence
    try:
        parts = urlsplit(address)
        is_complete = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return sentence
    has_extras = parts.username is not None or parts.password is not None or parts.query or parts.fragment
    return None if is_complete and not has_extras and "\\" not in address else sentence


def _find_price_fault(price: Decimal | None) -> str | None:
    if price is None or (price.is_finite() and price >= 0):
        return None
    return "A price can't be negative."


def _find_options_fault(options: Mapping[str, Any]) -> str | None:
    for name in options:
        if _SECRET_OPTION.search(name):
            return (
                f"“{name[:40]}” looks like a key. Keys are never kept here: store it under Provider keys, or"
                " put it into the environment, and name it above."
            )
    return None


def _describe(model: ImageModel) -> dict[str, Any]:
    return {name: checking.to_json(getattr(model, name)) for name in FIELD_NAMES}
