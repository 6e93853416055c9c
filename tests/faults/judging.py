"""Compare what an installation says of its generations with the providers' ledgers; no database here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from tests.faults.providers import Kind
from tests.faults.raters import Account
from tests.providers.ledger import Entry

FINAL = frozenset({"completed", "failed", "cancelled"})


@dataclass(frozen=True)
class Row:
    """One generation as the installation has it.

    Args:
        key: What the provider's ledger knows it by.
        may_have_cost_usd: What attempts of unknown outcome count as spent although nobody knows.
        sound_outputs: How many outputs have their files with the right bytes and all their copies.
    """

    id: str
    kind: str
    key: str
    status: str
    error_code: str = ""
    error_message: str = ""
    cost_usd: Decimal | None = None
    reserved_usd: Decimal | None = None
    is_undecided: bool = False
    may_have_cost_usd: Decimal = Decimal(0)
    n_outputs: int = 0
    n_sound_outputs: int = 0


@dataclass(frozen=True)
class Ratings:
    """What the installation has of the ratings.

    Args:
        levels: Of the standing ones, by assignment.
        n_surplus: Standing ones that came after their place was filled, and do not count.
        n_tallied: What the tallies add up to.
        crowded: Images with more ratings that count than were wanted.
    """

    levels: Mapping[str, int]
    n_surplus: int = 0
    n_tallied: int = 0
    crowded: Sequence[str] = ()


@dataclass(slots=True)
class Charged:
    """What a provider's ledger says of one generation."""

    n_jobs: int = 0
    n_cancelled: int = 0
    n_charges: int = 0
    amount_usd: Decimal = Decimal(0)

    @property
    def n_submitted(self) -> int:
        """How often it was taken to be made, what was stopped left out."""
        return max(self.n_jobs - self.n_cancelled, self.n_charges)


@dataclass(frozen=True)
class Finding:
    """One figure, and what stands behind it when it is not met."""

    figure: str
    value: float
    unit: str
    target: str
    met: bool
    details: Sequence[str] = field(default_factory=tuple)


def count_charges(entries: Sequence[Entry], kind: Kind) -> Mapping[str, Charged]:
    """Return what the ledger says, by the key of each generation."""
    found: defaultdict[str, Charged] = defaultdict(Charged)
    for entry in entries:
        charged = found[kind.find_key(entry.key)]
        if entry.event == "asked" and entry.job_id:
            charged.n_jobs += 1
        elif entry.event == "cancelled":
            charged.n_cancelled += 1
        elif entry.event == "charged":
            charged.n_charges += 1
            charged.amount_usd += entry.amount_usd
    return found


def judge_ends(rows: Sequence[Row], *, n_expected: int) -> list[Finding]:
    """Whether all came to an end that people understand."""
    unended = [f"{row.kind} {row.id} is {row.status}" for row in rows if row.status not in FINAL]
    n_lost = n_expected - len(rows) + len(unended)
    wordless = [
        f"{row.kind} {row.id}: {row.error_code!r} {row.error_message!r}"
        for row in rows
        if row.status == "failed" and not (row.error_code and row.error_message.strip())
    ]
    return [
        _none("generations lost", n_lost, unended),
        _none("failures without a code and a sentence", len(wordless), wordless),
    ]


def judge_files(rows: Sequence[Row]) -> list[Finding]:
    """Whether what completed has its outputs."""
    empty = [f"{row.kind} {row.id}" for row in rows if row.status == "completed" and not row.n_outputs]
    unsound = [
        f"{row.kind} {row.id}: {row.n_sound_outputs} of {row.n_outputs}"
        for row in rows
        if row.n_sound_outputs < row.n_outputs
    ]
    return [
        _none("completed generations without an output", len(empty), empty),
        _none("outputs without their file, size, hash or copies", len(unsound), unsound),
    ]


