"""A run's page: its numbers, its failures, and its results side by side, followed while they change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, cast
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.http import urlencode

from accounts.models import User
from accounts.permissions import can
from generations import run_grid, selectors
from generations.admin import shared
from generations.choices import ErrorCode, Status
from generations.forms import CeilingForm
from generations.models import Run
from generations.run_grid import GridRow
from generations.services.ceilings import raise_ceiling
from generations.services.retrying import retry_failed
from generations.services.runs import cancel_run
from generations.services.unknown_outcomes import Decision, decide_unknown_outcomes
from mayagen.common.admin import show_refusal
from mayagen.common.errors import DomainError
from prompts.admin.shared import name_of
from prompts.models import PromptVersion

CASES_PER_PAGE: Final = 20
MAX_REPEATS_AT_ONCE: Final = 4
MAX_TAG_LENGTH: Final = 200
STOP_POLLING: Final = 286
UNKNOWN: Final = ErrorCode.OUTCOME_UNKNOWN
# What "retry all" passes over: the one is asked about first, the other would meet the same ceiling again.
_ON_THEIR_OWN: Final = (UNKNOWN, ErrorCode.CEILING_REACHED)
PICTURE_SIZES: Final = {"small": "small", "large": "thumbnail"}
_DECISIONS: Final = {
    Decision.ACCEPT_AS_LOST: (
        "Accept unknown calls as lost",
        "The generations stay failed.",
        "Accept them as lost",
        "They count as lost. What they may have cost is booked as spent.",
    ),
    Decision.SEND_AGAIN: (
        "Send unknown calls again",
        "The calls are made and paid for once more.",
        "Send them again",
        "They were queued again. What the first calls may have cost is booked as spent.",
    ),
}
PAGE_TEMPLATE: Final = "admin/generations/run/page.html"
NEWS_TEMPLATE: Final = "admin/generations/run/_news.html"


@dataclass(frozen=True, slots=True)
class GridChoice:
    """What the address asks to see of the grid; what can't be read counts as not given."""

    tag: str = ""
    repeat: int | None = None
    size: str = "small"
    is_similar: bool = False

    @property
    def kept(self) -> dict[str, str]:
        """Return the parameters that every address of the grid carries."""
        values = {
            "tag": self.tag,
            "repeat": "" if self.repeat is None else str(self.repeat + 1),
            "pictures": self.size if self.size != "small" else "",
            "similar": "1" if self.is_similar else "",
        }
        return {name: value for name, value in values.items() if value}


def read_choice(request: HttpRequest, run: Run) -> GridChoice:
    """Return what the address asks for; of many repeats the first is shown unless another is named."""
    text = request.GET.get("repeat", "")
    is_number = text.isascii() and text.isdigit() and len(text) < 5  # noqa: PLR2004 - above any limit
    repeat = int(text) - 1 if is_number and 1 <= int(text) <= run.repeats else None
    if repeat is None and run.repeats > MAX_REPEATS_AT_ONCE:
        repeat = 0
    tag = request.GET.get("tag", "").replace("\x00", "")[:MAX_TAG_LENGTH]
    size = request.GET.get("pictures", "")
    return GridChoice(
        tag=tag,
        repeat=repeat,
        size=size if size in PICTURE_SIZES else "small",
        is_similar=request.GET.get("similar") == "1",
    )


