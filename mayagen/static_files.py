"""Scripts, styles and pictures: named by content, compressed, and collected only when some have changed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import brotli
from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.contrib.staticfiles.storage import HashedFilesMixin
from django.core.management import call_command
from whitenoise.compress import Compressor
from whitenoise.storage import CompressedManifestStaticFilesStorage

# Nobody is served these: REST framework's browsable pages are off, and Redoc calls other machines.
UNUSED = ["rest_framework", "redoc"]
UNCOMPRESSED = (*Compressor.SKIP_COMPRESS_EXTENSIONS, "map", "txt", "md")
# The last two levels take ten times as long for a hundredth of the size.
BROTLI_QUALITY = 9
NAMED_BY_CONTENT = re.compile(r"\.[0-9a-f]{12}\.")
# Django's own patterns also follow `import('./x.js')` in type comments, where modules may name each other.
MODULE_IMPORT = (
    r"""(?P<matched>(?P<head>^\s*(?:import|export)\b[^'"();]*)['"](?P<url>\./[^'"]+)['"])""",
    """%(head)s'%(url)s'""",
)


class QuickCompressor(Compressor):
    """Compresses nearly as well as it can, in a tenth of the time."""

    @staticmethod
    def compress_brotli(data: bytes) -> bytes:
        """Return the data as Brotli."""
        compressed: bytes = brotli.compress(data, quality=BROTLI_QUALITY)
        return compressed


class HashedStaticFilesStorage(CompressedManifestStaticFilesStorage):
    """Names files by their content, also where our own scripts import each other: browsers may keep them."""

    patterns = (
        *HashedFilesMixin.patterns,
        *(
            (f"{app}/*.js", ((f"(?m){MODULE_IMPORT[0]}", MODULE_IMPORT[1]),))
            for app in ("accounts", "evaluations", "generations", "mayagen", "prompts")
        ),
    )

    def create_compressor(self, **kwargs: object) -> Compressor:
        """Return the compressor of this storage, for the files worth it."""
        return QuickCompressor(**{**kwargs, "extensions": UNCOMPRESSED})  # type: ignore[no-untyped-call]

    def compress_files(self, paths: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Compress the files that pages refer to, not their twins under plain names."""
        hashed = [path for path in paths if NAMED_BY_CONTENT.search(path)]
        yield from super().compress_files(hashed)  # type: ignore[no-untyped-call]


def collect_changed_static_files() -> bool:
    """Collect, name by content and compress all static files, unless that has been done for these very files.

    Returns:
        Whether anything was to be done: compressing takes seconds, comparing takes none.
    """
    stamp = Path(settings.STATIC_ROOT) / ".collected"
    fingerprint = _take_fingerprint()
    if stamp.exists() and stamp.read_text(encoding="ascii") == fingerprint:
        return False
    call_command("collectstatic", interactive=False, verbosity=0, clear=True, ignore_patterns=UNUSED)
    stamp.write_text(fingerprint, encoding="ascii")
    return True


def _take_fingerprint() -> str:
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for finder in get_finders():
        for path, storage in finder.list(UNUSED):
            state = Path(storage.path(path)).stat()
            digest.update(f"{path}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()
