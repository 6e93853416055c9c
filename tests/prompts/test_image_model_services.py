"""The catalogue of image models: what the verbs take and refuse."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from accounts.models import AuditEntry, User
from mayagen.common.errors import DomainError
from prompts import services
from prompts.choices import Provider
from prompts.models import ImageModel
from prompts.schemas import ParametersInvalidError, SchemaInvalidError
from tests.prompts.factories import RENDERER_SCHEMA, ImageModelFactory


def test_a_model_is_entered_with_a_slug_and_an_audit_entry(admin: User) -> None:
    model = services.create_image_model(
        actor=admin,
        name="GPT Image",
        provider="openai",
        endpoint="gpt-image-1",
        base_url="http://sd-webui:7860/v1",
        credential_name="OPENAI_2",
        provider_options={"api_version": "2025-04-01"},
        parameters_schema=RENDERER_SCHEMA,
        default_parameters={"detail": 3},
        price_usd=Decimal("0.04"),
    )

    stored = ImageModel.objects.get()
    assert (stored.slug, stored.base_url, stored.price_usd) == (
        "gpt-image",
        "http://sd-webui:7860/v1",
        Decimal("0.04"),
    )
    entry = AuditEntry.objects.get()
    assert (entry.object_id, entry.after["price_usd"]) == (str(model.pk), "0.04")


@pytest.mark.parametrize(
    ("fields", "error", "name"),
    [
        ({"name": ""}, services.FieldsInvalidError, "name"),
        ({"provider": "midjourney"}, services.FieldsInvalidError, "provider"),
        ({"provider": "os.system"}, services.FieldsInvalidError, "provider"),
        ({"base_url": "file:///etc/passwd"}, services.FieldsInvalidError, "base_url"),
        ({"base_url": "ftp://example.com"}, services.FieldsInvalidError, "base_url"),
        ({"base_url": "https://user:key@example.com"}, services.FieldsInvalidError, "base_url"),
        ({"base_url": "https://"}, services.FieldsInvalidError, "base_url"),
        ({"base_url": "https://[::1"}, services.FieldsInvalidError, "base_url"),
        ({"base_url": "https://example.com:99999"}, services.FieldsInvalidError, "base_url"),
        ({"base_url": "https://example.com/\n"}, services.FieldsInvalidError, "base_url"),
        ({"base_url": "https://example.com/v1?key=1"}, services.FieldsInvalidError, "base_url"),
        ({"base_url": "javascript:alert(1)"}, services.FieldsInvalidError, "base_url"),
        ({"credential_name": "open ai"}, services.FieldsInvalidError, "credential_name"),
        ({"credential_name": "OPENAI\n"}, services.FieldsInvalidError, "credential_name"),
        ({"provider_options": {"api_key": "sk-1"}}, services.FieldsInvalidError, "provider_options"),
        ({"provider_options": []}, services.FieldsInvalidError, "provider_options"),
        ({"provider_options": {"x": float("nan")}}, services.FieldsInvalidError, "provider_options"),
        ({"kind": "video"}, services.FieldsInvalidError, "kind"),
        ({"max_outputs": 0}, services.FieldsInvalidError, "max_outputs"),
        ({"max_inputs": -1}, services.FieldsInvalidError, "max_inputs"),
        ({"max_in_flight": 0}, services.FieldsInvalidError, "max_in_flight"),
        ({"max_in_flight": 10**12}, services.FieldsInvalidError, "max_in_flight"),
        ({"timeout_seconds": 901}, services.FieldsInvalidError, "timeout_seconds"),
        ({"rate_per_minute": 0}, services.FieldsInvalidError, "rate_per_minute"),
        ({"price_usd": Decimal(-1)}, services.FieldsInvalidError, "price_usd"),
        ({"price_usd": Decimal("NaN")}, services.FieldsInvalidError, "price_usd"),
        ({"parameters_schema": {"type": "array"}}, SchemaInvalidError, "parameters_schema"),
        ({"parameters_schema": {"$ref": "http://x/"}}, SchemaInvalidError, "parameters_schema"),
        ({"parameters_schema": 5}, SchemaInvalidError, "parameters_schema"),
        (
            {"parameters_schema": RENDERER_SCHEMA, "default_parameters": {"detail": 99}},
            ParametersInvalidError,
            "default_parameters.detail",
        ),
    ],
)
def test_a_model_with_a_bad_value_is_refused_with_its_field_and_not_stored(
    admin: User, fields: dict[str, Any], error: type[DomainError], name: str
) -> None:
    kept = ImageModelFactory(name="Kept", default_parameters={}, parameters_schema={})

    with pytest.raises(error) as refusal:
        services.create_image_model(actor=admin, **{"name": "x", "provider": "embedded", **fields})
    with pytest.raises(error):
        services.change_image_model(actor=admin, image_model=kept, **fields)

    assert name in refusal.value.fields
    assert ImageModel.objects.get().name == "Kept"
    assert not AuditEntry.objects.exists()


def test_required_parameters_need_no_default(admin: User) -> None:
    schema = {"type": "object", "properties": {"style": {"type": "string"}}, "required": ["style"]}

    model = services.create_image_model(actor=admin, name="x", provider="embedded", parameters_schema=schema)

    assert model.default_parameters == {}


def test_a_change_records_only_what_changed(admin: User) -> None:
    model = ImageModelFactory(name="Before")

    services.change_image_model(actor=admin, image_model=model, name="After", max_outputs=model.max_outputs)

    entry = AuditEntry.objects.get()
    assert (entry.before, entry.after) == ({"name": "Before"}, {"name": "After"})


def test_a_deleted_model_is_not_changed_and_comes_back_if_its_slug_is_free(admin: User) -> None:
    model = ImageModelFactory(slug="shared")
    services.delete_image_model(actor=admin, image_model=model)
    with pytest.raises(services.AlreadyDeletedError):
        services.delete_image_model(actor=admin, image_model=model)
    with pytest.raises(services.ImageModelUnavailableError):
        services.change_image_model(actor=admin, image_model=model, name="x")
    other = ImageModelFactory(slug="shared")
    with pytest.raises(services.SlugTakenError):
        services.restore_image_model(actor=admin, image_model=model)

    services.change_image_model(actor=admin, image_model=other, slug="other")
    services.restore_image_model(actor=admin, image_model=model)

    assert ImageModel.objects.alive().count() == 2
    with pytest.raises(services.NotDeletedError):
        services.restore_image_model(actor=admin, image_model=model)


def test_every_named_provider_has_an_adapter() -> None:
    from generations.providers.registry import PROVIDERS

    assert set(Provider.values) == set(PROVIDERS)