class RunPages:
    """Part of the admin of runs."""

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show the run with its progress and its images."""
        run: Run = self.get_visible(request, object_id)  # type: ignore[attr-defined]
        return self._show(request, run, CeilingForm())

    def _show(
        self, request: HttpRequest, run: Run, ceiling_form: CeilingForm, *, status: int = 200
    ) -> HttpResponse:
        choice = read_choice(request, run)
        context = {
            **self.describe_page(request, run.name),  # type: ignore[attr-defined]
            **_describe_progress(request, run),
            **_describe_grid(request, run, choice),
            "ceiling_form": ceiling_form if run.ceiling_usd else None,
            "author": name_of(run.created_by, request),
            "tags": run_grid.list_tags(run),
            "n_near_duplicates": run_grid.list_near_duplicates(run).count(),
            "repeats": range(1, run.repeats + 1) if run.repeats > 1 else (),
            "may_show_all_repeats": run.repeats <= MAX_REPEATS_AT_ONCE,
        }
        return TemplateResponse(request, PAGE_TEMPLATE, context, status=status)

    def progress_view(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        """Return the page's numbers and those cells that are no longer as the page shows them.

        `seen` holds the fingerprints of the rows shown. What has not changed is not sent, so that it
        keeps its focus, and its pictures. A run in which nothing will change says that nobody need ask
        again.
        """
        run: Run = self.get_visible(request, str(run_id))  # type: ignore[attr-defined]
        seen = request.GET.get("seen", "").split(".")
        grid = _describe_grid(request, run, read_choice(request, run))
        context = {**_describe_progress(request, run), **grid}
        rows: list[GridRow] = context["rows"]
        is_same_page = len(seen) == len(rows)
        context["changed"] = [
            (number, row)
            for number, row in enumerate(rows)
            if not is_same_page or seen[number] != row.fingerprint
        ]
        is_over = context["progress"].is_finished and run_grid.is_settled(rows)
        return render(request, NEWS_TEMPLATE, context, status=STOP_POLLING if is_over else 200)

    def cancel_view(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        """Ask, then cancel all of the run that is not finished."""
        run = self._get_changeable(request, run_id)
        return self._ask(
            request,
            run,
            title="Cancel run",
            sentence=f"All generations of “{run}” that are not finished will be cancelled. What a provider"
            " has already begun may still cost money.",
            button="Cancel the run",
            verb=lambda: cancel_run(actor=cast("User", request.user), run=run),
            done="The run was cancelled.",
        )

    def ceiling_view(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        """Raise the ceiling and queue what it had stopped, or show the page with what was refused."""
        run = self._get_changeable(request, run_id)
        page = self.url_of("change", run.pk)  # type: ignore[attr-defined]
        if request.method != "POST":
            return HttpResponseRedirect(page)
        form, status = CeilingForm(request.POST), HTTPStatus.BAD_REQUEST
        if form.is_valid():
            amount = form.cleaned_data["ceiling_usd"]
            try:
                n_queued = raise_ceiling(actor=cast("User", request.user), run=run, ceiling_usd=amount)
            except DomainError as error:
                form.add_refusal(error)
                status = HTTPStatus(error.status)
            else:
                messages.success(request, f"The ceiling is raised. Queued: {_count(n_queued, 'generation')}.")
                return HttpResponseRedirect(page)
        return self._show(request, run, form, status=status)

    def uncap_view(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        """Ask, then remove the ceiling and queue all that it had stopped."""
        run = self._get_changeable(request, run_id)
        return self._ask(
            request,
            run,
            title="Remove the ceiling",
            sentence=f"“{run}” may then cost as much as it will, and all that its ceiling stopped is queued.",
            button="Remove the ceiling",
            is_dangerous=True,
            verb=lambda: raise_ceiling(actor=cast("User", request.user), run=run, ceiling_usd=None),
            done="The ceiling was removed.",
        )

    def retry_view(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        """Queue new generations for the failed ones, or for those of one error code.

        What may be paid for twice has a page of its own, which asks first.
        """
        run = self._get_changeable(request, run_id)
        if request.method != "POST":
            raise PermissionDenied
        code = request.POST.get("error_code", "").replace("\x00", "")
        if code == UNKNOWN:
            page = self.url_of("unknown", run.pk, Decision.SEND_AGAIN.value)  # type: ignore[attr-defined]
            return HttpResponseRedirect(page)
        try:
            n_retried = retry_failed(
                actor=cast("User", request.user), run=run, error_code=code or None, leaves_unknown=not code
            )
        except DomainError as error:
            show_refusal(request, error)
        else:
            messages.success(request, f"Queued again: {_count(n_retried, 'generation')}.")
        return HttpResponseRedirect(self.url_of("change", run.pk))  # type: ignore[attr-defined]

    def unknown_view(self, request: HttpRequest, run_id: UUID, decision: str) -> HttpResponse:
        """Ask, then accept the calls whose outcome nobody knows as lost, or send them again."""
        run = self._get_changeable(request, run_id)
        if decision not in list(Decision):
            raise Http404
        title, then, button, done = _DECISIONS[Decision(decision)]
        unknown = selectors.list_unknown_outcomes(run)
        return self._ask(
            request,
            run,
            title=title,
            sentence=f"The provider may have carried out the {_count(unknown.count, 'call')} whose outcome"
            f" nobody knows, and charged up to ${unknown.at_risk_usd:,.2f}. That money is booked as spent."
            f" {then}",
            button=button,
            is_dangerous=decision == Decision.SEND_AGAIN,
            verb=lambda: decide_unknown_outcomes(
                actor=cast("User", request.user), run=run, decision=Decision(decision)
            ),
            done=done,
        )

    def _get_changeable(self, request: HttpRequest, run_id: UUID) -> Run:
        run: Run = self.get_visible(request, str(run_id))  # type: ignore[attr-defined]
        if not can(request.user, "generations.change_run"):
            raise PermissionDenied
        return run

    def _ask(self, request: HttpRequest, run: Run, **question: Any) -> HttpResponse:
        """Ask as `confirm` does; the answer leads back to the run's page."""
        page = self.url_of("change", run.pk)  # type: ignore[attr-defined]
        answer: HttpResponse = self.confirm(request, back=page, under=run, **question)  # type: ignore[attr-defined]
        return answer


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def _describe_progress(request: HttpRequest, run: Run) -> dict[str, Any]:
    progress = selectors.get_run_progress(run_id=run.pk, now=timezone.now())
    may_change = can(request.user, "generations.change_run")
    return {
        "run": run,
        "progress": progress,
        "unknown": selectors.list_unknown_outcomes(run) if progress.failures else None,
        "chip_class": shared.CHIP_CLASSES[Status(progress.state)],
        "state_label": Status(progress.state).label,
        "shares": _get_shares(progress),
        "held_back": selectors.list_held_back(run_id=run.pk) if _is_still(progress) else [],
        "may_cancel": may_change and not progress.is_finished,
        "may_raise_ceiling": may_change and run.ceiling_usd is not None,
        "may_retry": may_change and bool(progress.failures),
        "may_retry_all": may_change and any(each.code not in _ON_THEIR_OWN for each in progress.failures),
        "may_launch": can(request.user, "generations.add_run"),
        "shows_provider": can(request.user, "generations.change_generation"),
    }


