"""How tests of pages come in: as somebody who has signed in before."""

from __future__ import annotations

from django.test import Client

from accounts.models import User


def sign_in(person: User) -> Client:
    """Return a browser of that person, without its scripts."""
    client = Client()
    client.force_login(person)
    return client
