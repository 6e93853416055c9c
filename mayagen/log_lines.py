"""What goes into the log, and what does not."""

from __future__ import annotations

import logging
from http import HTTPStatus


class ShortRefusals(logging.Filter):
    """Keeps the line of a refused request, without its traceback: that the rights held is no fault."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through."""
        if getattr(record, "status_code", None) == HTTPStatus.FORBIDDEN:
            record.exc_info = None
        return True
