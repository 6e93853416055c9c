"""What every page of the admin keeps to: closed lists, refusals as messages, verbs instead of saves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import ShowFacets
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied, SuspiciousOperation, ValidationError
from django.db import DataError, models
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from mayagen.common.admin_lists import ClosedChangeList, ListRefusedError
from mayagen.common.admin_pages import head_page
from mayagen.common.errors import DomainError

# The theme's classes are Django's with other templates; their own annotations contradict Django's.
if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin
    from django.contrib.admin.views.main import ChangeList
else:
    from unfold.admin import ModelAdmin

MAX_SEARCH_LENGTH = 200
_LIST_REFUSED = "This list can't be filtered, searched or ordered like that, so all of it is shown."


class RefusableFormMixin:
    """A form that shows why the verb it led to refused, and keeps what was typed."""

    refusal: DomainError

    def clean(self) -> Any:
        cleaned = super().clean()  # type: ignore[misc]
        add_refusal(self, self.refusal)  # type: ignore[arg-type]
        return cleaned


def add_refusal(form: forms.BaseForm, refusal: DomainError) -> None:
    """Add a refused verb's sentences to a form: beside their fields where it has them, else at its top."""
    is_placed = False
    for name, sentences in refusal.fields.items():
        field, _, rest = name.partition(".")
        for sentence in sentences:
            if field in form.fields:
                is_placed = True
                form.add_error(field, f"{rest}: {sentence}" if rest else sentence)
    if not is_placed:
        form.add_error(None, refusal.message)


class DeletedFilter(admin.SimpleListFilter):
    """Shows what is not deleted unless asked for all or for the deleted alone."""

    title = "deleted"
    parameter_name = "deleted"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("only", "Deleted only"), ("all", "All")]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        labels = [(None, "Not deleted"), *self.lookup_choices]
        for value, label in labels:
            yield {
                "selected": self.value() == value,
                "query_string": changelist.get_query_string({self.parameter_name: value}),
                "display": label,
            }

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:
        if self.value() == "all":
            return queryset
        is_asked_for_deleted = self.value() == "only"
        return queryset.filter(deleted_at__isnull=not is_asked_for_deleted)


