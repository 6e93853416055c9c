"""A start with settings that are wrong or unsafe is refused in sentences that repeat no secret."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAFE = {
    "MAYAGEN_PRODUCTION": "1",
    "MAYAGEN_SECRET_KEY": "s" * 25 + "1" * 25,
    "MAYAGEN_JWT_KEY": "j" * 25 + "1" * 25,
    "MAYAGEN_ALLOWED_HOSTS": "mayagen.example",
}


def start(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MAYAGEN_") and name not in {"DATABASE_URL", "PORT"}
    }
    return subprocess.run(
        [sys.executable, "-c", "import mayagen.settings"],
        cwd=ROOT,
        env={**inherited, "MAYAGEN_DATA_DIR": str(folder), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_safe_production_starts(tmp_path: Path) -> None:
    result = start(tmp_path, **SAFE)

    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"PORT": "eighty"}, "PORT"),
        ({"PORT": "0"}, "PORT"),
        ({"PORT": "65536"}, "PORT"),
        ({"MAYAGEN_WEB_WORKERS": "0"}, "MAYAGEN_WEB_WORKERS"),
        ({"MAYAGEN_TRUSTED_PROXY_COUNT": "-1"}, "MAYAGEN_TRUSTED_PROXY_COUNT"),
        ({**SAFE, "MAYAGEN_SECRET_KEY": ""}, "MAYAGEN_SECRET_KEY"),
        ({**SAFE, "MAYAGEN_SECRET_KEY": "topsecret" * 5}, "MAYAGEN_SECRET_KEY"),
        ({**SAFE, "MAYAGEN_JWT_KEY": "topsecret" * 5}, "MAYAGEN_JWT_KEY"),
        ({"MAYAGEN_SEALING_KEYS": "topsecret"}, "MAYAGEN_SEALING_KEYS"),
        ({"MAYAGEN_SEALING_KEYS": f"{'s' * 32},topsecret"}, "MAYAGEN_SEALING_KEYS"),
        ({**SAFE, "MAYAGEN_DEBUG": "1"}, "MAYAGEN_DEBUG"),
        ({**SAFE, "MAYAGEN_ALLOWED_HOSTS": "*"}, "MAYAGEN_ALLOWED_HOSTS"),
    ],
)
def test_a_wrong_value_stops_the_start_with_a_sentence(
    tmp_path: Path, variables: dict[str, str], said: str
) -> None:
    result = start(tmp_path, **variables)

    assert result.returncode == 1
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert "topsecret" not in result.stderr


def test_all_mistakes_are_said_at_once(tmp_path: Path) -> None:
    result = start(tmp_path, PORT="eighty", MAYAGEN_WEB_WORKERS="0")

    assert "PORT" in result.stderr
    assert "MAYAGEN_WEB_WORKERS" in result.stderr


def test_two_installations_make_different_keys_for_their_owner_only(tmp_path: Path) -> None:
    for name in ("one", "other"):
        assert start(tmp_path / name).returncode == 0

    keys = {path.read_text() for path in tmp_path.glob("*/*_key.txt")}
    assert len(keys) == 6
    assert min(map(len, keys)) >= 50
    assert {oct(path.stat().st_mode & 0o777) for path in tmp_path.glob("*/*_key.txt")} == {"0o600"}


def test_a_key_once_made_is_kept(tmp_path: Path) -> None:
    start(tmp_path)
    first = (tmp_path / "secret_key.txt").read_text()

    start(tmp_path)

    assert (tmp_path / "secret_key.txt").read_text() == first
