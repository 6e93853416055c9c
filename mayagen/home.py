"""The front door: each role goes to the room it works in."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse


def go_home(request: HttpRequest) -> HttpResponse:
    """Redirect to the admin, the review queues or sign-in, by who is asking."""
    if not request.user.is_authenticated:
        return redirect("account_login")
    return redirect(reverse("admin:index") if request.user.is_staff else reverse("review:queue-list"))
