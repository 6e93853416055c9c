"""Prompts, versions, image models and labels over the API: rights, then one verb, then the row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import GenericViewSet

from accounts.models import User
from accounts.permissions import can, require
from mayagen.common.api import InvalidParameterError
from mayagen.common.errors import NotFoundError
from prompts import selectors, services
from prompts.api import filters, serializers
from prompts.models import ImageModel, Label, Prompt, PromptVersion

IF_MATCH = OpenApiParameter(
    "If-Match",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="The label's ETag as last seen; the label is moved only while it still has it.",
)


class ReadableViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, GenericViewSet):
    """Lists and single rows; a role that may read none of them is told that nothing is there.

    `rights` names the permission of each action that writes; it is checked before the body is read.
    """

    # Only what looks like an id is an address.
    lookup_value_converter = "uuid"
    view_permission: ClassVar[str]
    rights: ClassVar[Mapping[str, str]]

    @property
    def actor(self) -> User:
        """Who is asking; nobody who may see anything while the API is only being described."""
        return cast("User", self.request.user)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Check who is asking."""
        super().initial(request, *args, **kwargs)
        if not can(request.user, self.view_permission):
            raise NotFoundError
        right = self.rights.get(self.action)
        if right is not None:
            require(request.user, right)

    def read_body(self, request: Request, *, serializer: type[BaseSerializer], partial: bool = False) -> Any:
        """Return the validated values of the body."""
        body = serializer(data=request.data, partial=partial, context=self.get_serializer_context())
        body.is_valid(raise_exception=True)
        return body.validated_data

    def answer(self, row_id: UUID, status_code: int = status.HTTP_200_OK) -> Response:
        """Return a row as it is stored now."""
        row = self.get_queryset().get(pk=row_id)
        return Response(self.get_serializer(row).data, status=status_code)


class PromptViewSet(ReadableViewSet):
    """Prompts."""

    serializer_class = serializers.PromptSerializer
    filterset_class = filters.PromptFilterSet
    ordering_fields = ("created_at", "name")
    view_permission = "prompts.view_prompt"
    rights: ClassVar = {
        "create": "prompts.add_prompt",
        "partial_update": "prompts.change_prompt",
        "destroy": "prompts.delete_prompt",
        "restore": "prompts.delete_prompt",
    }

    def get_queryset(self) -> QuerySet[Prompt]:
        """Return the prompts that the caller may see."""
        return selectors.with_overview(Prompt.objects.visible_to(self.actor))

    @extend_schema(request=serializers.PromptFieldsSerializer, responses={201: serializers.PromptSerializer})
    def create(self, request: Request) -> Response:
        """Make a prompt without versions."""
        values = self.read_body(request, serializer=serializers.PromptFieldsSerializer)
        prompt = services.create_prompt(actor=self.actor, **values)
        return self.answer(prompt.pk, status.HTTP_201_CREATED)

    @extend_schema(request=serializers.PromptFieldsSerializer)
    def partial_update(self, request: Request, pk: UUID) -> Response:
        """Change a prompt; what is left out stays."""
        prompt = self.get_object()
        values = self.read_body(request, serializer=serializers.PromptFieldsSerializer, partial=True)
        services.change_prompt(actor=self.actor, prompt=prompt, **values)
        return self.answer(prompt.pk)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, pk: UUID) -> Response:
        """Hide a prompt; it can be restored."""
        services.delete_prompt(actor=self.actor, prompt=self.get_object())
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def restore(self, request: Request, pk: UUID) -> Response:
        """Bring a deleted prompt back."""
        prompt = services.restore_prompt(actor=self.actor, prompt=self.get_object())
        return self.answer(prompt.pk)


class PromptVersionViewSet(ReadableViewSet):
    """Versions of prompts."""

    serializer_class = serializers.PromptVersionSerializer
    filterset_class = filters.PromptVersionFilterSet
    ordering_fields = ("created_at", "number")
    view_permission = "prompts.view_promptversion"
    rights: ClassVar = {
        "create": "prompts.add_promptversion",
        "partial_update": "prompts.change_promptversion",
        "destroy": "prompts.delete_promptversion",
        "restore": "prompts.delete_promptversion",
    }

    @property
    def query_parameters(self) -> tuple[str, ...]:
        """The parameters that this action knows beside filters and pages."""
        return ("with",) if self.action == "diff" else ()

    def get_queryset(self) -> QuerySet[PromptVersion]:
        """Return the versions that the caller may see."""
        return selectors.with_context(PromptVersion.objects.visible_to(self.actor))

    @extend_schema(
        request=serializers.NewVersionSerializer, responses={201: serializers.PromptVersionSerializer}
    )
    def create(self, request: Request) -> Response:
        """Make the next version of a prompt."""
        values = self.read_body(request, serializer=serializers.NewVersionSerializer)
        version = services.create_version(actor=self.actor, **values)
        return self.answer(version.pk, status.HTTP_201_CREATED)

    @extend_schema(request=serializers.VersionFieldsSerializer)
    def partial_update(self, request: Request, pk: UUID) -> Response:
        """Change a version that no generation has used; what is left out stays."""
        version = self.get_object()
        values = self.read_body(request, serializer=serializers.VersionFieldsSerializer, partial=True)
        services.change_version(actor=self.actor, version=version, **values)
        return self.answer(version.pk)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, pk: UUID) -> Response:
        """Hide a version; it can be restored."""
        services.delete_version(actor=self.actor, version=self.get_object())
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def restore(self, request: Request, pk: UUID) -> Response:
        """Bring a deleted version back."""
        version = services.restore_version(actor=self.actor, version=self.get_object())
        return self.answer(version.pk)

    @extend_schema(
        parameters=[
            OpenApiParameter("with", OpenApiTypes.UUID, required=True, description="The other version.")
        ],
        responses=serializers.DiffSerializer,
        filters=False,
    )
    @action(detail=True, methods=["get"])
    def diff(self, request: Request, pk: UUID) -> Response:
        """Say how the other version differs from this one: this is `before`, that is `after`."""
        before = self.get_object()
        after = self.get_queryset().filter(pk=_read_id(request, "with")).first()
        if after is None:
            raise NotFoundError("There is no such version to compare with.")
        changes = selectors.compare_versions(before, after)
        shown = serializers.DiffSerializer({"before": before.pk, "after": after.pk, "changes": changes})
        return Response(shown.data)


