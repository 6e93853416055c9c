"""Review queues, and who holds what in them."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.db.models import Count, F, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from unfold.decorators import display

from accounts.models import User
from accounts.permissions import can
from evaluations.choices import AssignmentState
from evaluations.forms import ReviewQueueForm, list_raters
from evaluations.models import Assignment, QueueItem, ReviewQueue
from evaluations.services import queues
from mayagen.common.admin import DeletedFilter, ProductModelAdmin, SoftDeleteModelAdmin, show_refusal
from mayagen.common.errors import DomainError


@admin.register(ReviewQueue)
class ReviewQueueAdmin(SoftDeleteModelAdmin):
    """Review queues; what their filter matches comes in by itself."""

    form = ReviewQueueForm
    list_display = ("name", "criterion", "state", "n_due", "n_held", "overlap", "is_blind")
    list_filter = (DeletedFilter, "is_active", "is_blind")
    search_fields = ("name", "instructions")
    ordering = ("name", "id")
    list_select_related = ("criterion",)
    autocomplete_fields = ("prompts", "runs", "datasets")
    fieldsets = (
        (None, {"fields": ("name", "instructions", "criterion", ("overlap", "is_blind", "is_active"))}),
        (
            "What is reviewed",
            {
                "fields": ("prompts", "runs", "datasets"),
                "description": "Nothing chosen: every output. Of each kind that is chosen, one must match.",
            },
        ),
        ("Who rates", {"fields": ("evaluators",)}),
        ("Leases", {"fields": (("held_lease_seconds", "shown_lease_seconds"),)}),
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).annotate(due_items=_count_due(), held_items=_count_held())

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if can(request.user, "accounts.view_user"):
            return fieldsets
        return [fieldset for fieldset in fieldsets if fieldset[0] != "Who rates"]

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "evaluators":
            kwargs["queryset"] = list_raters()
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def save_by_service(self, request: HttpRequest, form: forms.ModelForm, target: Any | None) -> ReviewQueue:
        actor = cast("User", request.user)
        if target is None:
            return queues.create_queue(actor=actor, **form.cleaned_data)
        return queues.change_queue(actor=actor, queue=target, **form.cleaned_data)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: Any) -> None:
        """Do nothing: the service has saved what was chosen."""

    def soft_delete(self, request: HttpRequest, target: ReviewQueue) -> None:
        queues.delete_queue(actor=cast("User", request.user), queue=target)

    def restore(self, request: HttpRequest, target: ReviewQueue) -> None:
        queues.restore_queue(actor=cast("User", request.user), queue=target)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        context["show_save_and_add_another"] = context["show_save_and_continue"] = False
        context["may_restore"] = self.may_delete(request)
        return super().render_change_form(request, context, *args, **kwargs)

    @display(description="State", label={"Open": "success", "Closed": "warning", "Deleted": "danger"})
    def state(self, queue: ReviewQueue) -> str:
        """Whether anybody is given items of it."""
        if queue.is_deleted:
            return "Deleted"
        return "Open" if queue.is_active else "Closed"

    @display(description="Due")
    def n_due(self, queue: Any) -> int:
        """Items with an open place."""
        return int(queue.due_items)

    @display(description="Held now")
    def n_held(self, queue: Any) -> int:
        """Live leases."""
        return int(queue.held_items)


@admin.register(Assignment)
class AssignmentAdmin(ProductModelAdmin):
    """Who was given what; leases can be taken back."""

    list_display = ("evaluator", "queue", "state_label", "lease_expires_at", "finished_at", "is_flagged")
    list_filter = ("state", "is_flagged", ("queue", admin.RelatedOnlyFieldListFilter))
    search_fields = ("evaluator__name", "note")
    list_select_related = ("evaluator", "queue")
    actions = ("release",)
    fields = (
        "evaluator",
        "queue",
        "output_image",
        "state",
        "lease_expires_at",
        "shown_at",
        "finished_at",
        "note",
        "is_flagged",
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields

    def get_queryset(self, request: HttpRequest) -> Any:
        rows = super().get_queryset(request)
        return rows.select_related("evaluator", "queue", "output_image")

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        for button in ("show_save", "show_save_and_continue", "show_save_and_add_another"):
            context[button] = False
        return super().render_change_form(request, context, *args, **kwargs)

    @display(
        description="State",
        ordering="state",
        label={"Leased": "info", "Submitted": "success", "Skipped": "warning"},
    )
    def state_label(self, assignment: Assignment) -> str:
        """Where the evaluator stands with the item."""
        return AssignmentState(assignment.state).label

    @admin.action(description="Take leases back", permissions=["change"])
    def release(self, request: HttpRequest, rows: QuerySet[Assignment]) -> None:
        """Open the places of the chosen leases again."""
        try:
            n = queues.release_assignments(actor=cast("User", request.user), assignments=list(rows))
        except DomainError as error:
            show_refusal(request, error)
        else:
            messages.success(request, f"{n} leases taken back.")


def _count_due() -> Any:
    items = QueueItem.objects.filter(queue=OuterRef("pk"), n_open__gt=0).order_by()
    return Coalesce(Subquery(items.values("queue").annotate(n=Count("pk")).values("n")), 0)


def _count_held() -> Any:
    leased = Assignment.objects.leased().filter(queue=OuterRef("pk")).order_by()
    return Coalesce(Subquery(leased.values("queue").annotate(n=Count(F("pk"))).values("n")), 0)
