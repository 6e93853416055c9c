"""Every page, as each role: no policy broken, nothing asked of other servers, a visible focus."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import PHONE, Desk, Work
from tests.e2e.product import Product
from tests.e2e.review_page import ReviewPage

pytestmark = pytest.mark.e2e

LISTS = (
    *("prompts/prompt", "prompts/promptversion", "prompts/imagemodel"),
    *("generations/dataset", "generations/run", "generations/generation"),
    *("evaluations/reviewqueue", "evaluations/rating", "evaluations/criterion"),
    "generations/quota",
)
OVERHANG = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
INLINE = re.compile(r"<style|\sstyle=|<script(?![^>]*\ssrc=)|\son[a-z]+=", re.IGNORECASE)
FOCUSED = """() => {
    const element = document.activeElement;
    if (!element || element === document.body) return null;
    const style = getComputedStyle(element), box = element.getBoundingClientRect();
    const isSeen = style.outlineStyle !== 'none' || style.boxShadow !== 'none' || element.tagName === 'INPUT';
    return [element.dataset.command ?? element.dataset.level ?? element.textContent.trim(),
        isSeen && box.width > 0 && box.height > 0];
}"""


def list_addresses(page: Page, role: str) -> list[str]:
    """Return the addresses of all kinds of pages, with one row each."""
    addresses = ["/admin/", "/admin/analytics/", "/admin/spending/", "/api/v1/docs/"]
    for name in LISTS:
        addresses.append(f"/admin/{name}/")
        page.goto(f"/admin/{name}/")
        rows = page.locator('#result_list a[href*="/change/"]')
        if rows.count():
            addresses.append(rows.first.get_attribute("href") or "")
    if role == "admin":
        addresses += [f"/admin/{name}/add/" for name in LISTS[:3]]
        addresses += ["/admin/generations/run/launch/", "/admin/accounts/user/", "/admin/accounts/user/add/"]
        addresses += [
            "/admin/queue-status/",
            "/admin/accounts/auditentry/",
            "/admin/generations/dataset/add/",
            "/review/",
        ]
    return addresses


@pytest.mark.parametrize(("role", "options"), [("admin", {}), ("viewer", PHONE)], ids=["admin", "viewer"])
def test_no_page_of_the_admin_complains_or_is_wider_than_its_screen(
    desk: Desk, role: str, options: dict[str, object]
) -> None:
    page = desk.sit_down(role, **options)

    for address in list_addresses(page, role):
        answer = page.goto(address)
        page.wait_for_load_state("load")

        assert answer is not None
        assert answer.status == 200, address
        overhang = page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert overhang <= 0, f"{address} is {overhang} px wider than its screen"


def test_no_light_page_needs_anything_inline_or_from_elsewhere(desk: Desk, product: Product) -> None:
    stranger, evaluator = desk.sit_down(None), desk.sit_down("evaluator")
    pages = [
        *((stranger, path) for path in ("/accounts/login/", "/accounts/password/reset/", "/api/v1/docs/")),
        *(
            (evaluator, path)
            for path in ("/review/", "/review/history/", "/accounts/password/change/", "/nope")
        ),
    ]

    for page, path in pages:
        answer = page.goto(path)

        assert answer is not None
        assert answer.status == (404 if path == "/nope" else 200), path
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy, path
        assert "default-src 'none'" in policy, path
        assert not INLINE.search(answer.text()), path
        expect(page.locator("h1, h2").first).to_be_attached()


def test_signing_in_and_rating_need_no_mouse_and_show_where_one_is(
    desk: Desk, product: Product, make_work: Callable[..., Work]
) -> None:
    work = make_work(n_items=2)
    page = desk.sit_down(None)
    page.goto(f"/accounts/login/?next={work.path}")
    page.get_by_label("Email").focus()
    page.keyboard.type(work.evaluators[0].email)
    page.keyboard.press("Tab")
    page.keyboard.type(work.evaluators[0].password)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: urlsplit(url).path == work.path)
    review = ReviewPage(page)
    first = review.see()

    reached = {}
    for _ in range(40):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if focused is None:
            break
        name, is_visible = focused
        reached[name] = is_visible
        if name == "4":
            page.keyboard.press("Enter")
            break

    review.expect_another_than(first)
    assert {"back", "forward", "zoom", "1", "2", "3", "4"} <= set(reached)
    assert all(reached.values()), [name for name, is_visible in reached.items() if not is_visible]


def test_somebody_elses_address_is_a_clear_page_and_no_error(desk: Desk, product: Product) -> None:
    page = desk.sit_down("evaluator")

    for path in (
        "/review/01900000-0000-7000-8000-000000000000/",
        "/media/x",
        "/admin/",
        "/review/history/?cursor=x",
    ):
        answer = page.goto(path)

        assert answer is not None
        assert answer.status < 500, path
        assert page.locator("h1").first.inner_text(), path
