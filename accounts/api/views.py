"""People and tokens over the API."""

from __future__ import annotations

import json
from typing import Any

from allauth.headless import app_settings as headless_settings
from allauth.headless.account.inputs import LoginInput
from allauth.headless.account.views import LoginView
from allauth.headless.constants import Client
from allauth.headless.internal.restkit import inputs
from allauth.headless.tokens.strategies.jwt import internal as jwt
from django.db import transaction
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, status
from rest_framework.exceptions import AuthenticationFailed, Throttled
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from accounts import services
from accounts.api import serializers
from accounts.api.authentication import TokenAuthentication
from accounts.models import User
from accounts.querysets import UserQuerySet


class _PasswordInput(LoginInput):
    # As on the page: a password may begin or end with a space.
    password = inputs.CharField(strip=False)


class _PasswordLoginView(LoginView):
    input_class = _PasswordInput


# What the schema wants; the annotation of `auth` knows names only.
_TOKEN_ONLY: Any = [{"token": []}]
_WRONG_CREDENTIALS = "The e-mail address or the password is wrong."
_sign_in = _PasswordLoginView.as_api_view(client=Client.APP)


class _DoorView(APIView):
    """Needs no credentials, and ignores those that are sent: they may be the ones that have ended."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    problem_statuses: tuple[str, ...] = ("401",)

    def get_authenticate_header(self, request: Request) -> str:
        """Return what a 401 asks for; without it REST framework would answer 403."""
        return TokenAuthentication().authenticate_header(request)


class TokenView(_DoorView):
    """Sign-in and sign-out of scripts."""

    problem_statuses = ("401", "429")

    @extend_schema(request=serializers.SignInSerializer, responses=serializers.TokenPairSerializer)
    def post(self, request: Request) -> Response:
        """Give an access and a refresh token for an e-mail address and a password."""
        http_request = request._request
        http_request.body  # noqa: B018 - kept by Django once read, so that allauth can read it again
        form = serializers.SignInSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        # Some letters of other alphabets become plain ones in lower case; they match nobody.
        if not form.validated_data["email"].isascii():
            raise AuthenticationFailed(_WRONG_CREDENTIALS)
        answer = _sign_in(http_request)
        wait_seconds = getattr(http_request, "sign_in_wait_seconds", 0.0)
        if wait_seconds:
            raise Throttled(wait=wait_seconds, detail="Too many failed sign-ins.")
        if answer.status_code != status.HTTP_200_OK:
            raise AuthenticationFailed(_WRONG_CREDENTIALS)
        meta = json.loads(b"".join(answer))["meta"]
        return _give_tokens(meta["access_token"], meta["refresh_token"])

    @extend_schema(request=None, responses={204: None}, auth=_TOKEN_ONLY)
    def delete(self, request: Request) -> Response:
        """End the sign-in that the access token in the header belongs to, with all its tokens."""
        found = TokenAuthentication().authenticate(request)
        if found is None:
            raise AuthenticationFailed("Send the access token to end.")
        session = jwt.get_token_session(found[1])
        if session is not None:
            session.flush()
        return Response(status=status.HTTP_204_NO_CONTENT)


class TokenRefreshView(_DoorView):
    """Renewal of tokens."""

    @extend_schema(request=serializers.RefreshSerializer, responses=serializers.TokenPairSerializer)
    def post(self, request: Request) -> Response:
        """Give a new pair for a refresh token, which is then used up; using it again ends the sign-in."""
        form = serializers.RefreshSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        pair = headless_settings.TOKEN_STRATEGY.refresh_token(form.validated_data["refresh_token"])
        if pair is None:
            raise AuthenticationFailed("The refresh token is not valid; sign in again.")
        return _give_tokens(*pair)


class MeView(APIView):
    """The person who is asking."""

    permission_classes = (IsAuthenticated,)

    @extend_schema(responses=serializers.MeSerializer)
    def get(self, request: Request) -> Response:
        """Return who is asking, and what they may do."""
        return Response(serializers.MeSerializer(request.user).data)

    @extend_schema(request=serializers.NameSerializer, responses=serializers.MeSerializer)
    def patch(self, request: Request) -> Response:
        """Change one's own name."""
        form = serializers.NameSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        actor = _get_actor(request)
        services.set_name(actor=actor, user=actor, name=form.validated_data["name"])
        return Response(serializers.MeSerializer(actor).data)


class UserViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, GenericViewSet):
    """People: all of them for administrators, oneself for everybody else."""

    serializer_class = serializers.UserSerializer
    queryset = User.objects.none()

    def get_queryset(self) -> UserQuerySet:
        """Return the people whom the asking person may see, newest first."""
        return User.objects.get_queryset().visible_to(_get_actor(self.request)).with_role().order_by("-id")

    @extend_schema(request=serializers.UserCreateSerializer, responses={201: serializers.UserSerializer})
    def create(self, request: Request) -> Response:
        """Make a person with a role."""
        form = serializers.UserCreateSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        user = services.create_user(actor=_get_actor(request), **form.validated_data)
        return Response(serializers.UserSerializer(user).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=serializers.UserChangeSerializer, responses=serializers.UserSerializer)
    def partial_update(self, request: Request, pk: str | None = None) -> Response:
        """Change a person's name or role, send them away or take them back; all of it or nothing."""
        user, actor = self.get_object(), _get_actor(request)
        form = serializers.UserChangeSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        changes = form.validated_data
        with transaction.atomic():
            if "name" in changes:
                services.set_name(actor=actor, user=user, name=changes["name"])
            if "role" in changes:
                services.change_role(actor=actor, user=user, role=changes["role"])
            if "is_active" in changes:
                verb = services.reactivate_user if changes["is_active"] else services.deactivate_user
                verb(actor=actor, user=user)
        return Response(serializers.UserSerializer(user).data)


def _give_tokens(access_token: str, refresh_token: str) -> Response:
    tokens: dict[str, Any] = {
        "access_token": access_token,
        "refresh_token": refresh_token,
        "expires_in": headless_settings.JWT_ACCESS_TOKEN_EXPIRES_IN,
        "token_type": "Bearer",
    }
    return Response(tokens, headers={"Cache-Control": "no-store"})


def _get_actor(request: Request) -> User:
    assert isinstance(request.user, User)  # noqa: S101 - the permission class lets nobody else in
    return request.user
