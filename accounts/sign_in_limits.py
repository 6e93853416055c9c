"""How often passwords may be guessed, and by whom; the owner of an account is never locked out by others.

Each attempt is counted before the password is looked at, so that parallel guesses cannot slip through, and
forgiven when the password was right.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from accounts.addresses import get_network
from accounts.rate_limits import give_back, take


@dataclass(frozen=True)
class Limit:
    """A bucket's name and size."""

    name: str
    rate_per_minute: float
    burst: int


# One address that tries many accounts; one address that tries one account; many that try one account.
BY_ADDRESS: Final = Limit("sign-in-address", rate_per_minute=10, burst=30)
BY_ACCOUNT_AND_ADDRESS: Final = Limit("sign-in", rate_per_minute=1, burst=5)
BY_ACCOUNT: Final = Limit("sign-in-account", rate_per_minute=1, burst=30)
# Under attack from many addresses each of them gets this little, the owner's own clean one included.
BY_ACCOUNT_AND_ADDRESS_UNDER_ATTACK: Final = Limit("sign-in-attacked", rate_per_minute=0.2, burst=3)

CHANGE_BY_ACCOUNT: Final = Limit("password-change", rate_per_minute=1, burst=5)
RESET_BY_ADDRESS: Final = Limit("reset-address", rate_per_minute=2, burst=10)
RESET_BY_ACCOUNT: Final = Limit("reset-account", rate_per_minute=0.2, burst=3)


@dataclass(frozen=True)
class Attempt:
    """One counted try; `wait_seconds` above zero says that it may not be made yet."""

    wait_seconds: float
    taken: tuple[tuple[str, Limit], ...] = ()


def begin_attempt(*, email: str, address: str | None) -> Attempt:
    """Count one try to sign in, whether or not there is such an account."""
    account, network = _digest(email), get_network(address)
    by_address = _key(BY_ADDRESS, network)
    by_both = _key(BY_ACCOUNT_AND_ADDRESS, account, network)
    for key, limit in ((by_address, BY_ADDRESS), (by_both, BY_ACCOUNT_AND_ADDRESS)):
        if wait := _take(key, limit):
            return Attempt(wait)
    by_account, limit = _key(BY_ACCOUNT, account), BY_ACCOUNT
    if _take(by_account, BY_ACCOUNT):
        limit = BY_ACCOUNT_AND_ADDRESS_UNDER_ATTACK
        by_account = _key(limit, account, network)
        if wait := _take(by_account, limit):
            return Attempt(wait)
    return Attempt(0.0, ((by_address, BY_ADDRESS), (by_both, BY_ACCOUNT_AND_ADDRESS), (by_account, limit)))


def begin_change(*, user_id: str) -> Attempt:
    """Count one try at the old password, by who is signed in already."""
    key = _key(CHANGE_BY_ACCOUNT, user_id)
    wait = _take(key, CHANGE_BY_ACCOUNT)
    return Attempt(wait) if wait else Attempt(0.0, ((key, CHANGE_BY_ACCOUNT),))


def forgive_attempt(attempt: Attempt) -> None:
    """Take back what an attempt counted for, because its password was right."""
    for key, limit in attempt.taken:
        give_back(key, rate_per_minute=limit.rate_per_minute)


def count_reset(*, email: str, address: str | None) -> float:
    """Count one request for a password mail; return the seconds to wait, 0.0 when it may be sent."""
    for key, limit in (
        (_key(RESET_BY_ADDRESS, get_network(address)), RESET_BY_ADDRESS),
        (_key(RESET_BY_ACCOUNT, _digest(email)), RESET_BY_ACCOUNT),
    ):
        if wait := _take(key, limit):
            return wait
    return 0.0


def _take(key: str, limit: Limit) -> float:
    return take(key, rate_per_minute=limit.rate_per_minute, burst=limit.burst)


def _key(limit: Limit, *parts: str) -> str:
    return ":".join((limit.name, *parts))


def _digest(email: str) -> str:
    return hashlib.sha256(email.strip().lower().encode()).hexdigest()
