"""What judges a fault run finds what was planted, and nothing in a sound one."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.faults.judging import (
    Charged,
    Finding,
    Ratings,
    Row,
    count_charges,
    judge_ends,
    judge_files,
    judge_money,
    judge_ratings,
    judge_submissions,
)
from tests.faults.providers import KINDS
from tests.faults.raters import Account
from tests.providers.ledger import Entry

PRICE = Decimal("0.04")
COMPLETED = Row(
    id="g1", kind="fal", key="fal 1-0", status="completed", cost_usd=PRICE, n_outputs=1, n_sound_outputs=1
)
SUBMITTED_ONCE = {"fal": {"fal 1-0": Charged(n_jobs=1, n_charges=1, amount_usd=PRICE)}}


def failing(findings: list[Finding]) -> list[str]:
    return [finding.figure for finding in findings if not finding.met]


def test_a_sound_run_has_no_finding() -> None:
    findings = [
        *judge_ends([COMPLETED], n_expected=1),
        *judge_files([COMPLETED]),
        *judge_money([COMPLETED], SUBMITTED_ONCE),
        *judge_submissions([COMPLETED], SUBMITTED_ONCE, KINDS),
    ]

    assert failing(findings) == []


def test_a_job_submitted_twice_is_found_in_the_ledger() -> None:
    entries = [Entry("asked", "fal 1-0 #7", "job-1"), Entry("asked", "fal 1-0 #7", "job-2")]

    charges = {"fal": count_charges(entries, KINDS["fal"])}

    assert failing(judge_submissions([COMPLETED], charges, KINDS)) == [
        "submitted twice where job ids or keys exist"
    ]


def test_a_job_submitted_again_after_the_first_was_stopped_is_none_too_many() -> None:
    entries = [
        Entry("asked", "fal 1-0", "job-1"),
        Entry("cancelled", "fal 1-0", "job-1"),
        Entry("asked", "fal 1-0", "job-2"),
        Entry("charged", "fal 1-0", "job-2", PRICE),
    ]

    charges = {"fal": count_charges(entries, KINDS["fal"])}

    assert failing(judge_submissions([COMPLETED], charges, KINDS)) == []


def test_a_generation_paid_for_under_two_keys_is_found() -> None:
    row = Row(id="a-b", kind="openai-keyed", key="a-b", status="completed", cost_usd=PRICE)
    entries = [Entry("charged", "a-b-1", "", PRICE), Entry("charged", "a-b-2", "", PRICE)]

    charges = {"openai-keyed": count_charges(entries, KINDS["openai-keyed"])}

    assert failing(judge_submissions([row], charges, KINDS)) == [
        "submitted twice where job ids or keys exist"
    ]
    assert "generations whose cost is not what was charged" in failing(judge_money([row], charges))


def test_what_was_submitted_for_no_generation_is_found() -> None:
    charges = {"fal": {"fal 9-9": Charged(n_jobs=1)}}

    assert failing(judge_submissions([COMPLETED], charges, KINDS)) == ["submitted for no generation"]


@pytest.mark.parametrize("rows", [[], [Row(id="g1", kind="fal", key="k", status="processing")]])
def test_what_is_missing_or_has_not_ended_is_lost(rows: list[Row]) -> None:
    assert failing(judge_ends(rows, n_expected=1)) == ["generations lost"]


@pytest.mark.parametrize(("code", "sentence"), [("", "It failed."), ("timeout", " ")])
def test_a_failure_needs_a_code_and_a_sentence(code: str, sentence: str) -> None:
    row = Row(id="g1", kind="fal", key="k", status="failed", error_code=code, error_message=sentence)

    assert failing(judge_ends([row], n_expected=1)) == ["failures without a code and a sentence"]


def test_a_completed_generation_needs_sound_outputs() -> None:
    without = Row(id="g1", kind="fal", key="k", status="completed")
    unsound = Row(id="g2", kind="fal", key="k", status="completed", n_outputs=2, n_sound_outputs=1)

    assert failing(judge_files([without])) == ["completed generations without an output"]
    assert failing(judge_files([unsound])) == ["outputs without their file, size, hash or copies"]


def test_costs_that_are_not_what_was_charged_are_found() -> None:
    free = Row(id="g1", kind="fal", key="fal 1-0", status="failed")

    assert failing(judge_money([free], SUBMITTED_ONCE)) == [
        "generations whose cost is not what was charged",
        "costs less the ledgers' sum, less what is assumed of cancelled calls",
    ]


def test_a_cancelled_call_of_unknown_outcome_may_count_more_than_was_charged() -> None:
    row = Row(id="g1", kind="fal", key="k", status="cancelled", cost_usd=PRICE, may_have_cost_usd=PRICE)

    assert failing(judge_money([row], {})) == []


def test_money_still_held_back_is_found() -> None:
    row = Row(id="g1", kind="fal", key="k", status="failed", reserved_usd=PRICE)

    assert failing(judge_money([row], {})) == ["generations for which money is held back"]


def make_account(**levels: int | None) -> Account:
    return Account(levels=dict(levels), n_acknowledged=len(levels))


def test_ratings_as_people_left_them_are_no_finding() -> None:
    accounts = [make_account(a=3, b=None), make_account(c=5)]

    findings = judge_ratings(accounts, Ratings({"a": 3, "c": 5}, n_surplus=1, n_tallied=1))

    assert failing(findings) == []


@pytest.mark.parametrize("levels", [{}, {"a": 2}])
def test_an_acknowledged_rating_that_is_gone_or_another_is_found(levels: dict[str, int]) -> None:
    findings = judge_ratings([make_account(a=3)], Ratings(levels, n_tallied=len(levels)))

    assert failing(findings) == ["acknowledged ratings lost or changed"]


def test_a_withdrawn_rating_that_still_stands_is_found() -> None:
    findings = judge_ratings([make_account(a=None)], Ratings({"a": 3}, n_tallied=1))

    assert failing(findings) == ["acknowledged ratings lost or changed"]


def test_a_rating_that_nobody_gave_is_found_and_one_without_an_answer_is_not() -> None:
    account = make_account(a=3)
    account.unsettled.add("b")

    stranger = judge_ratings([account], Ratings({"a": 3, "c": 1}, n_tallied=2))
    unanswered = judge_ratings([account], Ratings({"a": 3, "b": 1}, n_tallied=2))

    assert failing(stranger) == ["ratings that nobody was told of"]
    assert failing(unanswered) == []


def test_refusals_crowds_wrong_tallies_and_a_run_without_ratings_are_found() -> None:
    account = make_account(a=3)
    account.refused.append("submit 409")

    findings = judge_ratings([account], Ratings({"a": 3}, n_tallied=2, crowded=["image: 3"]))

    assert failing(findings) == [
        "ratings refused",
        "tallied ratings less those that count",
        "images with more ratings than wanted",
    ]
    assert failing(judge_ratings([Account()], Ratings({}))) == ["ratings acknowledged"]
