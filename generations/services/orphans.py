"""Stored files that no row names: left by processes that died between a file and the row that names it."""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from itertools import islice
from operator import or_
from typing import Any, Final

from django.apps import apps
from django.core.files.storage import default_storage
from django.db.models import FileField, Manager, Q, QuerySet, TextField, Value
from django.utils import timezone

from generations.media.naming import KEY_FOLDERS, is_key, is_key_folder
from mayagen.common.errors import ConflictError, DomainError
from mayagen.common.statements import IsAmong

logger = logging.getLogger(__name__)
SAFE_AGE: Final = timedelta(days=1)
"""Far longer than a file ever waits for its row: leases and retries last minutes, requests less."""
LEAST_AGE: Final = timedelta(hours=1)
# Each batch reads the tables once. An index by names would cost each output four writes at random places,
# and that all files of ten million outputs are compared in 400 reads is soon enough.
_BATCH: Final = 100_000
_ROWS_AT_ONCE: Final = 2_000
# So few are looked for once more right before they are removed.
_REMOVED_AT_ONCE: Final = 100
# What kills leave is few among many. More than this share, and it may be another installation's storage.
_MOST: Final = 10
_MOST_SHARE: Final = 0.1


class AgeTooLowError(DomainError):
    """Files as young as that may still be waiting for their row."""

    code = "age_too_low"
    sentence = "Only files that are at least an hour old can be collected."


class TooManyOrphansError(ConflictError):
    """So many files without a row are no leftovers: the database may not be the one that they belong to."""

    code = "too_many_orphans"
    sentence = "More than a tenth of the files has no row. Is this the database that they belong to?"


@dataclass(slots=True)
class Collected:
    """What a collection saw and did, in files.

    Args:
        n_foreign: Files and folders of names that are not made here; they are left alone.
        n_young: That no row names yet, and that are too young to be given up.
        n_orphans: That no row names, and that are old enough.
        n_failed: That the storage would not tell the age of, or not remove.
        is_whole: Whether all of the storage was looked at.
    """

    n_seen: int = 0
    n_foreign: int = 0
    n_young: int = 0
    n_orphans: int = 0
    n_removed: int = 0
    n_failed: int = 0
    is_whole: bool = True


def collect_orphans(
    *,
    older_than: timedelta = SAFE_AGE,
    is_dry_run: bool = False,
    may_be_many: bool = False,
    seconds: float = float("inf"),
) -> Collected:
    """Remove the stored files that are older than that and named by no row, and return what was seen.

    Safe beside everything that stores and names files, and beside another collection. The storage is read
    folder by folder, in an order of chance: what one collection had no time for comes up in another.

    Args:
        is_dry_run: Only look.
        may_be_many: Remove them even when they are a large share of what is stored.
        seconds: After how long no further batch is begun.

    Raises:
        AgeTooLowError: `older_than` is less than an hour.
        TooManyOrphansError: More than a tenth of the files, and more than a few, are orphans.
        OSError: The storage does not answer.
    """
    if older_than < LEAST_AGE:
        raise AgeTooLowError
    deadline = time.monotonic() + seconds
    stored_before = timezone.now() - older_than
    collected = Collected()
    names = _list_keys(collected)
    while batch := list(islice(names, _BATCH)):
        if time.monotonic() > deadline:
            collected.is_whole = False
            break
        collected.n_seen += len(batch)
        unnamed = set(batch) - _find_named(batch)
        orphans = [name for name in sorted(unnamed) if _is_old(name, stored_before, collected)]
        if not is_dry_run:
            if len(orphans) > max(_MOST, len(batch) * _MOST_SHARE) and not may_be_many:
                raise TooManyOrphansError
            _remove(orphans, collected)
    if collected.n_removed or collected.n_failed:
        logger.info("collected orphaned files: %s", collected)
    return collected


