"""What holds for every test, and what each may ask for: people, and clients that speak for them."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection
from rest_framework.test import APIClient

from accounts.models import User
from accounts.roles import ADMIN, EVALUATOR, VIEWER

RANDOM_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name a case without the random id in it: all test processes must collect the same names."""
    return RANDOM_ID.sub("some-id", val) if isinstance(val, str) and RANDOM_ID.search(val) else None


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the tests be those alone whose result may depend on the database."""
    parser.addoption(
        "--database-only", action="store_true", help="leave out the tests that touch no database"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what holds on PostgreSQL only, unless the tests run on it, and what was not asked for."""
    is_postgres = "postgresql" in django_settings.DATABASES["default"]["ENGINE"]
    chosen: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        is_wanted = is_postgres or not item.get_closest_marker("postgres")
        is_wanted = is_wanted and (_uses_database(item) or not config.getoption("--database-only"))
        (chosen if is_wanted else left_out).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = chosen


def _uses_database(item: pytest.Item) -> bool:
    """Whether the test may reach the database: pytest-django lets no other one do so."""
    fixtures = {"db", "transactional_db", "live_server", "product"}
    markers = (item.get_closest_marker("django_db"), item.get_closest_marker("postgres"))
    return bool(any(markers) or fixtures & set(getattr(item, "fixturenames", ())))


@pytest.fixture(autouse=True)
def _test_installation(settings: Any, tmp_path: Path) -> None:
    """Keep media in the test's own folder; name static files plainly; quick passwords, mail in memory."""
    media = tmp_path / "media"
    settings.MEDIA_ROOT = media
    settings.SPOOL_ROOT = tmp_path / "spool"
    settings.STORAGES = {
        "default": {**settings.STORAGES["default"], "OPTIONS": {"location": str(media)}},
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"


@pytest.fixture(autouse=True)
def _audit_triggers_yield_to_flush(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let tests with real transactions empty the audit table afterwards, which its triggers refuse.

    PostgreSQL empties by TRUNCATE, which they do not watch. Such tests run last, so that all others have
    the triggers throughout.
    """
    marker = request.node.get_closest_marker("django_db")
    is_transactional = bool(marker and marker.kwargs.get("transaction")) or bool(
        {"transactional_db", "live_server"} & set(request.fixturenames)
    )
    if not is_transactional or connection.vendor != "sqlite":
        yield
        return
    request.getfixturevalue("transactional_db")
    migration = importlib.import_module("accounts.migrations.0002_protect_audit_entries")
    _drop_audit_triggers()
    with connection.cursor() as cursor:
        for verb in ("UPDATE", "DELETE"):
            cursor.execute(migration.SQLITE.format(verb=verb))
    yield
    _drop_audit_triggers()


def _drop_audit_triggers() -> None:
    with connection.cursor() as cursor:
        for verb in ("UPDATE", "DELETE"):
            cursor.execute(f"DROP TRIGGER IF EXISTS accounts_auditentry_no_{verb}")


@pytest.fixture
def admin(db: None) -> User:
    """A person who may do everything."""
    return _make_person(ADMIN, "Ada Admin")


@pytest.fixture
def evaluator(db: None) -> User:
    """A person who rates."""
    return _make_person(EVALUATOR, "Eve Evaluator")


@pytest.fixture
def viewer(db: None) -> User:
    """A person who reads everything but what is private."""
    return _make_person(VIEWER, "Vera Viewer")


def _make_person(role: str, name: str) -> User:
    from tests.accounts.factories import UserFactory

    person: User = UserFactory(role=role, name=name)
    return person


@pytest.fixture
def api_as() -> Callable[[User | None], APIClient]:
    """Return a maker of API clients that are signed in as a person, or as nobody."""

    def make_client(user: User | None) -> APIClient:
        client = APIClient()
        if user is not None:
            client.force_login(user)
        return client

    return make_client