class ImageModelViewSet(ReadableViewSet):
    """The catalogue of image models."""

    serializer_class = serializers.ImageModelSerializer
    filterset_class = filters.ImageModelFilterSet
    ordering_fields = ("created_at", "name")
    view_permission = "prompts.view_imagemodel"
    rights: ClassVar = {
        "create": "prompts.add_imagemodel",
        "partial_update": "prompts.change_imagemodel",
        "destroy": "prompts.delete_imagemodel",
        "restore": "prompts.delete_imagemodel",
    }

    def get_queryset(self) -> QuerySet[ImageModel]:
        """Return the models that the caller may see."""
        return ImageModel.objects.visible_to(self.actor)

    @extend_schema(
        request=serializers.ImageModelFieldsSerializer, responses={201: serializers.ImageModelSerializer}
    )
    def create(self, request: Request) -> Response:
        """Enter a model into the catalogue."""
        values = self.read_body(request, serializer=serializers.ImageModelFieldsSerializer)
        model = services.create_image_model(actor=self.actor, **values)
        return self.answer(model.pk, status.HTTP_201_CREATED)

    @extend_schema(request=serializers.ImageModelFieldsSerializer)
    def partial_update(self, request: Request, pk: UUID) -> Response:
        """Change a catalogue entry; what is left out stays."""
        model = self.get_object()
        values = self.read_body(request, serializer=serializers.ImageModelFieldsSerializer, partial=True)
        services.change_image_model(actor=self.actor, image_model=model, **values)
        return self.answer(model.pk)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, pk: UUID) -> Response:
        """Hide a model; it can be restored."""
        services.delete_image_model(actor=self.actor, image_model=self.get_object())
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def restore(self, request: Request, pk: UUID) -> Response:
        """Bring a deleted model back."""
        model = services.restore_image_model(actor=self.actor, image_model=self.get_object())
        return self.answer(model.pk)


class LabelViewSet(ReadableViewSet):
    """Labels; each answer with one label has its ETag, which says where it points."""

    serializer_class = serializers.LabelSerializer
    filterset_class = filters.LabelFilterSet
    ordering_fields = ("created_at", "name")
    view_permission = "prompts.view_label"
    rights: ClassVar = {
        "create": "prompts.add_label",
        "partial_update": "prompts.change_label",
        "destroy": "prompts.delete_label",
    }

    def get_queryset(self) -> QuerySet[Label]:
        """Return the labels that the caller may see."""
        return Label.objects.visible_to(self.actor).select_related("version")

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        """Add the ETag of the one label in the answer."""
        final = super().finalize_response(request, response, *args, **kwargs)
        data = getattr(final, "data", None)
        if isinstance(data, dict) and "version_number" in data:
            final.headers["ETag"] = f'"{data["version"]}"'
        return final

    @extend_schema(request=serializers.NewLabelSerializer, responses={201: serializers.LabelSerializer})
    def create(self, request: Request) -> Response:
        """Set a label of a prompt; one that exists is moved."""
        values = self.read_body(request, serializer=serializers.NewLabelSerializer)
        label = services.set_label(actor=self.actor, **values)
        return self.answer(label.pk, status.HTTP_201_CREATED)

    @extend_schema(request=serializers.LabelTargetSerializer, parameters=[IF_MATCH])
    def partial_update(self, request: Request, pk: UUID) -> Response:
        """Move a label to another version of its prompt."""
        label = self.get_object()
        values = self.read_body(request, serializer=serializers.LabelTargetSerializer)
        services.set_label(
            actor=self.actor,
            prompt=label.prompt,
            name=label.name,
            version=values["version"],
            expected_version_id=_read_etag(request),
        )
        return self.answer(label.pk)

    @extend_schema(responses={204: None}, parameters=[IF_MATCH])
    def destroy(self, request: Request, pk: UUID) -> Response:
        """Take a label away; its history stays."""
        services.remove_label(
            actor=self.actor, label=self.get_object(), expected_version_id=_read_etag(request)
        )
        return Response(status=status.HTTP_204_NO_CONTENT)


def _read_id(request: Request, name: str) -> UUID:
    try:
        return UUID(request.query_params[name])
    except (KeyError, ValueError):
        raise InvalidParameterError(fields={name: ["Give the id of the other version."]}) from None


def _read_etag(request: Request) -> UUID | None:
    """Return the version that the caller's ETag names; None when none was sent, or any will do."""
    text = request.headers.get("If-Match", "").strip()
    if text in ("", "*"):
        return None
    try:
        return UUID(text.strip('"'))
    except ValueError:
        # No label ever had such an ETag, so what the caller saw is not what is there.
        raise services.LabelMovedError from None
