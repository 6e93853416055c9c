"""People and the audit trail, for administrators only."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from django import forms
from django.apps import apps
from django.contrib import admin, messages
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import action
from unfold.widgets import UnfoldAdminSelectWidget

from accounts import services
from accounts.models import AuditEntry, User
from accounts.roles import ROLES
from mayagen.common.admin import ProductModelAdmin
from mayagen.common.models import UUIDModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from accounts.querysets import UserQuerySet


PageT = TypeVar("PageT")
# The theme annotates its decorator with what it returns at last, which no checker can follow.
page_action = cast("Callable[..., Callable[[PageT], PageT]]", action)


class UserForm(forms.ModelForm):
    """Who somebody is, and their one role."""

    role = forms.ChoiceField(
        choices=[(role, role.capitalize()) for role in ROLES], widget=UnfoldAdminSelectWidget
    )

    class Meta:
        model = User
        fields = ("email", "name")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.role:
            self.initial["role"] = self.instance.role

    def clean_email(self) -> str:
        """Say beside its field what the database would say of the whole form."""
        email: str = self.cleaned_data["email"]
        if User.objects.filter(email__iexact=email.strip()).exists():
            raise ValidationError(services.EmailTakenError.sentence)
        return email


class RoleFilter(admin.SimpleListFilter):
    """People of one role."""

    title = "role"
    parameter_name = "role"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the roles."""
        return [(role, role.capitalize()) for role in ROLES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> QuerySet[User]:
        """Keep the people of the chosen role."""
        role = self.value()
        return queryset.filter(groups__in=Group.objects.filter(name=role)) if role else queryset


class ObjectTypeFilter(admin.SimpleListFilter):
    """What was done to one kind of object."""

    title = "kind of object"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the product's own kinds."""
        models = [model._meta for model in apps.get_models() if issubclass(model, UUIDModel)]
        return [(meta.label_lower, str(meta.verbose_name).capitalize()) for meta in models]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
        """Keep the entries of the chosen kind."""
        kind = self.value()
        return queryset.filter(object_type=kind) if kind else queryset


@admin.register(User)
class UserAdmin(ProductModelAdmin):
    """People: made with a role, given another, sent away, taken back. Passwords are theirs alone."""

    form = UserForm
    list_display = ("email", "name", "show_role", "is_active", "last_login", "created_at")
    list_filter = (RoleFilter, "is_active")
    search_fields = ("email", "name")
    actions_detail: ClassVar[list[str]] = ["make_password_link", "deactivate", "reactivate"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        """Return the people, each with their role."""
        people = cast("UserQuerySet", super().get_queryset(request))
        return people.with_role()

    def get_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        """Ask for what makes a person; show more of one who is there."""
        if obj is None:
            return ("email", "name", "role")
        role = "role" if self.has_change_permission(request, obj) else "show_role"
        return ("email", "name", role, "is_active", "last_login", "created_at")

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        """Keep what only verbs change from being typed over."""
        if obj is None:
            return ()
        return ("email", "is_active", "last_login", "created_at", "show_role")

    @admin.display(description="Role", ordering="role_name")
    def show_role(self, user: User) -> str | None:
        """Return the role's name."""
        return user.role

    def save_by_service(self, request: HttpRequest, form: forms.ModelForm, target: User | None) -> User:
        """Make a person or change their name and role."""
        actor: Any = request.user
        name, role = form.cleaned_data["name"], form.cleaned_data["role"]
        if target is None:
            user = services.create_user(actor=actor, email=form.cleaned_data["email"], name=name, role=role)
            self._show_password_link(request, user)
            return user
        services.set_name(actor=actor, user=target, name=name)
        return services.change_role(actor=actor, user=target, role=role)

    def has_deactivate_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Return whether the person of the page may be sent away."""
        return self.has_change_permission(request) and self._is_active(object_id, expected=True)

    def has_reactivate_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Return whether the person of the page may be taken back."""
        return self.has_change_permission(request) and self._is_active(object_id, expected=False)

    @page_action(description="Deactivate", url_path="deactivate", permissions=["deactivate"])
    def deactivate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask, then send a person away."""
        user, actor = self.get_visible(request, object_id), request.user
        return self.confirm(
            request,
            title="Deactivate person",
            sentence=f"“{user}” will be signed out everywhere and can't sign in any more."
            " What they did stays.",
            button="Deactivate",
            verb=lambda: services.deactivate_user(actor=actor, user=user),  # type: ignore[arg-type]
            done=f"“{user}” was deactivated.",
            back=self.url_of("change", user.pk),
            under=user,
        )

    @page_action(description="Reactivate", url_path="reactivate", permissions=["reactivate"])
    def reactivate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask, then take a person back."""
        user, actor = self.get_visible(request, object_id), request.user
        return self.confirm(
            request,
            title="Reactivate person",
            sentence=f"“{user}” can sign in again, with the role they had.",
            button="Reactivate",
            verb=lambda: services.reactivate_user(actor=actor, user=user),  # type: ignore[arg-type]
            done=f"“{user}” was reactivated.",
            back=self.url_of("change", user.pk),
            under=user,
        )

    @page_action(description="Password link", url_path="password-link", permissions=["deactivate"])
    def make_password_link(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask, then show a link by which the person sets a password."""
        user = self.get_visible(request, object_id)
        return self.confirm(
            request,
            title="Make a password link",
            sentence=f"Whoever has the link can set the password of “{user}”, once and within three days.",
            button="Make the link",
            verb=lambda: self._show_password_link(request, user),
            done="Hand the link to nobody else.",
            back=self.url_of("change", user.pk),
            under=user,
        )

    def _show_password_link(self, request: HttpRequest, user: User) -> None:
        actor: Any = request.user
        uid, key = services.make_password_key(actor=actor, user=user)
        path = reverse("account_reset_password_from_key", kwargs={"uidb36": uid, "key": key})
        messages.info(
            request, format_html("{} sets a password at {}", user.email, request.build_absolute_uri(path))
        )

    def _is_active(self, object_id: str | None, *, expected: bool) -> bool:
        # Without an object it is asked whether the page exists at all, which it does.
        if object_id is None:
            return True
        try:
            return User.objects.filter(pk=object_id, is_active=expected).exists()
        except ValidationError:  # The address names no id.
            return False


@admin.register(AuditEntry)
class AuditEntryAdmin(ProductModelAdmin):
    """Who did what; read by administrators, changed by nobody."""

    list_display = ("created_at", "actor", "verb", "object_type", "object_label", "show_address")
    list_filter = (ObjectTypeFilter,)
    list_select_related = ("actor",)
    search_fields = ("verb", "object_label", "object_id", "actor__email")
    fields = (
        "created_at",
        "actor",
        "verb",
        "object_type",
        "object_id",
        "object_label",
        "show_before",
        "show_after",
        "show_address",
    )
    readonly_fields = fields

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return False: verbs write entries."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        """Return False: nobody changes what happened."""
        return False

    @admin.display(description="IP address", empty_value="–")
    def show_address(self, entry: AuditEntry) -> str | None:
        """Return where the request came from."""
        return entry.ip_address

    @admin.display(description="Before")
    def show_before(self, entry: AuditEntry) -> str:
        """Return the changed values as they were."""
        return _to_text(entry.before)

    @admin.display(description="After")
    def show_after(self, entry: AuditEntry) -> str:
        """Return the changed values as they became."""
        return _to_text(entry.after)


def _to_text(values: dict[str, Any]) -> str:
    return "" if not values else json.dumps(values, indent=2, ensure_ascii=False, sort_keys=True)
