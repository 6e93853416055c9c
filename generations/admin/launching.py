"""The page that launches a run, with what it will make and cost before it is launched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, cast

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.utils import timezone

from accounts.models import User
from generations.analytics.quotas import Allowance, list_allowances
from generations.forms import RunLaunchForm, read_inputs
from generations.models import DatasetItem, DatasetVersion
from generations.services.model_tests import PROMPT_SLUG as TEST_SLUG
from generations.services.planning import prepare_version
from generations.services.runs import MAX_GENERATIONS, MAX_REPEATS, RunTooLargeError, create_run
from mayagen.common.errors import DomainError
from mayagen.common.ids import read_ids
from prompts.choices import Kind
from prompts.models import PromptVersion
from prompts.selectors import list_version_variables

N_VERSIONS_OFFERED: Final = 200
N_DATASETS_OFFERED: Final = 200
VARIABLE_PREFIX: Final = "var-"


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """What the form asks for as it stands: what it would make, what it needs, what is in the way."""

    n_versions: int = 0
    n_cases: int = 0
    repeats: int = 1
    n_images: int = 0
    cost_usd: Decimal = Decimal(0)
    variables: Sequence[tuple[str, str]] = ()
    is_edit: bool = False
    problem: str = ""
    allowances: Sequence[Allowance] = ()
    dataset: DatasetVersion | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_generations(self) -> int:
        """How many generations there would be."""
        return self.n_versions * self.n_cases * self.repeats


class LaunchPages:
    """Part of the admin of runs."""

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Go where runs are launched."""
        return HttpResponseRedirect(self.url_of("launch"))  # type: ignore[attr-defined]

    def launch_view(self, request: HttpRequest) -> HttpResponse:
        """Show the form, or launch what it describes."""
        self._check_right(request)
        versions, datasets = _list_versions(request), _list_datasets(request)
        source: QueryDict = request.POST
        if request.method == "POST":
            form = RunLaunchForm(request.POST, request.FILES, versions=versions, datasets=datasets)
            if form.is_valid():
                try:
                    run = _launch(request, form)
                except DomainError as error:
                    form.add_refusal(error)
                else:
                    messages.success(request, "The run was launched.")
                    return HttpResponseRedirect(self.url_of("change", run.pk))  # type: ignore[attr-defined]
        else:
            source = _start_from(request, versions, datasets)
            form = RunLaunchForm(initial=_to_initial(source), versions=versions, datasets=datasets)
        offered = _with_chosen(versions, source.getlist("prompt_versions"))
        context = {
            **self.describe_page(request, "Launch a run"),  # type: ignore[attr-defined]
            "form": form,
            "offered": offered,
            "chosen": set(source.getlist("prompt_versions")),
            "plan": make_plan(request, source, versions, datasets),
        }
        return TemplateResponse(request, "admin/generations/run/launch.html", context)

    def plan_view(self, request: HttpRequest) -> HttpResponse:
        """Return the part of the form that follows from the rest: variables, count, cost, problems."""
        self._check_right(request)
        plan = make_plan(request, request.POST, _list_versions(request), _list_datasets(request))
        return render(request, "admin/generations/run/_plan.html", {"plan": plan})

    def _check_right(self, request: HttpRequest) -> None:
        if not self.has_add_permission(request):  # type: ignore[attr-defined]
            raise PermissionDenied


def make_plan(
    request: HttpRequest,
    source: QueryDict,
    versions: QuerySet[PromptVersion],
    datasets: QuerySet[DatasetVersion],
) -> LaunchPlan:
    """Return what the form's values amount to; values that are none count as not given.

    Args:
        request: Whose user is going to launch.
        source: The values.
        versions, datasets: What may be chosen.
    """
    chosen = list(versions.filter(pk__in=read_ids(source.getlist("prompt_versions"))))
    dataset_ids = read_ids([source.get("dataset_version", "")])
    dataset = datasets.filter(pk__in=dataset_ids).first() if dataset_ids else None
    repeats = _read_repeats(source.get("repeats", "1"))
    names = dict.fromkeys(name for version in chosen for name in list_version_variables(version))
    n_cases = cast("Any", dataset).n_items if dataset else 1
    n_outputs = sum(version.n_outputs for version in chosen)
    cost = sum((_get_price(version) for version in chosen), start=Decimal(0)) * n_cases * repeats
    n_paid = sum(not version.image_model.is_free for version in chosen) * n_cases * repeats
    allowances = list_allowances(user_id=cast("User", request.user).pk, now=timezone.now())
    return LaunchPlan(
        n_versions=len(chosen),
        n_cases=n_cases,
        repeats=repeats,
        n_images=n_outputs * n_cases * repeats,
        cost_usd=cost,
        variables=[(name, source.get(VARIABLE_PREFIX + name, "")) for name in names],
        is_edit=any(version.image_model.kind != Kind.TEXT_TO_IMAGE for version in chosen),
        problem=_find_problem(chosen, dataset, repeats) or _find_shortage(allowances, n_paid, cost),
        allowances=allowances,
        dataset=dataset,
    )


