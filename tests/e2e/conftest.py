"""One installation and one browser for all of these tests, and people who sit down at it."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    expect,
    sync_playwright,
)

from tests.e2e.product import Account, Api, Product

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS = 45_000
WORK_LIMIT_S = 60.0
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
_numbers = count(1)


@pytest.fixture(scope="session")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """Return the running product, filled with the demo."""
    address = os.environ.get("DATABASE_URL", "")
    running = Product(
        tmp_path_factory.mktemp("product"), server_url=address if address.startswith("postgres") else ""
    )
    running.start()
    try:
        yield running
    finally:
        printed = running.stop()
    assert not re.search(r" (?:ERROR|CRITICAL) |Error: |worker \(pid", printed), printed


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return Chromium, as CHROMIUM_PATH names it or as it is found."""
    path = os.environ.get("CHROMIUM_PATH") or shutil.which("chromium") or shutil.which("google-chrome")
    assert path, "The browser's tests need Chromium: install it, or name it in CHROMIUM_PATH."
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield chromium
        chromium.close()


class Desk:
    """Where people sit down: each has a browser of their own, whose complaints are collected."""

    def __init__(self, browser: Browser, product: Product) -> None:
        self._browser = browser
        self._product = product
        self._contexts: list[BrowserContext] = []
        self.complaints: list[str] = []

    def sit_down(self, who: str | Account | None, **options: Any) -> Page:
        """Return a tab of somebody new at the screen: a role, an account, or nobody signed in."""
        options.setdefault("viewport", {"width": 1440, "height": 900})
        context = self._browser.new_context(base_url=self._product.url, **options)
        context.set_default_timeout(PATIENCE_MS)
        context.on("request", self._watch_request)
        context.on("console", self._watch_console)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        self._contexts.append(context)
        page = context.new_page()
        if who is not None:
            sign_in(page, self._product.accounts[who] if isinstance(who, str) else who)
        return page

    def leave(self) -> None:
        """Close all browsers."""
        for context in self._contexts:
            context.close()

    def _watch_request(self, request: Request) -> None:
        if not request.url.startswith((self._product.url, "data:", "blob:")):
            self.complaints.append(f"request to {request.url}")

    def _watch_console(self, message: ConsoleMessage) -> None:
        # What the network answered is each test's own matter.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.complaints.append(f"{message.page.url if message.page else ''}: {message.text}")


def sign_in(page: Page, account: Account) -> None:
    """Sign in on the product's own page."""
    page.goto("/accounts/login/")
    page.get_by_label("Email").fill(account.email)
    page.get_by_label("Password").fill(account.password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "/accounts/login/" not in url)


@pytest.fixture
def desk(browser: Browser, product: Product) -> Iterator[Desk]:
    """Let people sit down; afterwards no page may have complained nor asked anybody else's server."""
    place = Desk(browser, product)
    yield place
    place.leave()
    assert place.complaints == []


@dataclass(frozen=True)
class Work:
    """A queue with items that only these evaluators rate."""

    queue: str
    evaluators: list[Account]

    @property
    def path(self) -> str:
        """Where its review page is."""
        return f"/review/{self.queue}/"

    @property
    def queue_id(self) -> UUID:
        """The queue's key in the database."""
        return UUID(self.queue)


@pytest.fixture(scope="session")
def make_work(product: Product) -> Callable[..., Work]:
    """Return a maker of queues with items of their own."""
    api = product.api("admin")

    def make(*, n_items: int, n_evaluators: int = 1) -> Work:
        number = next(_numbers)
        people = [_make_evaluator(api, f"hand{number}-{each}") for each in range(n_evaluators)]
        prompt = api.post("prompts/", {"name": f"Work {number}"})["id"]
        version = api.post(
            "prompt-versions/",
            {"prompt": prompt, "user_prompt": "A {thing}.", "image_model": _find_renderer(api)},
        )
        api.post(
            "runs/",
            {
                "name": f"Work {number}",
                "prompt_versions": [version["id"]],
                "variables": {"thing": "red boat"},
                "brief": f"A red boat, number {number}.",
                "repeats": n_items,
            },
        )
        criterion = api.get("review-queues/")["results"][0]["criterion"]["id"]
        queue = api.post(
            "review-queues/",
            {
                "name": f"Queue {number}",
                "criterion": criterion,
                "prompts": [prompt],
                "evaluators": [person_id for person_id, _ in people],
            },
        )["id"]
        work = Work(queue, [account for _, account in people])
        _wait_until_due(product, work, n_items)
        return work

    return make


def _wait_until_due(product: Product, work: Work, n_items: int) -> None:
    """Ask for items, which pulls new ones, and give them back until all are counted."""
    script = Api(product.url, work.evaluators[0])
    queue = f"review-queues/{work.queue}"
    deadline = time.monotonic() + WORK_LIMIT_S
    while script.get(f"{queue}/progress/")["due"] < n_items:
        assert time.monotonic() < deadline, "The images of the queue do not come."
        given = script.post(f"{queue}/next/", {"count": 1}, expect=200)["assignments"]
        held = [assignment["id"] for assignment in given]
        script.post(f"{queue}/return/", {"assignments": held}, expect=204)
        time.sleep(0.1)


def _make_evaluator(api: Api, name: str) -> tuple[str, Account]:
    account = Account(f"{name}@demo.example", "a pass phrase for tests")
    made = api.post(
        "users/", {"email": account.email, "password": account.password, "role": "evaluator", "name": name}
    )
    return made["id"], account


def _find_renderer(api: Api) -> str:
    models = api.get("image-models/")["results"]
    return str(next(model["id"] for model in models if model["kind"] == "text_to_image"))
