"""What the light pages are made of: no script or style in the markup, little to fetch, no dead reference."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from evaluations.models import ReviewQueue
from tests.evaluations.factories import ReviewQueueFactory, make_queue, rate
from tests.generations.factories import GenerationFactory

MOST_BYTES = 60 * 1024
INLINE = re.compile(r"<style|<script(?![^>]*\ssrc=)|\s(?:style|on[a-z]+)=|javascript:", re.IGNORECASE)


@pytest.fixture
def signed_in(client: Client, evaluator: User) -> Client:
    client.force_login(evaluator)
    return client


@pytest.fixture
def page(signed_in: Client) -> str:
    """The review page of a queue."""
    return read(signed_in, reverse("review:queue", args=[ReviewQueueFactory().pk]))


def read(client: Client, address: str, status: int = 200) -> str:
    response = client.get(address)
    assert response.status_code == status
    return response.content.decode()


def find_all(pattern: str, text: str) -> set[str]:
    return set(re.findall(pattern, text))


def list_fetched(page: str) -> dict[str, str]:
    """Return the scripts and styles that a page makes the browser fetch, what they import included."""
    fetched: dict[str, str] = {}
    waiting = find_all(r'(?:src|href)="/static/([^"]+\.(?:js|css))"', page)
    while waiting:
        name = waiting.pop()
        path = finders.find(name)
        assert path, name
        fetched[name] = Path(str(path)).read_text(encoding="utf-8")
        imported = find_all(r"from '\./([^']+)'", fetched[name])
        waiting |= {f"{name.rpartition('/')[0]}/{each}" for each in imported} - fetched.keys()
    return fetched


def test_a_queue_with_nothing_due_is_filled_when_its_list_is_opened(signed_in: Client) -> None:
    ReviewQueueFactory.create_batch(2)
    address = reverse("review:queue-list")
    assert "<strong>0</strong> due" in read(signed_in, address)
    ReviewQueue.objects.update(synced_at=timezone.now() - timedelta(seconds=5))
    GenerationFactory(completed=True)

    page = read(signed_in, address)

    assert "<strong>0</strong> due" not in page
    assert "<strong>1</strong> due" in page


def test_the_review_page_fetches_at_most_60_kb_of_script_and_style(page: str) -> None:
    fetched = list_fetched(page)

    assert "evaluations/outbox.js" in fetched
    assert sum(len(text.encode()) for text in fetched.values()) <= MOST_BYTES


def test_all_that_scripts_look_for_is_on_the_page(page: str) -> None:
    fetched = list_fetched(page)
    code = "".join(text for name, text in fetched.items() if name.endswith(".js"))
    kinds = ("ref", "words", "command", "layer")
    on_page = {kind: find_all(rf'data-{kind}="([^"]+)"', page) for kind in kinds}

    wanted_words = find_all(r"(?:words|say)\('([a-z-]+)'", code)
    wanted_refs = find_all(r"\brefs\.([a-zA-Z]+)", code)
    wanted_layers = find_all(r"\blayers\.([a-zA-Z]+)", code)
    commands = find_all(r"(?m)^  (?:async )?([a-z]+)[(:]", fetched["evaluations/review_queue.js"])

    assert wanted_words <= on_page["words"]
    assert wanted_refs <= on_page["ref"]
    assert wanted_layers <= on_page["layer"]
    assert on_page["command"] <= commands


def test_no_page_of_evaluators_holds_script_or_style(signed_in: Client, evaluator: User) -> None:
    queue = make_queue(2)
    rate(queue, evaluator, note="<b onclick=x>", level=3)
    ReviewQueueFactory()

    pages = [
        read(signed_in, reverse(name, args=args))
        for name, args in (
            ("review:queue-list", ()),
            ("review:queue", (queue.pk,)),
            ("review:history", ()),
            ("account_change_password", ()),
            ("account_logout", ()),
        )
    ]

    for page in pages:
        assert not INLINE.search(page.replace("&lt;b onclick=x&gt;", ""))


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/accounts/login/", 200),
        ("/accounts/password/reset/", 200),
        ("/accounts/password/reset/done/", 200),
        ("/accounts/password/reset/key/1-dead/", 400),
        ("/accounts/password/reset/key/done/", 200),
        ("/nothing-here", 404),
    ],
)
def test_the_pages_at_the_door_hold_no_script_and_no_way_to_sign_up(
    client: Client, address: str, status: int
) -> None:
    page = read(client, address, status)

    assert not INLINE.search(page)
    assert "sign up" not in page.lower()
    assert "<h1>" in page
    assert list_fetched(page)


def test_every_rule_and_comment_of_a_style_sheet_is_closed(page: str) -> None:
    sheets = {name: text for name, text in list_fetched(page).items() if name.endswith(".css")}

    for name, text in sheets.items():
        rules = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
        assert "/*" not in rules, name
        assert rules.count("{") == rules.count("}"), name


def test_the_review_page_asks_no_other_machine(page: str) -> None:
    everything = page + "".join(list_fetched(page).values())

    assert not find_all(r"https?://[^\s\"'`)]+", everything)


def test_navigation_shows_each_role_its_own_rooms(
    client: Client, evaluator: User, viewer: User, admin: User
) -> None:
    rooms = {}
    for person in (evaluator, viewer, admin):
        client.force_login(person)
        page = read(client, reverse("account_change_password"))
        navigation = page[page.index("<nav") : page.index("</nav>")]
        rooms[person] = re.findall(r">([A-Za-z]+)</a>", navigation)

    assert rooms == {
        evaluator: ["Review", "History"],
        viewer: ["Admin"],
        admin: ["Review", "History", "Admin"],
    }
