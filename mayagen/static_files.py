"""Collect scripts, styles and pictures for the web server, only when some have changed."""

from __future__ import annotations

import hashlib
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command


def collect_changed_static_files() -> bool:
    """Collect, name by content and compress all static files, unless that has been done for these very files.

    Returns:
        Whether anything was to be done: compressing takes seconds, comparing takes none.
    """
    stamp = Path(settings.STATIC_ROOT) / ".collected"
    fingerprint = _take_fingerprint()
    if stamp.exists() and stamp.read_text(encoding="ascii") == fingerprint:
        return False
    call_command("collectstatic", interactive=False, verbosity=0, clear=True)
    stamp.write_text(fingerprint, encoding="ascii")
    return True


def _take_fingerprint() -> str:
    digest = hashlib.sha256()
    for finder in get_finders():
        for path, storage in finder.list(["CVS", ".*", "*~"]):
            state = Path(storage.path(path)).stat()
            digest.update(f"{path}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()
