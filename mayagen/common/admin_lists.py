"""The lists of the admin, which answer nothing but what they declare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.http import HttpRequest

# The theme's class is Django's with other templates; its own annotations contradict Django's.
if TYPE_CHECKING:
    from django.contrib.admin.views.main import ChangeList
else:
    from unfold.views import ChangeList


class ListRefusedError(Exception):
    """The address asks a list for something that it does not offer."""


class ClosedChangeList(ChangeList):
    """A list that answers its declared filters only.

    Django's own takes any `column__lookup=value` of the model from the address, which lets a reader of the
    list ask for hidden columns letter by letter, and fails on patterns that are no patterns.
    """

    def get_filters(self, request: HttpRequest) -> Any:
        result = super().get_filters(request)
        # What the declared filters took is gone from here.
        if result[2]:
            raise ListRefusedError
        return result

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if self.full_result_count is None and not self.query and not self.has_active_filters:
            # Nothing is filtered, so nothing more is to be shown.
            self.full_result_count = self.result_count