def _is_still(progress: selectors.RunProgress) -> bool:
    """Whether work waits and none is being done, which is worth asking why."""
    return bool(progress.counts[Status.QUEUED]) and not progress.counts[Status.PROCESSING]


def _get_shares(progress: selectors.RunProgress) -> list[tuple[str, str, int, float]]:
    """Return (status, label, count, percent of all) for the bar."""
    total = progress.n_total or 1
    order = (Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.PROCESSING, Status.QUEUED)
    return [
        (status.value, str(status.label), progress.counts[status], 100 * progress.counts[status] / total)
        for status in order
    ]


def _describe_grid(request: HttpRequest, run: Run, choice: GridChoice) -> dict[str, Any]:
    """Return one page of cases with, for each, the generations of each version."""
    versions = _list_versions(run)
    cases = run_grid.list_cases(run, tag=choice.tag, with_near_duplicates=choice.is_similar)
    page = shared.get_page(request, cases, size=CASES_PER_PAGE, **choice.kept)
    version_ids = [version.pk for version in versions]
    rows = run_grid.load_rows(run, page.rows, version_ids=version_ids, repeat=choice.repeat)
    seen = ".".join(row.fingerprint for row in rows)
    return {
        "versions": versions,
        "choice": choice,
        "picture_size": PICTURE_SIZES[choice.size],
        "case_page": page,
        "rows": rows,
        "news_query": urlencode({**choice.kept, "page": str(page.number), "seen": seen}),
        "is_followed": not run_grid.is_settled(rows),
    }


def _list_versions(run: Run) -> Sequence[PromptVersion]:
    return sorted(run.prompt_versions.all(), key=lambda version: (version.prompt.name, version.number))
