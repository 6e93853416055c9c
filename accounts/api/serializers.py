"""What people and tokens look like in the API."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from accounts.models import User
from accounts.roles import ROLES


class SignInSerializer(serializers.Serializer):
    """E-mail and password."""

    email = serializers.CharField(max_length=254)
    password = serializers.CharField(max_length=1024, trim_whitespace=False, style={"input_type": "password"})


class RefreshSerializer(serializers.Serializer):
    """The latest refresh token."""

    refresh_token = serializers.CharField(max_length=4096)


class TokenPairSerializer(serializers.Serializer):
    """An access token and what renews it, once."""

    access_token = serializers.CharField()
    refresh_token = serializers.CharField()
    expires_in = serializers.IntegerField(help_text="Seconds until the access token ends.")
    token_type = serializers.CharField()


class UserSerializer(serializers.ModelSerializer):
    """One person."""

    role = serializers.ChoiceField(choices=ROLES, read_only=True, allow_null=True)

    class Meta:
        model = User
        fields = ("id", "email", "name", "role", "is_active", "created_at", "last_login")
        read_only_fields = fields


class MeSerializer(serializers.ModelSerializer):
    """Who is asking, and what they may do."""

    role = serializers.ChoiceField(choices=ROLES, read_only=True, allow_null=True)
    permissions = serializers.SerializerMethodField()

    class Meta:
        model = User
        fields = ("id", "email", "name", "role", "permissions")
        read_only_fields = ("id", "email")

    def get_permissions(self, user: User) -> list[str]:
        """Return the permission codes of the role, sorted."""
        return sorted(user.get_all_permissions())


class NameSerializer(serializers.Serializer):
    """What a person may change of themselves."""

    name = serializers.CharField(max_length=120, allow_blank=True)


class UserCreateSerializer(serializers.Serializer):
    """A new person; without a password they set one by a mailed link."""

    email = serializers.CharField(max_length=254)
    name = serializers.CharField(max_length=120, allow_blank=True, default="")
    role = serializers.ChoiceField(choices=ROLES)
    password = serializers.CharField(
        max_length=1024,
        trim_whitespace=False,
        required=False,
        write_only=True,
        style={"input_type": "password"},
    )


class UserChangeSerializer(serializers.Serializer):
    """What administrators may change of a person."""

    name = serializers.CharField(max_length=120, allow_blank=True, required=False)
    role = serializers.ChoiceField(choices=ROLES, required=False)
    is_active = serializers.BooleanField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse a change of nothing."""
        if not attrs:
            raise serializers.ValidationError("Name at least one of name, role and is_active.")
        return attrs
