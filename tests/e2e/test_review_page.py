"""The review page in the hands of evaluators: keyboard, touch, a dead network, two tabs, and lost time."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest
from playwright.sync_api import Page, Route, expect

from tests.e2e.conftest import PHONE, Desk, Work
from tests.e2e.product import Product
from tests.e2e.review_page import ReviewPage

pytestmark = pytest.mark.e2e

MakeWork = Callable[..., Work]
STANDING = (
    "SELECT a.public_id, r.level FROM evaluations_rating r JOIN evaluations_assignment a"
    " ON a.id = r.assignment_id WHERE a.queue_id = %s AND r.is_standing"
)

# The page asks every 15 seconds when it has nothing; here it never does.
NO_POLL = """
    const real = window.setTimeout;
    window.setTimeout = (run, wait, ...rest) => (wait === 15000 ? 0 : real(run, wait, ...rest));
"""


def open_queue(desk: Desk, work: Work, *, person: int = 0, **options: object) -> ReviewPage:
    page = desk.sit_down(work.evaluators[person], **options)
    page.goto(work.path)
    return ReviewPage(page)


def read_levels(product: Product, work: Work) -> dict[str, int]:
    """Return the standing ratings of a queue by the ids that their evaluators know."""
    rows = product.sql(STANDING, work.queue_id)
    return {str(UUID(str(assignment))): level for assignment, level in rows}


def press_place(page: Page, code: str, printed: str, *, shift: bool = False) -> None:
    """Press the key at a place of the keyboard on which something else is printed than Americans know."""
    session = page.context.new_cdp_session(page)
    key = {"code": code, "key": printed, "text": printed, "modifiers": 8 if shift else 0}
    session.send("Input.dispatchKeyEvent", {"type": "keyDown", **key})
    session.send("Input.dispatchKeyEvent", {"type": "keyUp", "code": code, "key": printed})
    session.detach()


def test_every_key_does_what_the_help_says(desk: Desk, product: Product, make_work: MakeWork) -> None:
    work = make_work(n_items=5)
    review = open_queue(desk, work)
    page = review.page

    first = review.rate(4)
    second = review.press("Shift+Digit2")
    review.expect_level(2)
    review.expect_item(second)
    review.press("0")
    review.expect_level(None)
    review.press("u")
    review.expect_level(2)
    review.press("ArrowLeft")
    review.expect_item(first)
    review.expect_level(4)
    review.press("ArrowRight")
    review.expect_item(second)
    review.press("n")
    expect(review.note).to_be_focused()
    page.keyboard.type("1 boat, 5 sails")
    page.keyboard.press("Escape")
    expect(review.note).not_to_be_focused()
    review.press("f")
    expect(review.flag).to_have_attribute("aria-pressed", "true")
    review.press("ArrowRight")
    review.expect_another_than(second)
    skipped = review.press("s")
    review.expect_another_than(skipped)
    review.press("Backspace")
    review.expect_item(skipped)
    review.rate(5)
    review.press("Shift+?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("3")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    review.expect_all_sent()

    assert read_levels(product, work) == {first: 4, second: 2, skipped: 5}
    notes = product.sql(
        "SELECT r.note, r.is_flagged FROM evaluations_rating r JOIN evaluations_assignment a"
        " ON a.id = r.assignment_id WHERE a.queue_id = %s AND r.note <> '' AND r.is_standing",
        work.queue_id,
    )
    assert [(note, bool(is_flagged)) for note, is_flagged in notes] == [("1 boat, 5 sails", True)]


def test_digits_go_by_their_place_on_a_french_keyboard(
    desk: Desk, product: Product, make_work: MakeWork
) -> None:
    work = make_work(n_items=2)
    review = open_queue(desk, work)

    first = review.see()
    press_place(review.page, "Digit4", "'")
    review.expect_another_than(first)
    second = review.see()
    press_place(review.page, "Digit2", "2", shift=True)
    review.expect_level(2)
    review.expect_item(second)
    review.expect_all_sent()

    assert read_levels(product, work) == {first: 4, second: 2}


def test_a_held_key_and_a_key_before_the_image_rate_nothing(
    desk: Desk, product: Product, make_work: MakeWork
) -> None:
    work = make_work(n_items=3)
    review = open_queue(desk, work)

    first = review.see()
    for _ in range(12):
        review.page.keyboard.down("5")
    review.page.keyboard.up("5")
    review.expect_another_than(first)
    second = review.see()
    review.expect_all_sent()

    assert second != first
    assert read_levels(product, work) == {first: 5}


def test_a_phone_is_enough(desk: Desk, product: Product, make_work: MakeWork) -> None:
    work = make_work(n_items=3)
    review = open_queue(desk, work, **PHONE)
    page = review.page

    first = review.see()
    page.locator('[data-ref="levels"] [data-level="4"]').tap()
    review.expect_another_than(first)
    second = review.see()
    page.get_by_role("button", name="Note", exact=True).tap()
    review.note.fill("Too dark")
    page.locator('[data-command="flag"]').tap()
    review.see()
    page.locator('[data-ref="levels"] [data-level="1"]').tap()
    review.expect_another_than(second)
    review.see()
    page.locator('[data-command="undo"]').tap()
    review.expect_item(second)
    review.expect_level(None)
    review.expect_all_sent()

    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    smallest = page.evaluate(
        "Math.min(...[...document.querySelectorAll('.levels button')]"
        ".map((button) => Math.min(button.offsetWidth, button.offsetHeight)))"
    )
    assert smallest >= 44
    assert read_levels(product, work) == {first: 4}


def test_what_is_rated_without_a_network_is_kept_and_sent_later(
    desk: Desk, product: Product, make_work: MakeWork
) -> None:
    work = make_work(n_items=4)
    review = open_queue(desk, work)
    first = review.see()

    review.page.context.set_offline(True)
    review.rate(3)
    second = review.rate(5)
    expect(review.waiting).to_contain_text("Offline · 2 waiting to be sent")
    assert read_levels(product, work) == {}
    review.page.context.set_offline(False)
    review.expect_all_sent()

    expect(review.waiting).to_be_hidden()
    assert read_levels(product, work) == {first: 3, second: 5}


def test_ratings_of_a_closed_tab_go_out_with_the_next_one(
    desk: Desk, product: Product, make_work: MakeWork
) -> None:
    work = make_work(n_items=3)
    review = open_queue(desk, work)
    first = review.see()
    context = review.page.context

    context.set_offline(True)
    review.rate(2)
    expect(review.waiting).to_contain_text("1 waiting to be sent")
    review.page.close()
    context.set_offline(False)
    again = ReviewPage(context.new_page())
    again.page.goto(work.path)
    again.expect_all_sent()

    assert read_levels(product, work) == {first: 2}


def test_two_tabs_of_one_evaluator_do_not_get_in_each_others_way(
    desk: Desk, product: Product, make_work: MakeWork
) -> None:
    work = make_work(n_items=6)
    left = open_queue(desk, work)
    right = ReviewPage(left.page.context.new_page())
    left.see()
    right.page.goto(work.path)
    given: dict[str, int] = {}

    for _ in range(3):
        given[left.rate(4)] = 4
        right.page.bring_to_front()
        given[right.rate(2)] = 2
        left.page.bring_to_front()
    left.expect_all_sent()
    right.expect_all_sent()

    assert read_levels(product, work) == given
    expect(left.notices).to_be_empty()
    expect(right.notices).to_be_empty()


def test_an_empty_tab_asks_again_as_soon_as_another_tab_has_sent_something(
    desk: Desk, product: Product, make_work: MakeWork
) -> None:
    work = make_work(n_items=2)
    left = open_queue(desk, work)
    first = left.see()
    right = ReviewPage(left.page.context.new_page())
    right.page.add_init_script(NO_POLL)
    held: list[Route] = []
    right.page.route("**/next/", lambda route: route.continue_() if held else held.append(route))
    with right.page.expect_request("**/next/"):
        right.page.goto(work.path)

    # The first answer is as old as it can be: it does not know of what is rated meanwhile.
    left.page.bring_to_front()
    left.rate(4)
    left.expect_all_sent()
    right.page.bring_to_front()
    held[0].fulfill(json={"assignments": []})

    assert right.see() != first


def test_an_item_that_went_to_somebody_else_is_told_of_and_loses_nothing(
    desk: Desk, product: Product, make_work: MakeWork
) -> None:
    work = make_work(n_items=2, n_evaluators=2)
    late = open_queue(desk, work)
    late_first = late.see()
    product.sql(
        "UPDATE evaluations_assignment SET lease_expires_at = '2001-01-01 00:00:00+00:00'"
        " WHERE queue_id = %s",
        work.queue_id,
    )
    quick = open_queue(desk, work, person=1)
    theirs = {quick.rate(5), quick.rate(5)}
    quick.expect_all_sent()

    late.page.bring_to_front()
    late.rate(1)
    expect(late.notices).to_contain_text("Kept as an extra rating")
    late_second = late.press("s")
    expect(late.notices).to_contain_text("A skip was not accepted")
    late.expect_all_sent()

    levels = read_levels(product, work)
    assert levels == {**dict.fromkeys(theirs, 5), late_first: 1}
    assert late_second not in levels
    means = product.sql(
        "SELECT DISTINCT o.rating FROM generations_outputimage o JOIN evaluations_queueitem i"
        " ON i.output_image_id = o.id WHERE i.queue_id = %s",
        work.queue_id,
    )
    assert [float(mean) for (mean,) in means] == [5.0]
