"""The filter backend of every list."""

from __future__ import annotations

from django.db.models import Model, QuerySet
from django_filters.rest_framework.backends import DjangoFilterBackend
from rest_framework.request import Request
from rest_framework.views import APIView

from mayagen.common.api import InvalidParameterError, StrictFilterSet, check_query


class StrictFilterBackend(DjangoFilterBackend):
    """Filters lists by the view's filter set, and refuses parameters that neither it nor the pages know.

    A view or action may accept further parameters by naming them in `query_parameters`. Single rows are
    not filtered: there every parameter is unknown but those, also for an action that pages through the
    rows below a single one.
    """

    def filter_queryset(self, request: Request, queryset: QuerySet[Model], view: APIView) -> QuerySet[Model]:
        """Return the rows that the query string asks for.

        Raises:
            UnknownParameterError: A parameter is not known here.
            InvalidParameterError: A value can't be read.
        """
        allowed = set(getattr(view, "query_parameters", ()))
        if _is_detail(view):
            check_query(request, allowed)
            return queryset
        paginator = getattr(view, "paginator", None)
        allowed |= set(getattr(paginator, "query_parameters", ()))
        filterset_class: type[StrictFilterSet] | None = getattr(view, "filterset_class", None)
        if filterset_class is None:
            check_query(request, allowed)
            return queryset
        allowed |= set(filterset_class.base_filters)
        check_query(request, allowed, filterset_class.list_repeatable())
        filterset = filterset_class(data=request.query_params, queryset=queryset, request=request)
        if filterset.errors:
            raise InvalidParameterError(
                fields={
                    name: [str(message) for message in messages]
                    for name, messages in filterset.errors.items()
                }
            )
        rows: QuerySet[Model] = filterset.qs
        return rows


def _is_detail(view: APIView) -> bool:
    lookup = getattr(view, "lookup_url_kwarg", None) or getattr(view, "lookup_field", None)
    return bool(getattr(view, "detail", False)) or lookup in view.kwargs
