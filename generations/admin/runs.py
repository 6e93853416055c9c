"""Runs: listed with their progress, watched live, cancelled and retried."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import URLPattern, path
from django.utils.html import format_html, format_html_join
from unfold.decorators import display

from generations import selectors
from generations.admin import shared
from generations.admin.launching import LaunchPages
from generations.admin.model_tests import ModelTestPages
from generations.admin.run_page import RunPages
from generations.choices import FINAL_STATUSES, RunKind, Status
from generations.models import Generation, Run
from mayagen.common.admin import ProductModelAdmin


class FinishedFilter(admin.SimpleListFilter):
    """Runs by whether anything is left to do."""

    title = "progress"
    parameter_name = "progress"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("open", "In progress"), ("finished", "Finished"), ("failures", "With failures")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        current = Generation.objects.current()
        is_open = current.exclude(status__in=FINAL_STATUSES).values("run")
        if self.value() == "open":
            return queryset.filter(pk__in=is_open)
        if self.value() == "finished":
            return queryset.exclude(pk__in=is_open.filter(run__isnull=False))
        if self.value() == "failures":
            return queryset.filter(pk__in=current.filter(status=Status.FAILED).values("run"))
        return queryset


class KindFilter(admin.SimpleListFilter):
    """Leaves out the tests of models, unless asked."""

    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("test", "Tests of models"), ("all", "All")]

    def choices(self, changelist: Any) -> Any:
        for value, label in ((None, "Launched"), *self.lookup_choices):
            yield {
                "selected": self.value() == value,
                "query_string": changelist.get_query_string({self.parameter_name: value}),
                "display": label,
            }

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "all":
            return queryset
        return queryset.filter(kind=RunKind.TEST if self.value() == "test" else RunKind.LAUNCHED)


@admin.register(Run)
class RunAdmin(RunPages, LaunchPages, ModelTestPages, ProductModelAdmin):
    """Runs; adding one is launching it."""

    list_display = ("name", "state", "progress", "versions", "dataset_version", "author", "created_at")
    list_filter = (FinishedFilter, KindFilter, ("created_at", shared.CreatedFilter), "priority")
    list_filter_submit = True
    search_fields = ("name", "note")
    list_select_related = ("dataset_version__dataset", "created_by")

    class Media:
        css = {"all": ("prompts/admin.css", "generations/admin.css")}

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("prompt_versions__prompt")

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        shown = super().get_changelist_instance(request)
        shown.result_list = list(shown.result_list)
        selectors.attach_counts(shown.result_list)
        return shown

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("launch/", wrap(self.launch_view), name="generations_run_launch"),
            path(
                "test-model/<uuid:model_id>/", wrap(self.test_model_view), name="generations_run_test_model"
            ),
            path("launch/plan/", wrap(self.plan_view), name="generations_run_plan"),
            path("<uuid:run_id>/progress/", wrap(self.progress_view), name="generations_run_progress"),
            path("<uuid:run_id>/cancel/", wrap(self.cancel_view), name="generations_run_cancel"),
            path(
                "<uuid:run_id>/unknown/<slug:decision>/",
                wrap(self.unknown_view),
                name="generations_run_unknown",
            ),
            path("<uuid:run_id>/ceiling/", wrap(self.ceiling_view), name="generations_run_ceiling"),
            path("<uuid:run_id>/ceiling/remove/", wrap(self.uncap_view), name="generations_run_uncap"),
            path("<uuid:run_id>/retry/", wrap(self.retry_view), name="generations_run_retry"),
            *super().get_urls(),
        ]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @display(description="State", label=shared.STATUS_LABELS)
    def state(self, run: Any) -> str:
        """The state that the counts amount to."""
        return str(Status(selectors.get_run_state(run.counts)).label)

    @display(description="Finished")
    def progress(self, run: Any) -> str:
        """How many of its generations are finished, and how many failed."""
        n_total = sum(run.counts.values())
        n_finished = sum(run.counts[status] for status in FINAL_STATUSES)
        n_failed = run.counts[Status.FAILED]
        failed = format_html(' <span class="mg-chip mg-chip-danger">{} failed</span>', n_failed)
        return format_html("{} of {}{}", f"{n_finished:,}", f"{n_total:,}", failed if n_failed else "")

    @display(description="Versions")
    def versions(self, run: Run) -> str:
        """The prompt versions."""
        return format_html_join(", ", "{}", ((str(version),) for version in run.prompt_versions.all())) or "–"

    @display(description="Launched by")
    def author(self, run: Run) -> str:
        """Who launched it, if they have given a name."""
        return run.created_by.name if run.created_by and run.created_by.name else "–"