class ProductModelAdmin(ModelAdmin):
    """Base of all admin pages.

    Reads go through the model's `visible_to(user)`. Nothing is ever deleted for good. A page that saves
    implements `save_by_service`; a DomainError raised there becomes errors of the form, and one raised by
    an action a message. Lists answer their declared `list_filter`, `search_fields` and sortable columns;
    anything else in the address leads back to the whole list, with a message.
    """

    list_per_page = 25
    list_max_show_all = 200
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    empty_value_display = "–"
    ordering: ClassVar[Any] = ("-id",)
    list_filter_submit = False
    warn_unsaved_form = True

    def save_by_service(
        self, request: HttpRequest, form: forms.ModelForm, target: Any | None
    ) -> models.Model:
        """Call the verb that saves this form and return the saved row.

        Args:
            request: Its user is the actor.
            form: Valid; `cleaned_data` has what was typed.
            target: The row that is changed, with the form's values already set on it; None to make one.
        """
        raise PermissionDenied

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        rows: Any = super().get_queryset(request)
        return cast("models.QuerySet[Any]", rows.visible_to(request.user))

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ClosedChangeList

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Leave the decision to `ClosedChangeList`, which knows what its filters took."""
        return True

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        search = request.GET.get("q", "")
        if len(search) > MAX_SEARCH_LENGTH or _has_nul(request):
            raise ListRefusedError
        try:
            return super().get_changelist_instance(request)
        except (IncorrectLookupParameters, SuspiciousOperation, ValidationError) as error:
            raise ListRefusedError from error
        except (DataError, OverflowError, ValueError) as error:
            if not request.GET:
                raise
            raise ListRefusedError from error

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet[Any], search_term: str
    ) -> tuple[models.QuerySet[Any], bool]:
        # Pickers ask with their own parameter, past the check of lists.
        if "\x00" in search_term or len(search_term) > MAX_SEARCH_LENGTH:
            return queryset.none(), False
        found, may_have_duplicates = super().get_search_results(request, queryset, search_term)
        return found, may_have_duplicates

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        try:
            return super().changelist_view(request, extra_context)
        except ListRefusedError:
            messages.warning(request, _LIST_REFUSED)
            return HttpResponseRedirect(request.path)
        except DomainError as error:
            show_refusal(request, error)
            return HttpResponseRedirect(request.get_full_path())
        except ValidationError:
            messages.error(request, "The selection is not one of this list's rows. Nothing was changed.")
            return HttpResponseRedirect(request.path)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return super().changeform_view(request, *args, **kwargs)
        except SuspiciousOperation:
            return HttpResponseRedirect(request.path)
        except DomainError as error:
            # The verb's transaction is rolled back; the same page is made once more, refused.
            request.refusal = error  # type: ignore[attr-defined]
            for name in request.FILES:
                for file in request.FILES.getlist(name):
                    file.seek(0)
            return super().changeform_view(request, *args, **kwargs)

    def get_form(
        self,
        request: HttpRequest,
        obj: Any = None,
        change: bool = False,
        **kwargs: Any,
    ) -> type[forms.ModelForm]:
        form = super().get_form(request, obj, change=change, **kwargs)
        refusal: DomainError | None = getattr(request, "refusal", None)
        if refusal is None:
            return form
        return type(form.__name__, (RefusableFormMixin, form), {"refusal": refusal})

    def save_model(
        self,
        request: HttpRequest,
        obj: Any,
        form: forms.ModelForm,
        change: bool,
    ) -> None:
        saved = self.save_by_service(request, form, obj if change else None)
        # Django goes on with its own object: messages and the next address name what the verb made.
        obj.__dict__.update(saved.__dict__)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        raise PermissionDenied

    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        raise PermissionDenied

    def get_actions(self, request: HttpRequest) -> Any:
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions

    # What was done is in the audit trail, written by the verbs; Django's own log would be a second one.
    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any: ...

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any: ...

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        raise Http404

    def url_of(self, page: str, *arguments: object) -> str:
        """Return the address of one of this model's pages, such as `changelist` or `change`."""
        name = f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_{page}"
        return reverse(name, args=[str(argument) for argument in arguments])

    def get_visible(self, request: HttpRequest, object_id: str) -> Any:
        """Return the row of an address, for pages of one's own.

        Raises:
            Http404: There is none that the user may see.
        """
        found = self.get_object(request, unquote(object_id))
        if found is None:
            raise Http404
        return found

    def describe_page(
        self, request: HttpRequest, title: str, *, under: models.Model | None = None
    ) -> dict[str, Any]:
        """Return what the theme needs of a page of our own, headed by the trail that ends with its title.

        Args:
            request: Whose user sees it.
            title: What it is called.
            under: The row whose page is right above it; without one, that is the list.
        """
        # With `opts` the theme leaves out the page's own name, as it does on its forms.
        parent: dict[str, Any] = {"model_admin": self}
        if under is not None:
            parent = {"object": under, "subtitle": str(under)}
        return {**head_page(request, title, site=self.admin_site), **parent, "media": self.media}

    def run_for_each(
        self, request: HttpRequest, rows: models.QuerySet[Any], verb: Callable[[Any], object], *, done: str
    ) -> None:
        """Call a verb for each selected row, and say how often it was done and why not elsewhere.

        Args:
            request: Where the messages go.
            rows: What was selected.
            verb: Called with one row; each call is a transaction of its own.
            done: Such as `deleted`, for the message `3 deleted.`
        """
        n_done = 0
        for row in rows:
            try:
                verb(row)
            except DomainError as error:
                messages.error(request, f"{row}: {error.message}")
            else:
                n_done += 1
        if n_done:
            messages.success(request, f"{n_done} {done}.")

    def confirm(
        self,
        request: HttpRequest,
        *,
        title: str,
        sentence: str,
        button: str,
        is_dangerous: bool = False,
        verb: Callable[[], object],
        done: str,
        back: str,
        under: models.Model | None = None,
    ) -> HttpResponse:
        """Ask on GET, carry out on POST; then go back, saying that it was done or why it was not.

        Args:
            request: GET or POST.
            title, sentence, button: What is asked, what will happen, and the label of the button for it.
            is_dangerous: Show the button in red.
            verb: Does it.
            done: The sentence shown afterwards.
            back: The address to go to.
            under: The row that it is about, if it has a page.
        """
        if request.method == "POST":
            try:
                verb()
            except DomainError as error:
                show_refusal(request, error)
            else:
                messages.success(request, done)
            return HttpResponseRedirect(back)
        context = {
            **self.describe_page(request, title, under=under),
            "sentence": sentence,
            "button": button,
            "variant": "danger" if is_dangerous else "primary",
            "back": back,
        }
        return TemplateResponse(request, "admin/confirm.html", context)