def _find_problem(chosen: Sequence[PromptVersion], dataset: DatasetVersion | None, repeats: int) -> str:
    """Return why this can't be launched, as far as it can be known before the rest is filled in."""
    try:
        for version in chosen:
            prepare_version(version)
    except DomainError as error:
        return error.message
    if len(chosen) * repeats * (cast("Any", dataset).n_items if dataset else 1) > MAX_GENERATIONS:
        return RunTooLargeError.sentence
    if dataset is None:
        return ""
    used = {version: set(list_version_variables(version)) for version in chosen}
    items = DatasetItem.objects.filter(dataset_version=dataset).order_by("position")
    for key, variables in items.values_list("key", "variables").iterator(chunk_size=2_000):
        for version, names in used.items():
            missing = sorted(names - variables.keys())
            if missing:
                return f"{version}: the item {key} has no value for {', '.join(missing)}."
    return ""


def _find_shortage(allowances: Sequence[Allowance], n_paid: int, cost: Decimal) -> str:
    for allowance in allowances:
        if n_paid and not allowance.allows(n_generations=n_paid, cost_usd=cost):
            whose = "The installation's" if allowance.user is None else "Your"
            return f"{whose} quota leaves too little for this in this month."
    return ""


def _get_price(version: PromptVersion) -> Decimal:
    model = version.image_model
    return Decimal(0) if model.is_free else (model.price_usd or Decimal(0)) * version.n_outputs


def _launch(request: HttpRequest, form: RunLaunchForm) -> Any:
    values = {
        name: form.cleaned_data[name]
        for name in ("name", "dataset_version", "repeats", "base_seed", "priority", "ceiling_usd", "note")
    }
    if values["dataset_version"] is None:
        names = {
            name
            for version in form.cleaned_data["prompt_versions"]
            for name in list_version_variables(version)
        }
        values["variables"] = {
            name: request.POST[VARIABLE_PREFIX + name]
            for name in names
            if request.POST.get(VARIABLE_PREFIX + name, "").strip()
        }
        values["brief"] = form.cleaned_data["brief"]
    return create_run(
        actor=cast("User", request.user),
        prompt_versions=list(form.cleaned_data["prompt_versions"]),
        input_files=read_inputs(form.cleaned_data),
        **values,
    )


def _list_versions(request: HttpRequest) -> QuerySet[PromptVersion]:
    user = cast("User", request.user)
    usable = PromptVersion.objects.visible_to(user).usable()
    return usable.select_related("prompt", "image_model").order_by("prompt__name", "prompt_id", "-number")


def _list_datasets(request: HttpRequest) -> QuerySet[DatasetVersion]:
    visible = DatasetVersion.objects.visible_to(cast("User", request.user))
    alive = visible.filter(dataset__deleted_at__isnull=True).select_related("dataset")
    return alive.annotate(n_items=Count("items")).order_by("dataset__name", "dataset_id", "-number")


def _with_chosen(versions: QuerySet[PromptVersion], chosen: Sequence[str]) -> list[PromptVersion]:
    """Return the versions to offer: the newest ones, and those that are chosen already."""
    # What models were tested with is no prompt of anybody's, though a link may still choose it.
    newest = list(versions.exclude(prompt__slug=TEST_SLUG).order_by("-id")[:N_VERSIONS_OFFERED])
    others = versions.filter(pk__in=read_ids(chosen)).exclude(pk__in=[version.pk for version in newest])
    return sorted([*newest, *others], key=lambda version: (version.prompt.name.lower(), -version.number))


def _start_from(
    request: HttpRequest, versions: QuerySet[PromptVersion], datasets: QuerySet[DatasetVersion]
) -> QueryDict:
    """Return what the address asks to begin with, as if it had been typed."""
    source = QueryDict(mutable=True)
    chosen = list(versions.filter(pk__in=read_ids(request.GET.getlist("version"))))
    asked = len(request.GET.getlist("version"))
    if len(chosen) < asked:
        messages.warning(request, "A version can't be used for a run: it or its model is deleted.")
    source.setlist("prompt_versions", [str(version.pk) for version in chosen])
    dataset_ids = read_ids([request.GET.get("dataset", "")])
    if dataset_ids and datasets.filter(pk__in=dataset_ids).exists():
        source["dataset_version"] = str(dataset_ids[0])
    names = " and ".join(str(version) for version in chosen[:2])
    source["name"] = f"{names or 'Run'}, {timezone.now():%-d %B %H:%M}"
    return source


def _to_initial(source: QueryDict) -> dict[str, Any]:
    return {"name": source["name"], "dataset_version": source.get("dataset_version", "")}


def _read_repeats(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 5):  # noqa: PLR2004 - above any limit
        return 1
    return max(1, min(int(text), MAX_REPEATS))
