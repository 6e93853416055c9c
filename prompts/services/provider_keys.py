"""Providers' keys: stored sealed, replaced, removed; no verb ever returns or records a value."""

from __future__ import annotations

import re
from typing import Final

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from accounts import audit
from accounts.models import User
from accounts.permissions import require
from prompts.models import ProviderKey
from prompts.sealing import SealBrokenError, Sealer
from prompts.services.errors import FieldsInvalidError, ProviderKeyGoneError, ProviderKeyNameTakenError

MAX_VALUE_LENGTH: Final = 8_192
MAX_NAME_LENGTH: Final = 40
_NAME: Final = re.compile(r"[A-Z0-9_]+\Z")
_VALUE: Final = re.compile(r"[ -~]+\Z")


@sensitive_variables("value", "sealed")
def add_provider_key(*, actor: User, name: str, value: str) -> ProviderKey:
    """Store a key under a name by which image models refer to it.

    Raises:
        FieldsInvalidError: The name or the value can't be taken.
        ProviderKeyNameTakenError: A key of that name is stored.
    """
    require(actor, "prompts.add_providerkey")
    if not _NAME.match(name) or len(name) > MAX_NAME_LENGTH:
        sentence = "A name holds capital letters, digits and underscores only, such as OPENAI; at most 40."
        raise FieldsInvalidError(fields={"name": [sentence]})
    sealed = _seal(name, value)
    key = ProviderKey(name=name, set_by=actor, **sealed)
    with transaction.atomic():
        try:
            with transaction.atomic():
                key.save(force_insert=True)
        except IntegrityError:
            raise ProviderKeyNameTakenError(name) from None
        audit.record(actor=actor, verb="add_provider_key", target=key)
    return key


@sensitive_variables("value", "sealed")
def replace_provider_key(*, actor: User, key: ProviderKey, value: str) -> ProviderKey:
    """Put another value in the place of a stored one; calls that leave from now on use it.

    Raises:
        FieldsInvalidError: The value can't be taken.
        ProviderKeyGoneError: The key has been removed.
    """
    require(actor, "prompts.change_providerkey")
    sealed = _seal(key.name, value)
    with transaction.atomic():
        rows = ProviderKey.objects.filter(pk=key.pk)
        if not rows.update(set_at=timezone.now(), set_by=actor, **sealed):
            raise ProviderKeyGoneError
        audit.record(actor=actor, verb="replace_provider_key", target=key)
    return rows.get()


def remove_provider_key(*, actor: User, key: ProviderKey) -> None:
    """Destroy a stored key; models that name it make nothing until there is another.

    Raises:
        ProviderKeyGoneError: The key has been removed.
    """
    require(actor, "prompts.delete_providerkey")
    with transaction.atomic():
        if not ProviderKey.objects.filter(pk=key.pk).delete()[0]:
            raise ProviderKeyGoneError
        audit.record(actor=actor, verb="remove_provider_key", target=key)


def reseal_provider_keys() -> tuple[list[str], list[str]]:
    """Seal every stored key under the first sealing key, and return the names done and those that don't open.

    For the machine's own command line. One replaced meanwhile is sealed under the first key already.
    """
    sealer = Sealer(settings.SEALING_KEYS)
    done, broken = [], []
    for key in ProviderKey.objects.exclude(sealing_key_id=sealer.key_id).order_by("name"):
        try:
            resealed = sealer.reseal(key.sealed_value)
        except SealBrokenError:
            broken.append(key.name)
            continue
        with transaction.atomic():
            unchanged = ProviderKey.objects.filter(pk=key.pk, sealed_value=key.sealed_value)
            if unchanged.update(sealed_value=resealed, sealing_key_id=sealer.key_id):
                audit.record(actor=None, verb="reseal_provider_key", target=key)
                done.append(key.name)
    return done, broken


@sensitive_variables("value", "text")
def _seal(name: str, value: str) -> dict[str, str]:
    text = value.strip()
    if not _VALUE.match(text) or len(text) > MAX_VALUE_LENGTH:
        sentence = f"A key is one line of at most {MAX_VALUE_LENGTH:,} plain characters."
        raise FieldsInvalidError(fields={"value": [sentence]})
    sealer = Sealer(settings.SEALING_KEYS)
    return {"sealed_value": sealer.seal(name=name, secret=text), "sealing_key_id": sealer.key_id}
