"""A run is followed on its page and over the API: numbers, failures, and results side by side."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from generations.choices import ErrorCode, Status
from generations.models import DatasetItem, Generation, OutputImage, Run
from generations.services.retrying import retry_failed
from prompts.models import PromptVersion
from tests.accounts.signing_in import sign_in
from tests.generations.factories import (
    DatasetItemFactory,
    DatasetVersionFactory,
    GenerationFactory,
    OutputImageFactory,
    RunFactory,
)
from tests.prompts.factories import PromptFactory, PromptVersionFactory

pytestmark = pytest.mark.django_db

ApiAs = Callable[[User | None], APIClient]
ENDED: dict[str, Any] = {"status": Status.CANCELLED, "finished_at": datetime(2026, 1, 1, tzinfo=UTC)}


@dataclass(frozen=True)
class Case:
    """A run of two versions over items, and who looks at it."""

    run: Run
    versions: Sequence[PromptVersion]
    items: Sequence[DatasetItem]

    @property
    def page(self) -> str:
        return reverse("admin:generations_run_change", args=[self.run.pk])

    @property
    def news(self) -> str:
        return reverse("admin:generations_run_progress", args=[self.run.pk])

    @property
    def api(self) -> str:
        return f"/api/v1/runs/{self.run.pk}/"

    def generate(self, item: DatasetItem, number: int = 0, **fields: Any) -> Generation:
        generation: Generation = GenerationFactory(
            run=self.run,
            prompt_version=self.versions[number],
            dataset_item=item,
            case_key=item.key,
            **fields,
        )
        return generation


@pytest.fixture
def case() -> Case:
    prompt = PromptFactory()
    versions = [PromptVersionFactory(prompt=prompt, number=number) for number in (1, 2)]
    dataset_version = DatasetVersionFactory()
    items = [
        DatasetItemFactory(dataset_version=dataset_version, key=f"case-{number}", tags=tags)
        for number, tags in enumerate((["fog"], ["fog", "night"], []))
    ]
    run = RunFactory(prompt_versions=versions, dataset_version=dataset_version, repeats=2)
    return Case(run, versions, items)


@pytest.fixture
def as_admin(admin: User) -> Client:
    return sign_in(admin)


def read_fingerprints(page: str) -> str:
    found = re.search(r"seen=([0-9a-f.]+)", page)
    assert found is not None
    return found[1]


def list_cells(body: bytes) -> list[str]:
    return re.findall(r'id="(cell-[0-9]+-[0-9]+)" hx-swap-oob', body.decode())


def test_the_grid_holds_each_case_with_what_every_version_made_of_it(case: Case, as_admin: Client) -> None:
    made = [case.generate(item, number, completed=True) for item in case.items for number in (0, 1)]

    page = as_admin.get(case.page).content.decode()

    positions = [page.index(f"shot-{generation.pk}") for generation in made]
    assert positions == sorted(positions)
    assert [page.index(item.key) for item in case.items] == sorted(page.index(i.key) for i in case.items)


def test_a_tag_keeps_its_slice_and_says_how_many_cases_have_it(case: Case, as_admin: Client) -> None:
    made = [case.generate(item, completed=True) for item in case.items]

    page = as_admin.get(case.page, {"tag": "night"}).content.decode()

    assert "1 case with the tag" in page
    assert [f"shot-{generation.pk}" in page for generation in made] == [False, True, False]
    assert "fog (2)" in page
    assert "night (1)" in page


@pytest.mark.parametrize("tag", ["fo", "FOG", "fog'", '"fog"', "%", "absent", "[]", "null", "é\x00"])
def test_a_tag_is_matched_whole_and_never_as_a_pattern(case: Case, as_admin: Client, tag: str) -> None:
    page = as_admin.get(case.page, {"tag": tag})

    assert (page.status_code, "No case has this tag." in page.content.decode()) == (200, True)


def test_one_repeat_can_be_chosen_and_of_many_the_first_is_shown(case: Case, as_admin: Client) -> None:
    first, second = (case.generate(case.items[0], repeat=repeat) for repeat in (0, 1))

    def shows(**query: str) -> list[bool]:
        page = as_admin.get(case.page, query).content.decode()
        return [f"shot-{generation.pk}" in page for generation in (first, second)]

    assert (shows(), shows(repeat="2")) == ([True, True], [False, True])
    assert shows(repeat="99") == shows(repeat="x") == [True, True]
    Run.objects.filter(pk=case.run.pk).update(repeats=30)
    assert shows() == [True, False]


def test_only_the_cells_that_changed_are_sent_again(case: Case, as_admin: Client) -> None:
    made = [case.generate(item, number) for item in case.items for number in (0, 1)]
    seen = read_fingerprints(as_admin.get(case.page).content.decode())

    unchanged = as_admin.get(case.news, {"seen": seen})
    Generation.objects.filter(pk=made[2].pk).update(
        status=Status.FAILED, error_code=ErrorCode.REFUSED, finished_at=timezone.now()
    )
    changed = as_admin.get(case.news, {"seen": seen})
    then = as_admin.get(case.news, {"seen": read_fingerprints(changed.content.decode())})

    assert list_cells(unchanged.content) == []
    assert list_cells(changed.content) == ["cell-1-0", "cell-1-1"]
    assert list_cells(then.content) == []


@pytest.mark.parametrize("seen", ["", "...", "x.y.z", "0" * 5_000])
def test_whatever_a_page_says_to_have_seen_it_gets_all_it_may_lack(
    case: Case, as_admin: Client, seen: str
) -> None:
    for item in case.items:
        case.generate(item)

    news = as_admin.get(case.news, {"seen": seen})

    assert (news.status_code, len(list_cells(news.content))) == (200, 6)


def test_a_page_is_followed_until_its_pictures_have_their_copies(case: Case, as_admin: Client) -> None:
    case.generate(case.items[0], completed=True)
    output = OutputImage.objects.get()
    blind = output.blind
    OutputImage.objects.update(blind="")

    coming = as_admin.get(case.news)
    OutputImage.objects.update(blind=blind)
    settled = as_admin.get(case.news)

    assert (coming.status_code, settled.status_code) == (200, 286)
    assert "hx-trigger" not in settled.content.decode().split("</div>")[0]


def test_failures_stand_in_groups_with_a_sentence_and_one_group_is_retried_alone(
    case: Case, as_admin: Client
) -> None:
    case.generate(case.items[0], failed=True, provider_message="Not that.")
    case.generate(case.items[1], failed=True, provider_message="Not that.")
    case.generate(case.items[2], failed=True, error_code=ErrorCode.TIMEOUT)

    page = as_admin.get(case.page).content.decode()
    assert "under its content policy" in page
    assert page.count("Not that.") == 1
    listed = as_admin.get(
        reverse("admin:generations_generation_changelist"),
        {"run__id__exact": str(case.run.pk), "status__exact": "failed", "error_code__exact": "refused"},
    )
    assert listed.context["cl"].result_count == 2

    as_admin.post(
        reverse("admin:generations_run_retry", args=[case.run.pk]), {"error_code": "refused"}, follow=True
    )

    left = Generation.objects.current().filter(status=Status.FAILED)
    assert [generation.error_code for generation in left] == ["timeout"]
    assert Generation.objects.filter(status=Status.QUEUED).count() == 2


def test_what_may_be_paid_for_twice_is_sent_again_by_name_and_after_a_question_alone(
    case: Case, as_admin: Client, api_as: ApiAs, admin: User, viewer: User
) -> None:
    case.generate(case.items[0], failed=True, error_code=ErrorCode.OUTCOME_UNKNOWN, reserved_usd="0.04")
    case.generate(case.items[1], failed=True)
    retry = reverse("admin:generations_run_retry", args=[case.run.pk])
    resend, accept = (
        reverse("admin:generations_run_unknown", args=[case.run.pk, decision])
        for decision in ("send_again", "accept_as_lost")
    )

    as_admin.post(retry)
    page = as_admin.get(case.page).content.decode()
    assert [each.error_code for each in Generation.objects.current().filter(status=Status.FAILED)] == [
        "outcome_unknown"
    ]
    assert "$0.04 at risk" in page
    assert "Retry all failures" not in page
    assert api_as(admin).post(f"{case.api}retry/", {}, format="json").status_code == 409
    assert as_admin.post(retry, {"error_code": "outcome_unknown"}).headers["Location"] == resend
    assert "$0.04" in as_admin.get(resend).content.decode()
    assert sign_in(viewer).post(resend).status_code == sign_in(viewer).post(accept).status_code == 403
    assert as_admin.get(resend.replace("send_again", "forget")).status_code == 404
    assert Generation.objects.current().filter(status=Status.FAILED).count() == 1

    # The row was never in the ledger, which would notice.
    Generation.objects.update(reserved_usd=None)
    as_admin.post(accept)
    assert "accepted as lost" in as_admin.get(case.page).content.decode()
    Generation.objects.update(accepted_as_lost_at=None)
    as_admin.post(resend)

    assert not Generation.objects.current().filter(status=Status.FAILED).exists()


def test_what_the_ceiling_stopped_is_a_group_that_says_what_can_be_done(
    case: Case, as_admin: Client, api_as: ApiAs, viewer: User
) -> None:
    Run.objects.filter(pk=case.run.pk).update(ceiling_usd="0.20")
    case.generate(case.items[0], completed=True)
    case.generate(case.items[1], **ENDED, error_code=ErrorCode.CEILING_REACHED)
    case.generate(case.items[2], **ENDED)

    page = as_admin.get(case.page).content.decode()
    [group] = api_as(viewer).get(f"{case.api}failures/").json()

    assert (group["code"], group["status"], group["count"]) == ("ceiling_reached", "cancelled", 1)
    assert "reached its ceiling of $0.20" in group["sentence"]
    assert "launch another run with a higher ceiling" in page
    assert "Retry" not in page
    assert api_as(viewer).get(f"{case.api}progress/").json()["failures"] == [group]
    again = re.search(r'id="launch-again" href="([^"]+)"', page)
    assert again is not None
    launch = as_admin.get(html.unescape(again[1])).context
    assert launch["chosen"] == {str(version.pk) for version in case.versions}
    assert launch["plan"].dataset == case.run.dataset_version
    listed = re.search(r'id="failures-ceiling_reached" href="([^"]+)"', page)
    assert listed is not None
    assert as_admin.get(html.unescape(listed[1])).context["cl"].result_count == 1
    assert 'id="launch-again"' not in sign_in(viewer).get(case.page).content.decode()


def test_viewers_see_no_words_of_the_provider_and_no_buttons(case: Case, viewer: User, api_as: ApiAs) -> None:
    case.generate(case.items[0], failed=True, provider_message="secret words")

    page = sign_in(viewer).get(case.page).content.decode()
    failures = api_as(viewer).get(f"{case.api}failures/").json()

    assert "under its content policy" in page
    assert "secret words" not in page
    assert "Retry" not in page
    assert failures == [
        {
            "code": "refused",
            "label": "Refused by the provider",
            "sentence": "The provider refused the request under its content policy.",
            "count": 1,
            "status": "failed",
        }
    ]


def test_a_run_without_a_dataset_has_one_row(as_admin: Client, api_as: ApiAs, admin: User) -> None:
    version = PromptVersionFactory()
    run = RunFactory(prompt_versions=[version], brief="A boat.")
    generation = GenerationFactory(run=run, prompt_version=version, case_key="", completed=True)

    page = as_admin.get(reverse("admin:generations_run_change", args=[run.pk])).content.decode()
    grid = api_as(admin).get(f"/api/v1/runs/{run.pk}/grid/").json()

    assert f"shot-{generation.pk}" in page
    assert (len(grid["results"]), grid["next"], grid["results"][0]["dataset_item"]) == (1, None, None)


def test_the_api_tells_how_far_a_run_is_once_for_each_change(case: Case, api_as: ApiAs, viewer: User) -> None:
    client = api_as(viewer)
    case.generate(case.items[0], completed=True, cost_usd="0.04")
    case.generate(case.items[1], failed=True)

    first = client.get(f"{case.api}progress/")
    again = client.get(f"{case.api}progress/", headers={"If-None-Match": first["ETag"]})

    body = first.json()
    assert (body["state"], body["n_finished"], body["n_total"], body["is_finished"]) == (
        "completed",
        2,
        2,
        True,
    )
    assert (body["cost_usd"], body["counts"]["failed"]) == ("0.040000", 1)
    assert again.status_code == 304


def test_an_open_run_has_a_speed_and_an_expected_end(case: Case, api_as: ApiAs, viewer: User) -> None:
    began = timezone.now() - timedelta(seconds=60)
    for repeat in range(6):
        case.generate(case.items[0], completed=True, outputs=None, repeat=repeat, started_at=began)
    case.generate(case.items[1])

    body = api_as(viewer).get(f"{case.api}progress/").json()

    assert body["per_minute"] == pytest.approx(6, rel=0.1)
    assert body["ends_at"] is not None


def test_the_apis_grid_comes_in_pages_of_cases_by_tag_and_repeat(
    case: Case, api_as: ApiAs, viewer: User
) -> None:
    client = api_as(viewer)
    made = [case.generate(item, number, completed=True) for item in case.items for number in (0, 1)]
    case.generate(case.items[0], repeat=1)

    keys, address = [], f"{case.api}grid/?page_size=2"
    while address:
        body = client.get(address).json()
        keys += [row["case_key"] for row in body["results"]]
        address = body["next"]
    row = client.get(f"{case.api}grid/?tag=night&repeat=0").json()["results"]
    repeats = client.get(f"{case.api}grid/").json()["results"][0]["cells"][0]["generations"]

    assert keys == ["case-0", "case-1", "case-2"]
    assert [each["case_key"] for each in row] == ["case-1"]
    assert {cell["prompt_version"] for cell in row[0]["cells"]} == {str(each.pk) for each in case.versions}
    shown = {each["id"] for cell in row[0]["cells"] for each in cell["generations"]}
    assert shown == {str(made[2].pk), str(made[3].pk)}
    assert row[0]["cells"][0]["generations"][0]["outputs"][0]["thumbnail_url"].endswith("/thumbnail")
    assert [each["repeat"] for each in repeats] == [0, 1]


@pytest.mark.parametrize(
    "query", ["repeat=-1", "repeat=x", "repeat=1000", "tags=fog", "tag=", "tag=%00", "cursor=x", "repeat=٣"]
)
def test_the_apis_grid_refuses_what_it_can_not_read(
    case: Case, api_as: ApiAs, viewer: User, query: str
) -> None:
    assert api_as(viewer).get(f"{case.api}grid/?{query}").status_code == 400


def test_evaluators_find_no_run(case: Case, api_as: ApiAs, evaluator: User) -> None:
    for name in ("progress", "failures", "grid"):
        assert api_as(evaluator).get(f"{case.api}{name}/").status_code == 404


def test_the_page_and_the_api_take_the_same_number_of_queries_for_one_case_and_many(
    case: Case, as_admin: Client, api_as: ApiAs, admin: User
) -> None:
    client = api_as(admin)

    def count_queries() -> list[int]:
        counts = []
        for get, address in (
            (as_admin.get, case.page),
            (as_admin.get, f"{case.page}?tag=fog&repeat=1&pictures=large"),
            (as_admin.get, case.news),
            (client.get, f"{case.api}progress/"),
            (client.get, f"{case.api}failures/"),
            (client.get, f"{case.api}grid/?tag=fog"),
        ):
            with CaptureQueriesContext(connection) as captured:
                assert get(address).status_code in {200, 286}
            counts.append(len(captured))
        return counts

    case.generate(case.items[0], completed=True)
    case.generate(case.items[0], 1, failed=True)
    count_queries()
    for_one = count_queries()
    for number in range(8):
        item = DatasetItemFactory(dataset_version=case.run.dataset_version, tags=["fog", f"tag-{number}"])
        for version in (0, 1):
            OutputImageFactory(generation=case.generate(item, version, completed=True), position=1)
        case.generate(item, repeat=1, failed=True, error_code=list(ErrorCode)[number], provider_message="No.")

    assert count_queries() == for_one


def test_what_a_retry_replaced_is_out_of_the_grid(case: Case, as_admin: Client, admin: User) -> None:
    failed = case.generate(case.items[0], failed=True)

    retry_failed(actor=admin, run=case.run)
    page = as_admin.get(case.page).content.decode()

    assert f"shot-{failed.pk}" not in page
    assert f"shot-{failed.retried_by.pk}" in page
