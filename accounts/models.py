"""People, what they did, and the buckets that limit how fast they may do it."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.crypto import salted_hmac

from accounts.querysets import AuditEntryQuerySet, UserQuerySet
from accounts.roles import ADMIN, VIEWER
from mayagen.common.models import UUIDModel


class UserManager(BaseUserManager["User"]):
    """Makes people; asks for people by the verbs of `UserQuerySet`."""

    def get_queryset(self) -> UserQuerySet:
        """Return all people."""
        return UserQuerySet(self.model, using=self._db)

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Make an active person without a role; without a password they cannot sign in by one."""
        user: User = self.model(email=self.normalize_email(email).lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def get_by_natural_key(self, username: str | None) -> User:
        """Return the person with that e-mail address, whatever its case."""
        return self.get(email__iexact=username)


class User(UUIDModel, AbstractBaseUser, PermissionsMixin):
    """One person who signs in by e-mail; has exactly one role, held as a Django group.

    Never deleted once they have done anything: they are deactivated instead.
    """

    email = models.EmailField(max_length=254)
    name = models.CharField(max_length=120, blank=True)
    is_active = models.BooleanField(default=True)
    sign_in_epoch = models.PositiveIntegerField(default=0, editable=False)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        constraints = (models.UniqueConstraint(Lower("email"), name="user_email_unique"),)

    def __str__(self) -> str:
        return self.name or self.email

    def _get_session_auth_hash(self, secret: str | None = None) -> str:
        # Django's seam under both hashes that a session may match. Raising the epoch ends every session and
        # token of this person, as a new password does.
        return salted_hmac(
            "accounts.User.session",
            f"{self.sign_in_epoch}:{self.password}",
            secret=secret,
            algorithm="sha256",
        ).hexdigest()

    @property
    def role(self) -> str | None:
        """The name of this person's role; asks the database once unless `with_role()` brought it."""
        if not hasattr(self, "role_name"):
            self.role_name: str | None = self.groups.order_by("name").values_list("name", flat=True).first()
        return self.role_name

    @property
    def is_staff(self) -> bool:
        """Whether the person may open the admin: admins and viewers may, evaluators may not."""
        return self.is_active and (self.is_superuser or self.role in {ADMIN, VIEWER})


class AuditEntry(UUIDModel):
    """Who did what to which object, before and after; written by the verbs, changed by nobody."""

    actor = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="audit_entries")
    verb = models.CharField(max_length=64)
    object_type = models.CharField(max_length=64)
    object_id = models.CharField(max_length=64)
    object_label = models.CharField(max_length=200, blank=True)
    before = models.JSONField(default=dict, blank=True)
    after = models.JSONField(default=dict, blank=True)
    ip_address = models.GenericIPAddressField(null=True, blank=True)

    objects = AuditEntryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "audit entries"
        indexes = (
            models.Index(fields=["object_type", "object_id"], name="audit_object"),
            models.Index(fields=["actor", "-id"], name="audit_actor"),
        )

    def __str__(self) -> str:
        return f"{self.verb} {self.object_type}"


class RateBucket(models.Model):
    """The theoretical arrival time of one limited thing: a person's calls, a provider's submissions.

    Source: the generic cell rate algorithm, ITU-T I.371.
    """

    key = models.CharField(max_length=200, primary_key=True)
    arrival_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = (models.Index(fields=["arrival_at"], name="rate_bucket_arrival"),)

    def __str__(self) -> str:
        return self.key


class IdempotencyRecord(UUIDModel):
    """The first answer to a create that costs money, given again when the same request is repeated.

    Inserted in the transaction of the verb itself, so a record exists exactly when its effect does.
    """

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="idempotency_records")
    key = models.CharField(max_length=255)
    request_hash = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField()
    body = models.JSONField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=["user", "key"], name="idempotency_user_key_unique"),)

    def __str__(self) -> str:
        return self.key
