"""The database connection's health check."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connections

from mayagen.common.postgresql.base import FULL_CHECK_SECONDS, DatabaseWrapper
from mayagen.common.statements import fetch

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def database() -> Iterator[DatabaseWrapper]:
    """A connection of its own."""
    database = connections.create_connection("default")
    database.ensure_connection()
    assert isinstance(database, DatabaseWrapper)
    yield database
    database.close()


def _end_session(database: DatabaseWrapper) -> None:
    pid = database.connection.info.backend_pid
    fetch("SELECT pg_terminate_backend(%s, 5000)", [pid])


def test_a_quiet_connection_is_usable_and_nothing_is_asked(database: DatabaseWrapper) -> None:
    """The server's record of the session's last statement does not change."""
    pid = database.connection.info.backend_pid
    ask = "SELECT query_start FROM pg_stat_activity WHERE pid = %s"
    before = fetch(ask, [pid])

    assert database.is_usable()

    assert fetch(ask, [pid]) == before


def test_a_connection_that_the_server_ended_is_not_usable(database: DatabaseWrapper) -> None:
    _end_session(database)

    assert not database.is_usable()


def test_the_server_is_asked_once_in_a_while_and_plans_anew(
    database: DatabaseWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = database.connection.info.backend_pid
    monkeypatch.setattr(database, "_asked_at", database._asked_at - FULL_CHECK_SECONDS)

    assert database.is_usable()

    assert fetch("SELECT query FROM pg_stat_activity WHERE pid = %s", [pid]) == [("DISCARD PLANS",)]


def test_a_dead_connection_is_found_by_asking_too(
    database: DatabaseWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_asked_at", database._asked_at - FULL_CHECK_SECONDS)
    _end_session(database)

    assert not database.is_usable()


def test_the_next_request_after_a_lost_connection_is_served(database: DatabaseWrapper) -> None:
    _end_session(database)
    database.settings_dict["CONN_HEALTH_CHECKS"] = True

    database.close_if_unusable_or_obsolete()
    database.close_if_health_check_failed()

    with database.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)
