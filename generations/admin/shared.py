"""What the pages of this app share: panels from above, filters, pages of rows, people's names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, datetime, timedelta
from typing import Any, Final, Generic, TypeVar

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import RangeDateFilter
from unfold.utils import parse_date_str

from generations.choices import Status
from generations.models import Generation, StoredImage

STATUS_LABELS: Final = {
    "Queued": "info",
    "Processing": "warning",
    "Completed": "success",
    "Failed": "danger",
    "Cancelled": "default",
}
CHIP_CLASSES: Final = {
    Status.QUEUED: "mg-chip-plain",
    Status.PROCESSING: "mg-chip",
    Status.COMPLETED: "mg-chip-success",
    Status.FAILED: "mg-chip-danger",
    Status.CANCELLED: "mg-chip-plain",
}
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class GenerationPanel:
    """A part that an app above adds to a generation's page.

    Args:
        template: Rendered with what `load` returns, and nothing else.
        load: Called once per page; None leaves the panel out.
    """

    template: str
    load: Callable[[Generation, HttpRequest], Mapping[str, Any] | None]


_panels: list[GenerationPanel] = []


def add_generation_panel(panel: GenerationPanel) -> None:
    """Add a part to the generation's page; for the `ready` of an app above this one."""
    _panels.append(panel)


def render_panels(generation: Generation, request: HttpRequest) -> list[SafeString]:
    """Return the added parts of a generation's page."""
    loaded = ((panel.template, panel.load(generation, request)) for panel in _panels)
    return [
        render_to_string(template, dict(values), request) for template, values in loaded if values is not None
    ]


@dataclass(frozen=True, slots=True)
class RowPage(Generic[Row]):
    """One page of rows on a page of one's own, with the addresses of its neighbours."""

    rows: list[Row]
    number: int
    n_pages: int
    n_rows: int
    previous_query: str
    next_query: str


def get_page(request: HttpRequest, rows: QuerySet[Any], *, size: int, **kept: str) -> RowPage[Any]:
    """Return the page of rows that `?page=` names; what is no number is the first, too large the last.

    Args:
        request: Whose address names the page.
        rows: In their order.
        size: Rows of one page.
        kept: Parameters that the addresses of the neighbours carry too.
    """
    page = Paginator(rows, size).get_page(request.GET.get("page", "1")[:9])

    def query(number: int) -> str:
        return urlencode([*((name, value) for name, value in kept.items() if value), ("page", str(number))])

    return RowPage(
        rows=list(page.object_list),
        number=page.number,
        n_pages=page.paginator.num_pages,
        n_rows=page.paginator.count,
        previous_query=query(page.number - 1) if page.has_previous() else "",
        next_query=query(page.number + 1) if page.has_next() else "",
    )


class RatingFilter(admin.SimpleListFilter):
    """Generations by what people think of them."""

    title = "rating"
    parameter_name = "rating"
    ranges: Final = {"4": (4, 5.01), "3": (3, 4), "2": (2, 3), "1": (1, 2)}

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("unrated", "Unrated"),
            ("rated", "Rated"),
            ("4", "4 to 5"),
            ("3", "3 to 4"),
            ("2", "2 to 3"),
            ("1", "1 to 2"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if value == "unrated":
            return queryset.filter(status=Status.COMPLETED, result_rating__isnull=True)
        if value == "rated":
            return queryset.filter(result_rating__isnull=False)
        if value in self.ranges:
            low, high = self.ranges[value]
            return queryset.filter(result_rating__gte=low, result_rating__lt=high)
        return queryset


class CurrentFilter(admin.SimpleListFilter):
    """Leaves out what a retry replaced, unless asked."""

    title = "retried ones"
    parameter_name = "superseded"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("all", "Replaced by a retry too")]

    def choices(self, changelist: Any) -> Any:
        for value, label in ((None, "Left out"), *self.lookup_choices):
            yield {
                "selected": self.value() == value,
                "query_string": changelist.get_query_string({self.parameter_name: value}),
                "display": label,
            }

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset if self.value() == "all" else queryset.filter(is_superseded=False)


class CreatedFilter(RangeDateFilter):
    """Rows by the days of their making, in UTC, both included."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        first = self._read_day(f"{self.field_path}_from")
        last = self._read_day(f"{self.field_path}_to")
        if first is not None:
            queryset = queryset.filter(**{f"{self.field_path}__gte": first})
        if last is not None:
            queryset = queryset.filter(**{f"{self.field_path}__lt": last + timedelta(days=1)})
        return queryset

    def _read_day(self, name: str) -> datetime | None:
        text = self.used_parameters.get(name)
        if not text:
            return None
        day = parse_date_str(str(text))
        # The last days of the calendar have no next one.
        if day is None or day.year >= MAXYEAR:
            raise ValidationError("This is no date.")
        return datetime(day.year, day.month, day.day, tzinfo=UTC)


def image_url(image: StoredImage, size: str) -> str:
    """Return the address of an image."""
    return reverse("generations:image-file", args=[image.pk, size])
