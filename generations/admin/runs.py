"""Runs: listed with their progress, watched live, cancelled and retried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from unfold.decorators import display

from accounts.models import User
from accounts.permissions import can
from generations import selectors
from generations.admin import shared
from generations.admin.launching import LaunchPages
from generations.choices import FINAL_STATUSES, Status
from generations.models import DatasetItem, Generation, Run
from generations.services.retrying import retry_failed
from generations.services.runs import cancel_run
from mayagen.common.admin import ProductModelAdmin, show_refusal
from mayagen.common.errors import DomainError
from prompts.admin.shared import name_of
from prompts.models import PromptVersion

CASES_PER_PAGE: Final = 20
STOP_POLLING: Final = 286


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


@admin.register(Run)
class RunAdmin(LaunchPages, ProductModelAdmin):
    """Runs; adding one is launching it."""

    list_display = ("name", "state", "progress", "versions", "dataset_version", "author", "created_at")
    list_filter = (FinishedFilter, ("created_at", shared.CreatedFilter), "priority")
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
            path("launch/plan/", wrap(self.plan_view), name="generations_run_plan"),
            path("<uuid:run_id>/progress/", wrap(self.progress_view), name="generations_run_progress"),
            path("<uuid:run_id>/cancel/", wrap(self.cancel_view), name="generations_run_cancel"),
            path("<uuid:run_id>/retry/", wrap(self.retry_view), name="generations_run_retry"),
            *super().get_urls(),
        ]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show the run with its progress and its images."""
        run: Run = self.get_visible(request, object_id)
        context = {
            **self.admin_site.each_context(request),
            **self._describe(request, run),
            "opts": self.opts,
            "title": run.name,
            "media": self.media,
        }
        return TemplateResponse(request, "admin/generations/run/page.html", context)

    def progress_view(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        """Return the page's changing part; a finished run says that nobody need ask again."""
        run: Run = self.get_visible(request, str(run_id))
        context = self._describe(request, run)
        status = STOP_POLLING if context["progress"].is_finished else 200
        return render(request, "admin/generations/run/_progress.html", context, status=status)

    def cancel_view(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        """Ask, then cancel all of the run that is not finished."""
        run: Run = self.get_visible(request, str(run_id))
        if not can(request.user, "generations.change_run"):
            raise PermissionDenied
        return self.confirm(
            request,
            title="Cancel run",
            sentence=f"All generations of “{run}” that are not finished will be cancelled. What a provider"
            " has already begun may still cost money.",
            button="Cancel the run",
            verb=lambda: cancel_run(actor=cast("User", request.user), run=run),
            done="The run was cancelled.",
            back=self.url_of("change", run.pk),
        )

    def retry_view(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        """Queue new generations for the failed ones, or for those of one error code."""
        run: Run = self.get_visible(request, str(run_id))
        if request.method != "POST" or not can(request.user, "generations.change_run"):
            raise PermissionDenied
        code = request.POST.get("error_code", "").replace("\x00", "")
        try:
            n_retried = retry_failed(actor=cast("User", request.user), run=run, error_code=code or None)
        except DomainError as error:
            show_refusal(request, error)
        else:
            messages.success(request, f"{n_retried:,} generations were queued again.")
        return HttpResponseRedirect(self.url_of("change", run.pk))

    def _describe(self, request: HttpRequest, run: Run) -> dict[str, Any]:
        progress = selectors.get_run_progress(run_id=run.pk, now=timezone.now())
        versions = sorted(
            run.prompt_versions.all(), key=lambda version: (version.prompt.name, version.number)
        )
        may_change = can(request.user, "generations.change_run")
        return {
            "run": run,
            "progress": progress,
            "chip_class": shared.CHIP_CLASSES[Status(progress.state)],
            "state_label": Status(progress.state).label,
            "shares": _get_shares(progress),
            "versions": versions,
            "author": name_of(run.created_by, request),
            "may_cancel": may_change and not progress.is_finished,
            "may_retry": may_change and bool(progress.failures),
            **_describe_grid(request, run, versions),
        }

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


def _get_shares(progress: selectors.RunProgress) -> list[tuple[str, str, int, float]]:
    """Return (status, label, count, percent of all) for the bar."""
    total = progress.n_total or 1
    order = (Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.PROCESSING, Status.QUEUED)
    return [
        (status.value, str(status.label), progress.counts[status], 100 * progress.counts[status] / total)
        for status in order
    ]


def _describe_grid(request: HttpRequest, run: Run, versions: Sequence[PromptVersion]) -> dict[str, Any]:
    """Return one page of cases with, for each, the generations of each version."""
    if run.dataset_version_id:
        items = DatasetItem.objects.filter(dataset_version=run.dataset_version_id).order_by("position")
        page = shared.get_page(request, items, size=CASES_PER_PAGE)
        cases = [(item.key, item.brief) for item in page.rows]
    else:
        page = shared.get_page(request, DatasetItem.objects.none(), size=CASES_PER_PAGE)
        cases = [("", run.brief)]
    found: dict[tuple[str, UUID], list[Generation]] = {}
    rows = Generation.objects.current().filter(run=run, case_key__in=[key for key, _ in cases])
    briefs: dict[str, str] = {}
    for generation in rows.order_by("repeat", "id").prefetch_related("outputs"):
        found.setdefault((generation.case_key, generation.prompt_version_id), []).append(generation)
        briefs.setdefault(generation.case_key, generation.brief)
    return {
        "case_page": page,
        "grid": [
            (key, briefs.get(key, brief), [found.get((key, version.pk), []) for version in versions])
            for key, brief in cases
        ],
    }
