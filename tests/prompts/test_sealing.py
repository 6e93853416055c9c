"""Sealed secrets open under their own name and keys alone."""

from __future__ import annotations

import pytest

from prompts.sealing import SealBrokenError, Sealer

OLD, NEW = "o" * 40, "n" * 40
SECRET = "sk-canary"


def test_a_sealed_secret_opens_and_does_not_show() -> None:
    sealed = Sealer([OLD]).seal(name="OPENAI", secret=SECRET)

    assert Sealer([OLD]).open(name="OPENAI", sealed=sealed) == SECRET
    assert SECRET not in sealed
    assert sealed != Sealer([OLD]).seal(name="OPENAI", secret=SECRET)


@pytest.mark.parametrize("keys", [[NEW], [NEW, "x" * 40]])
def test_no_other_key_opens_it(keys: list[str]) -> None:
    sealed = Sealer([OLD]).seal(name="OPENAI", secret=SECRET)

    with pytest.raises(SealBrokenError):
        Sealer(keys).open(name="OPENAI", sealed=sealed)
    with pytest.raises(SealBrokenError):
        Sealer(keys).reseal(sealed)


def test_it_opens_under_no_other_name() -> None:
    sealed = Sealer([OLD]).seal(name="OPENAI", secret=SECRET)

    with pytest.raises(SealBrokenError):
        Sealer([OLD]).open(name="LOCAL", sealed=sealed)


@pytest.mark.parametrize("sealed", ["", "nothing", "gAAAAA", "é"])
def test_what_was_never_sealed_does_not_open(sealed: str) -> None:
    with pytest.raises(SealBrokenError):
        Sealer([OLD]).open(name="OPENAI", sealed=sealed)


def test_after_rotation_the_old_key_is_needed_no_more() -> None:
    sealed = Sealer([OLD]).seal(name="OPENAI", secret=SECRET)

    rotated = Sealer([NEW, OLD]).reseal(sealed)

    assert Sealer([NEW]).open(name="OPENAI", sealed=rotated) == SECRET
    assert Sealer([NEW, OLD]).key_id == Sealer([NEW]).key_id != Sealer([OLD]).key_id
