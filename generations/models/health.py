"""Whether providers can be reached: one row for each address that was ever in trouble."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from generations.choices import BreakerState, ErrorCode
from generations.querysets import ProviderHealthQuerySet
from mayagen.common.models import UUIDModel


class ProviderHealth(UUIDModel):
    """The circuit breaker of one provider address, shared by all workers.

    While it is open nothing of that address is claimed; once `blocked_until` has passed, one worker makes one
    call to try it. An address without a row has never failed.
    """

    provider = models.CharField(max_length=40)
    base_url = models.CharField(max_length=300, blank=True)
    state = models.CharField(max_length=10, choices=BreakerState.choices, default=BreakerState.CLOSED)
    n_failures = models.PositiveIntegerField(default=0)
    n_openings = models.PositiveIntegerField(default=0)
    opened_at = models.DateTimeField(null=True, blank=True)
    blocked_until = models.DateTimeField(null=True, blank=True)
    last_failed_at = models.DateTimeField(null=True, blank=True)
    last_error_code = models.CharField(max_length=24, blank=True, choices=ErrorCode.choices)
    last_error_message = models.TextField(blank=True)

    objects = ProviderHealthQuerySet.as_manager()

    class Meta:
        verbose_name = "provider health record"
        constraints = (
            models.UniqueConstraint(fields=["provider", "base_url"], name="provider_health_address_unique"),
            models.CheckConstraint(
                condition=Q(state=BreakerState.CLOSED) | Q(blocked_until__isnull=False),
                name="provider_health_open_has_end",
            ),
        )

    def __str__(self) -> str:
        return self.provider