class SoftDeleteModelAdmin(ProductModelAdmin):
    """Pages of rows that are hidden and brought back instead of deleted; both ask first.

    Subclasses implement the two verbs. The list shows what is not deleted unless its filter
    `DeletedFilter` asks otherwise.
    """

    def soft_delete(self, request: HttpRequest, target: Any) -> None:
        """Call the verb that hides the row."""
        raise PermissionDenied

    def restore(self, request: HttpRequest, target: Any) -> None:
        """Call the verb that brings the row back."""
        raise PermissionDenied

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # For the button of the page and the two pages behind it; no row is ever deleted for good.
        return self.may_delete(request) and (obj is None or not obj.is_deleted)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and (obj is None or not obj.is_deleted)

    def may_delete(self, request: HttpRequest) -> bool:
        """Return whether the user's role may hide and bring back these rows."""
        return ModelAdmin.has_delete_permission(self, request)

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet[Any], search_term: str
    ) -> tuple[models.QuerySet[Any], bool]:
        is_picker = request.path.endswith("/autocomplete/")
        rows = queryset.filter(deleted_at__isnull=True) if is_picker else queryset
        return super().get_search_results(request, rows, search_term)

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_restore"
        view = self.admin_site.admin_view(self.restore_view)
        return [path("<path:object_id>/restore/", view, name=name), *super().get_urls()]

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        target = self.get_visible(request, object_id)
        if not self.may_delete(request):
            raise PermissionDenied
        return self.confirm(
            request,
            title=f"Delete {self.opts.verbose_name}",
            sentence=f"“{target}” will leave the lists and can't be used for anything new. What was made"
            " with it stays, and it can be restored.",
            button="Delete",
            is_dangerous=True,
            verb=lambda: self.soft_delete(request, target),
            done=f"The {self.opts.verbose_name} “{target}” was deleted. It can be restored.",
            back=self.url_of("change", target.pk),
            under=target,
        )

    def restore_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask, then bring the row back."""
        target = self.get_visible(request, object_id)
        if not self.may_delete(request):
            raise PermissionDenied
        return self.confirm(
            request,
            title=f"Restore {self.opts.verbose_name}",
            sentence=f"“{target}” will be in the lists again and can be used again.",
            button="Restore",
            verb=lambda: self.restore(request, target),
            done=f"The {self.opts.verbose_name} “{target}” was restored.",
            back=self.url_of("change", target.pk),
            under=target,
        )


def show_refusal(request: HttpRequest, refusal: DomainError) -> None:
    """Show a refused verb's sentence, and those of its fields, as one message."""
    details = [f"{name}: {' '.join(sentences)}" for name, sentences in refusal.fields.items()]
    messages.error(request, " ".join([refusal.message, *details]))


def _has_nul(request: HttpRequest) -> bool:
    """Whether the address holds a NUL, which PostgreSQL answers with an error."""
    return any("\x00" in text for name, values in request.GET.lists() for text in (name, *values))
