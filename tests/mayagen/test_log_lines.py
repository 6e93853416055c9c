"""The log tells of refusals in a line, and of faults with their traceback."""

from __future__ import annotations

import logging

import pytest

from mayagen.log_lines import ShortRefusals


def _make_record(status_code: int) -> logging.LogRecord:
    error = PermissionError("no")
    trace = (type(error), error, None)
    record = logging.LogRecord("django.request", logging.WARNING, "", 0, "Refused", (), trace)
    record.status_code = status_code
    return record


@pytest.mark.parametrize(("status_code", "has_traceback"), [(403, False), (500, True)])
def test_only_faults_keep_their_traceback(*, status_code: int, has_traceback: bool) -> None:
    record = _make_record(status_code)

    assert ShortRefusals().filter(record)

    assert bool(record.exc_info) is has_traceback
