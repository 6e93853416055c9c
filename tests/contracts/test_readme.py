"""What the README says of settings, commands and files is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.core.management import get_commands
from pydantic.fields import FieldInfo

from mayagen.env import BASE_DIR, PROVIDER_KEY_PREFIX, Environment

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMPOSE = (ROOT / "compose.yaml").read_text(encoding="utf-8")
TEXTS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md")))
}


def describe(name: str, field: FieldInfo) -> str:
    """Return the setting's row of the README's table."""
    variable = field.validation_alias or f"MAYAGEN_{name.upper()}"
    return f"| `{variable}` | {describe_default(field.default)} | {field.description} |"


def describe_default(value: Any) -> str:
    if isinstance(value, Path):
        return f"`{value.relative_to(BASE_DIR)}`"
    if isinstance(value, bool):
        return f"`{int(value)}`"
    if isinstance(value, list):
        value = ",".join(value)
    return "–" if value in {None, ""} else f"`{value}`"


def test_the_table_of_settings_is_that_of_the_code() -> None:
    expected = [describe(name, field) for name, field in Environment.model_fields.items()]

    rows = [
        line for line in README.splitlines() if line.startswith(("| `MAYAGEN_", "| `PORT`", "| `DATABASE_"))
    ]

    assert rows == expected


def test_no_text_names_a_setting_that_there_is_not() -> None:
    settings = {f"MAYAGEN_{name.upper()}" for name in Environment.model_fields}
    named = {
        name
        for text in (*TEXTS.values(), COMPOSE)
        for name in re.findall(r"\bMAYAGEN_[A-Z_]+(?![A-Z_…])", text)
        if not name.startswith(PROVIDER_KEY_PREFIX)
    }

    assert named
    assert named <= settings


def test_containers_get_every_setting_and_every_provider_key() -> None:
    settings = COMPOSE[COMPOSE.index("x-mayagen:") : COMPOSE.index("services:")]

    # Names of provider keys are anybody's choice, so that no list could hold them.
    assert "  env_file:\n    - path: .env\n      required: false\n" in settings
    # What the image fixes is no matter of .env, where PORT is the host's.
    for fixed in ("MAYAGEN_BIND: 0.0.0.0", "MAYAGEN_DATA_DIR: /data", 'PORT: "8000"'):
        assert f"    {fixed}\n" in settings
    assert f"{PROVIDER_KEY_PREFIX}OPENAI" in README
    assert ".env" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert ".env" in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()


def test_every_make_target_it_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z0-9-]+):", makefile, re.MULTILINE))

    named = {name for text in TEXTS.values() for name in re.findall(r"\bmake ([a-z][a-z0-9-]*)`", text)}

    assert named
    assert named <= targets


def test_every_command_it_names_exists() -> None:
    named = set(re.findall(r"manage\.py ([a-z_]+)", "".join(TEXTS.values())))

    assert named
    assert named <= set(get_commands())


@pytest.mark.parametrize("document", sorted(TEXTS))
def test_every_link_leads_to_a_file(document: str) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", TEXTS[document])

    missing = [link for link in links if not ((ROOT / document).parent / link).exists()]

    assert missing == []


def test_pictures_are_small_enough_to_clone() -> None:
    pictures = list((ROOT / "docs" / "images").glob("*.png"))

    assert pictures
    assert all(picture.stat().st_size < 300_000 for picture in pictures)