def judge_submissions(
    rows: Sequence[Row], charges: Mapping[str, Mapping[str, Charged]], kinds: Mapping[str, Kind]
) -> list[Finding]:
    """Whether nothing was submitted twice, nor without a generation that it was for.

    Args:
        charges: By kind of provider and key of generation.
    """
    twice: dict[bool, list[str]] = {True: [], False: []}
    known = {(row.kind, row.key) for row in rows}
    strangers = []
    for kind, by_key in charges.items():
        for key, charged in by_key.items():
            if charged.n_submitted > 1:
                twice[kinds[kind].guards].append(f"{kind} {key}: {charged.n_submitted} times")
            if charged.n_submitted and (kind, key) not in known:
                strangers.append(f"{kind} {key}")
    return [
        _none("submitted twice where job ids or keys exist", len(twice[True]), twice[True]),
        _none("submitted twice where neither exists", len(twice[False]), twice[False]),
        _none("submitted for no generation", len(strangers), strangers),
    ]


def judge_money(rows: Sequence[Row], charges: Mapping[str, Mapping[str, Charged]]) -> list[Finding]:
    """Whether each generation costs what its provider charged, and nothing is held back any more.

    What a cancelled call of unknown outcome may have cost counts as spent: more than was charged by at most
    that is no fault.
    """
    wrong = []
    assumed = Decimal(0)
    for row in rows:
        cost = row.cost_usd or Decimal(0)
        charged = charges.get(row.kind, {}).get(row.key, Charged()).amount_usd
        if charged <= cost <= charged + row.may_have_cost_usd:
            assumed += cost - charged
        else:
            wrong.append(
                f"{row.kind} {row.id} {row.status} {row.error_code}: costs {cost}, charged {charged}"
            )
    held = [f"{row.kind} {row.id} {row.status}" for row in rows if row.reserved_usd is not None]
    total = sum((row.cost_usd or Decimal(0) for row in rows), Decimal(0))
    all_charged = sum(
        (charged.amount_usd for by_key in charges.values() for charged in by_key.values()), Decimal(0)
    )
    return [
        _none("generations whose cost is not what was charged", len(wrong), wrong),
        Finding(
            "costs less the ledgers' sum, less what is assumed of cancelled calls",
            float(total - all_charged - assumed),
            "USD",
            "= 0",
            met=total - all_charged == assumed,
        ),
        _none("generations for which money is held back", len(held), held),
    ]


def judge_ratings(accounts: Sequence[Account], ratings: Ratings) -> list[Finding]:
    """Whether what people were told has been kept is there, as they left it, and nothing besides."""
    told = {each: level for account in accounts for each, level in account.levels.items()}
    unsettled = {each for account in accounts for each in account.unsettled}
    lost = [
        f"{each}: {level} was acknowledged, {ratings.levels.get(each)} is there"
        for each, level in told.items()
        if each not in unsettled and ratings.levels.get(each) != level
    ]
    untold = sorted(ratings.levels.keys() - told.keys() - unsettled)
    refused = [each for account in accounts for each in account.refused]
    n_acknowledged = sum(account.n_acknowledged for account in accounts)
    n_off = ratings.n_tallied - (len(ratings.levels) - ratings.n_surplus)
    return [
        Finding("ratings acknowledged", n_acknowledged, "", "> 0", met=n_acknowledged > 0),
        _none("acknowledged ratings lost or changed", len(lost), lost),
        _none("ratings that nobody was told of", len(untold), untold),
        _none("ratings refused", len(refused), refused),
        _none("tallied ratings less those that count", n_off, ()),
        _none("images with more ratings than wanted", len(ratings.crowded), ratings.crowded),
        Finding(
            "calls of raters made again",
            sum(account.n_repeated for account in accounts),
            "",
            "none",
            met=True,
        ),
        Finding("ratings without an answer to the end", len(unsettled), "", "none", met=True),
    ]


def _none(figure: str, value: int, details: Sequence[str]) -> Finding:
    return Finding(figure, value, "", "= 0", met=value == 0, details=details)
