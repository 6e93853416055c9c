"""What is done to people: made, named, given another role, sent away and taken back."""

from __future__ import annotations

from allauth.account import app_settings as account_settings
from allauth.account.utils import user_pk_to_url_str
from django.contrib.auth.models import Group
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.db.models import F

from accounts import audit
from accounts.models import User
from accounts.permissions import require
from accounts.roles import ADMIN, PERMISSIONS, ROLES
from mayagen.common.errors import ConflictError, DomainError, PermissionDeniedError


class EmailTakenError(DomainError):
    """Somebody has that e-mail address already, perhaps in other case."""

    code = "email_taken"
    sentence = "There is already a person with this e-mail address."


class EmailInvalidError(DomainError):
    """The text is no e-mail address that people can sign in by."""

    code = "email_invalid"
    sentence = "Enter an e-mail address of plain letters, such as ada@example.com."


class PasswordInvalidError(DomainError):
    """The password is too easy to guess; the fields say why."""

    code = "password_invalid"
    sentence = "Choose another password."


class RoleUnknownError(DomainError):
    """There is no such role."""

    code = "role_unknown"
    sentence = "The role must be one of admin, evaluator and viewer."


class RoleNotGrantableError(PermissionDeniedError):
    """The actor would hand out rights that they do not hold."""

    code = "role_not_grantable"
    sentence = "You cannot give a role that may do more than your own."


class LastAdminError(ConflictError):
    """Without this person nobody could manage people any more."""

    code = "last_admin"
    sentence = "This is the last active administrator. Make somebody else one first."


def create_user(*, actor: User, email: str, role: str, name: str = "", password: str | None = None) -> User:
    """Make a person with one role; without a password they set one by a mailed link.

    Raises:
        PermissionDeniedError: The actor may not make people, or not with this role.
        EmailInvalidError, EmailTakenError, PasswordInvalidError, RoleUnknownError: As they say.
    """
    require(actor, "accounts.add_user")
    _require_grantable(actor, role)
    return _create_user(actor=actor, email=email, role=role, name=name, password=password)


def create_first_admin(*, email: str, password: str) -> User:
    """Make an administrator from the machine's own command line; no page and no API leads here."""
    return _create_user(actor=None, email=email, role=ADMIN, name="", password=password)


@transaction.atomic
def change_role(*, actor: User, user: User, role: str) -> User:
    """Give a person another role; it holds at their next request.

    Raises:
        PermissionDeniedError: The actor may not change people, or holds fewer rights than the role.
        LastAdminError: Nobody else is an active administrator.
    """
    require(actor, "accounts.change_user")
    _require_grantable(actor, role)
    admins = _lock_admins()
    before = _get_role(user)
    if before == role:
        return user
    _require_grantable(actor, before)
    if before == ADMIN:
        _require_other_admin(admins, user)
    user.groups.set([Group.objects.get(name=role)])
    user.role_name = role
    audit.record(actor=actor, verb="change_role", target=user, before={"role": before}, after={"role": role})
    return user


@transaction.atomic
def deactivate_user(*, actor: User, user: User) -> User:
    """Send a person away: every session and token of theirs is dead, for good, at its next request.

    Raises:
        PermissionDeniedError: The actor may not change people, or not this one.
        LastAdminError: Nobody else is an active administrator.
    """
    require(actor, "accounts.change_user")
    admins = _lock_admins()
    role = _get_role(user)
    _require_grantable(actor, role)
    if role == ADMIN:
        _require_other_admin(admins, user)
    changed = User.objects.filter(pk=user.pk, is_active=True).update(
        is_active=False, sign_in_epoch=F("sign_in_epoch") + 1
    )
    if changed:
        audit.record(
            actor=actor,
            verb="deactivate_user",
            target=user,
            before={"is_active": True},
            after={"is_active": False},
        )
    user.is_active = False
    return user


