"""Imports run in the directions that `pyproject.toml` declares."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STATISTICS_LIBRARIES = ("scipy", "statsmodels", "evalica", "pyarrow", "pandas", "numpy")


def test_every_import_contract_is_kept() -> None:
    lint_imports = Path(sys.executable).with_name("lint-imports")

    result = subprocess.run(
        [lint_imports, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert result.returncode == 0, result.stdout + result.stderr


def test_the_web_server_imports_no_library_of_statistics() -> None:
    script = (
        "import sys; from mayagen.wsgi import application; from django.urls import get_resolver;"
        "get_resolver().url_patterns;"
        f"print([name for name in {STATISTICS_LIBRARIES!r} if name in sys.modules])"
    )

    result = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert result.stdout.strip() == "[]"
