"""Creates that cost money are carried out once, however often their request arrives."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.models import JSONField, Value

from accounts.models import IdempotencyRecord, User
from mayagen.common.errors import ConflictError, DomainError

KEPT_FOR: Final = timedelta(days=30)
LONGEST_WAIT_SECONDS: Final = 10
_LOCK_NOT_AVAILABLE: Final = "55P03"
# Printable and without commas, by which servers join a header that was sent twice.
_KEY: Final = re.compile(r"[!-+\--~]{1,255}")


class IdempotencyKeyInvalidError(DomainError):
    """The key is empty, too long, sent twice or has letters that no key has."""

    code = "idempotency_key_invalid"
    status = 400
    sentence = "Send one Idempotency-Key of 1 to 255 visible ASCII characters without commas."


class IdempotencyKeyReusedError(DomainError):
    """The key stands for a request with another body."""

    code = "idempotency_key_reused"
    sentence = "This Idempotency-Key was used with another request. Take a new key."


class IdempotencyInProgressError(ConflictError):
    """The first request with this key has not ended yet."""

    code = "idempotency_in_progress"
    sentence = "The first request with this Idempotency-Key is still running. Repeat it a little later."


@dataclass(frozen=True)
class Answer:
    """What a verb answered; `is_replay` when it was not carried out again."""

    status: int
    body: Any
    is_replay: bool = False


def run_once(*, user: User, key: str, request_body_hash: str, verb: Callable[[], tuple[int, Any]]) -> Answer:
    """Carry out a verb for a key of this person, or repeat the answer it gave to the same request.

    The record is inserted first and in the verb's own transaction: a second request waits for the first
    and finds its answer, and what the verb undoes by raising leaves no record. Keys of different people
    never meet.

    Args:
        user: Whose key it is.
        key: What the client chose.
        request_body_hash: Tells requests apart, at most 64 characters.
        verb: Returns a status and a JSON-ready body.

    Raises:
        IdempotencyKeyInvalidError: The key is none.
        IdempotencyKeyReusedError: The key came with another request before.
        IdempotencyInProgressError: The first request still runs after ten seconds.
    """
    if not _KEY.fullmatch(key):
        raise IdempotencyKeyInvalidError
    with transaction.atomic():
        if _insert(user, key, request_body_hash):
            status, body = verb()
            IdempotencyRecord.objects.filter(user=user, key=key).update(
                status=status, body=Value(body, JSONField())
            )
            return Answer(status, body)
    first = IdempotencyRecord.objects.get(user=user, key=key)
    if first.request_hash != request_body_hash:
        raise IdempotencyKeyReusedError
    return Answer(first.status, first.body, is_replay=True)


def purge_records(*, now: datetime) -> int:
    """Forget the keys that are older than 30 days; return how many."""
    n_deleted, _by_model = IdempotencyRecord.objects.filter(created_at__lt=now - KEPT_FOR).delete()
    return n_deleted


def _insert(user: User, key: str, request_hash: str) -> bool:
    """Insert the record; False when there is one. Waits for a transaction that is just inserting it."""
    record = IdempotencyRecord(user=user, key=key, request_hash=request_hash, status=0, body={})
    try:
        with transaction.atomic():
            _set_lock_timeout(f"'{LONGEST_WAIT_SECONDS}s'")
            record.save(force_insert=True)
            _set_lock_timeout("DEFAULT")
    except IntegrityError:
        return False
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
            raise IdempotencyInProgressError from error
        raise
    return True


def _set_lock_timeout(value: str) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout TO {value}")