def _list_keys(collected: Collected) -> Iterator[str]:
    """Yield the names of stored files that can have been made here; only one folder's are held at once."""
    chance = secrets.SystemRandom()
    for folder in chance.sample(KEY_FOLDERS, len(KEY_FOLDERS)):
        subfolders, files = _list_folder(folder)
        yield from _choose_keys(folder, files, collected)
        chance.shuffle(subfolders)
        for subfolder in subfolders:
            if not is_key_folder(subfolder):
                collected.n_foreign += 1
                continue
            path = f"{folder}/{subfolder}"
            yield from _choose_keys(path, _list_folder(path)[1], collected)


def _list_folder(path: str) -> tuple[list[str], list[str]]:
    try:
        return default_storage.listdir(path)
    except (FileNotFoundError, NotADirectoryError):
        # Nothing was ever stored there; or it is a file, which the folder above it has told of.
        return [], []


def _choose_keys(path: str, files: Sequence[str], collected: Collected) -> Iterator[str]:
    for file in files:
        name = f"{path}/{file}"
        if is_key(name):
            yield name
        else:
            collected.n_foreign += 1


class _IsAmongTexts(IsAmong):
    """Whether a column is one of many texts, which go to the database as one value and are hashed there."""

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        joiner, template = " IN (SELECT json_array_elements_text(", "%(expressions)s::json))"
        return self.as_sql(compiler, connection, template=template, arg_joiner=joiner, **context)


def _find_named(names: Collection[str]) -> set[str]:
    """Return those that a row names.

    What moves from one table to another at this very moment may be missed: an import's images become a
    dataset's once. Whoever asks twice, one after the other, finds it.
    """
    sought, named = frozenset(names), set[str]()
    texts = json.dumps(list(sought))
    for rows, columns in _list_columns():
        for values in _select_naming(rows, columns, texts).iterator(chunk_size=_ROWS_AT_ONCE):
            named.update(sought.intersection(map(str, values)))
    return named


def _select_naming(rows: Manager[Any], columns: Sequence[str], texts: str) -> QuerySet[Any, tuple[Any, ...]]:
    condition = reduce(
        or_, (Q(_IsAmongTexts(column, Value(texts, output_field=TextField()))) for column in columns)
    )
    return rows.filter(condition).values_list(*columns)


def _list_columns() -> Iterator[tuple[Manager[Any], list[str]]]:
    """Yield the rows and columns that may name a stored file, whatever app they are in."""
    for model in apps.get_models():
        facts = model._meta
        columns = [field.name for field in facts.local_concrete_fields if isinstance(field, FileField)]
        if columns and not facts.proxy:
            # All of them: those that are hidden from lists still have their files.
            yield facts.base_manager, columns


def _is_old(name: str, stored_before: datetime, collected: Collected) -> bool:
    try:
        is_old = _read_time(name) < stored_before
    except FileNotFoundError:
        # Whoever stored it has removed it.
        return False
    except Exception:  # Storages have errors of their own.
        logger.exception("could not tell the age of the stored file %s", name)
        collected.n_failed += 1
        return False
    if is_old:
        collected.n_orphans += 1
    else:
        collected.n_young += 1
    return is_old


def _read_time(name: str) -> datetime:
    stored_at = default_storage.get_modified_time(name)
    return stored_at if timezone.is_aware(stored_at) else timezone.make_aware(stored_at)


def _remove(orphans: Sequence[str], collected: Collected) -> None:
    for start in range(0, len(orphans), _REMOVED_AT_ONCE):
        some = orphans[start : start + _REMOVED_AT_ONCE]
        named = _find_named(some)
        for name in some:
            if name in named:
                # Its row was written, or moved, since we looked.
                collected.n_orphans -= 1
            elif _remove_file(name):
                collected.n_removed += 1
            else:
                collected.n_failed += 1


def _remove_file(name: str) -> bool:
    try:
        default_storage.delete(name)
    except Exception:  # Storages have errors of their own.
        logger.exception("could not remove the orphaned file %s", name)
        return False
    return True