@transaction.atomic
def reactivate_user(*, actor: User, user: User) -> User:
    """Let a person sign in again, with the role they had.

    Raises:
        PermissionDeniedError: The actor may not change people, or not this one.
    """
    require(actor, "accounts.change_user")
    _require_grantable(actor, _get_role(user))
    if User.objects.filter(pk=user.pk, is_active=False).update(is_active=True):
        audit.record(
            actor=actor,
            verb="reactivate_user",
            target=user,
            before={"is_active": False},
            after={"is_active": True},
        )
    user.is_active = True
    return user


@transaction.atomic
def set_name(*, actor: User, user: User, name: str) -> User:
    """Write what a person is called; everybody may do it for themselves.

    Raises:
        PermissionDeniedError: It is somebody else, and the actor may not change people.
    """
    if actor.pk != user.pk:
        require(actor, "accounts.change_user")
    name = name.strip()
    # A form has set the new name on the object already, so the old one is the database's.
    before = User.objects.get_queryset().select_for_update().values_list("name", flat=True).get(pk=user.pk)
    user.name = name
    if before != name:
        User.objects.filter(pk=user.pk).update(name=name)
        audit.record(actor=actor, verb="set_name", target=user, before={"name": before}, after={"name": name})
    return user


@transaction.atomic
def set_own_password(*, actor: User, password: str) -> User:
    """Write the password that a person chose; their other sessions and tokens are dead from then on.

    Raises:
        PasswordInvalidError: It is too easy to guess.
    """
    _validate_password(password, actor)
    actor.set_password(password)
    actor.save(update_fields=["password"])
    audit.record(actor=actor, verb="set_own_password", target=actor)
    return actor


@transaction.atomic
def make_password_key(*, actor: User, user: User) -> tuple[str, str]:
    """Return the two parts of a link by which whoever has it sets the person's password, once.

    Raises:
        PermissionDeniedError: The actor may not change people, or not this one.
    """
    require(actor, "accounts.change_user")
    _require_grantable(actor, _get_role(user))
    key: str = account_settings.PASSWORD_RESET_TOKEN_GENERATOR().make_token(user)
    audit.record(actor=actor, verb="make_password_key", target=user)
    return user_pk_to_url_str(user), key


@transaction.atomic
def _create_user(*, actor: User | None, email: str, role: str, name: str, password: str | None) -> User:
    _validate_email(email.strip())
    email = email.strip().lower()
    if password is not None:
        _validate_password(password, User(email=email, name=name))
    try:
        with transaction.atomic():
            user = User.objects.create_user(email, password, name=name.strip())
    except IntegrityError as error:
        raise EmailTakenError(fields={"email": [EmailTakenError.sentence]}) from error
    user.groups.set([Group.objects.get(name=role)])
    user.role_name = role
    audit.record(actor=actor, verb="create_user", target=user, after={"email": email, "role": role})
    return user


def _require_grantable(actor: User, role: str | None) -> None:
    if role is None:
        return
    if role not in ROLES:
        raise RoleUnknownError(fields={"role": [RoleUnknownError.sentence]})
    if not PERMISSIONS[role] <= actor.get_all_permissions():
        raise RoleNotGrantableError


def _lock_admins() -> Group:
    # Whoever makes or unmakes an administrator holds this row, so that two cannot remove each other.
    return Group.objects.select_for_update().get(name=ADMIN)


def _require_other_admin(admins: Group, user: User) -> None:
    others = User.objects.filter(groups=admins, is_active=True).exclude(pk=user.pk)
    if User.objects.filter(pk=user.pk, is_active=True).exists() and not others.exists():
        raise LastAdminError


def _get_role(user: User) -> str | None:
    # Read after the lock: what the object says may be older.
    return user.groups.order_by("name").values_list("name", flat=True).first()


def _validate_email(email: str) -> None:
    try:
        validate_email(email)
    except ValidationError as error:
        raise EmailInvalidError(fields={"email": [EmailInvalidError.sentence]}) from error
    # A letter of another alphabet would let two people seem to be one; some become plain in lower case.
    if not email.isascii():
        raise EmailInvalidError(fields={"email": [EmailInvalidError.sentence]})


def _validate_password(password: str, user: User) -> None:
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise PasswordInvalidError(fields={"password": list(error.messages)}) from error
