"""How long pages and lists take with 100,000 outputs and as many ratings, and how many queries they make.

One signed-in admin asks for one page after another, over a kept connection.
"""

from __future__ import annotations

import http.client
import itertools
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from tests.benchmarks.support import (
    ROOT,
    benchmark_installation,
    copy_row,
    find_free_port,
    report,
    running,
    wait_for_web,
)

N_PROMPTS = 50
N_VERSIONS = 4
N_OUTPUTS = 100_000
N_RATINGS = 100_000
N_UNRATED = 20_000
N_FAILED = 500
N_QUEUED = 300
N_REQUESTS = 60
N_WARM_UP = 6
DAYS = 60
N_HOPS = 150
MAX_PAGE_MS = 300.0
MAX_API_MS = 100.0
N_CASES = 2_500
GRID_NAME = "Many cases"
_BATCH = 5_000


@dataclass(frozen=True, slots=True)
class Address:
    """What is asked for."""

    name: str
    path: str

    @property
    def limit_ms(self) -> float:
        """The target of its p95."""
        return MAX_API_MS if self.path.startswith("/api/") else MAX_PAGE_MS


def main() -> None:
    """Run the benchmark and print its figures."""
    port = find_free_port()
    with benchmark_installation(PORT=str(port)) as environment:
        command = [sys.executable, "manage.py", "serve", "--only"]
        subprocess.run([*command, "preparation"], cwd=ROOT, env=dict(environment), check=True)
        user, cookie = _sign_in()
        _load_few()
        n_queries = {address.name: _count_queries(user, address) for address in _list_addresses()}
        _load_many()
        with running([*command, "web"], environment=environment, log="web.log"):
            wait_for_web(port)
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            addresses = [*_list_addresses(), _find_deep_page(connection, cookie)]
            for address in addresses:
                _measure(connection, cookie, address)
        for address in _list_addresses():
            _report_queries(user, address, n_queries[address.name])


def _measure(connection: http.client.HTTPConnection, cookie: str, address: Address) -> None:
    times_ms = []
    for number in range(N_WARM_UP + N_REQUESTS):
        started = time.perf_counter()
        _get(connection, cookie, address.path)
        if number >= N_WARM_UP:
            times_ms.append((time.perf_counter() - started) * 1000)
    p95 = sorted(times_ms)[int(len(times_ms) * 0.95)]
    report(
        figure=f"p95 of {address.name}",
        value=p95,
        unit="ms",
        target=f"<= {address.limit_ms:.0f}",
        met=p95 <= address.limit_ms,
    )


def _report_queries(user: Any, address: Address, n_few: int) -> None:
    n_many = _count_queries(user, address)
    report(
        figure=f"queries of {address.name}",
        value=n_many,
        unit="queries",
        target=f"= {n_few}, as with few rows",
        met=n_many == n_few,
    )


def _get(connection: http.client.HTTPConnection, cookie: str, path: str) -> bytes:
    connection.request("GET", path, headers={"Cookie": cookie})
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{path} answered {answer.status}: {body[:300]!r}")
    return body


def _list_addresses() -> list[Address]:
    from django.urls import reverse

    from generations.models import Run
    from prompts.models import Prompt

    run = Run.objects.order_by("pk").first()
    prompt = Prompt.objects.order_by("pk").first()
    grid = Run.objects.filter(name=GRID_NAME).first()
    assert run is not None
    assert grid is not None
    assert prompt is not None
    grid_page = reverse("admin:generations_run_change", args=[grid.pk])
    generations = reverse("admin:generations_generation_changelist")
    return [
        Address("the landing page", reverse("admin:index")),
        Address("its work in progress", reverse("admin:overview")),
        Address("the list of generations", generations),
        Address("the list of completed generations", f"{generations}?status__exact=completed"),
        Address("the list of runs", reverse("admin:generations_run_changelist")),
        Address("the page of a run", reverse("admin:generations_run_change", args=[run.pk])),
        Address("the grid of a run over many cases", grid_page),
        Address("the grid of a slice", f"{grid_page}?tag=half"),
        Address("the news of a run", reverse("admin:generations_run_progress", args=[grid.pk])),
        Address("the list of prompts", reverse("admin:prompts_prompt_changelist")),
        Address("the page of a prompt", reverse("admin:prompts_prompt_change", args=[prompt.pk])),
        Address("the list of versions", reverse("admin:prompts_promptversion_changelist")),
        Address("the analytics page", f"{reverse('admin:analytics')}?prompt={prompt.pk}"),
        Address("the page of the task queue", reverse("admin:queue-status")),
        Address("API generations/", "/api/v1/generations/"),
        Address("API generations/?unrated=true", "/api/v1/generations/?unrated=true"),
        Address("API ratings/", "/api/v1/ratings/"),
        Address("API runs/", "/api/v1/runs/"),
        Address("API runs/…/progress/", f"/api/v1/runs/{grid.pk}/progress/"),
        Address("API runs/…/grid/ of a slice", f"/api/v1/runs/{grid.pk}/grid/?tag=half"),
        Address("API analytics/prompt-performance/", "/api/v1/analytics/prompt-performance/"),
        Address("API the same by mean", "/api/v1/analytics/prompt-performance/?ordering=-mean"),
        Address("API analytics/ratings/", "/api/v1/analytics/ratings/"),
        Address("API analytics/ratings/ of a prompt", f"/api/v1/analytics/ratings/?prompt={prompt.pk}"),
    ]


def _find_deep_page(connection: http.client.HTTPConnection, cookie: str) -> Address:
    path = "/api/v1/generations/?page_size=100"
    for _ in range(N_HOPS):
        parts = urlsplit(json.loads(_get(connection, cookie, path))["next"])
        path = f"{parts.path}?{parts.query}"
    return Address(
        f"API generations/ {N_HOPS * 100:,} rows deep", path.replace("page_size=100", "page_size=20")
    )


def _count_queries(user: Any, address: Address) -> int:
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(user)
    # What is loaded once for each process is no part of the page.
    client.get(address.path)
    with CaptureQueriesContext(connection) as queries:
        answer = client.get(address.path)
    if answer.status_code != 200:
        raise RuntimeError(f"{address.path} answered {answer.status_code}")
    return len(queries)


def _sign_in() -> tuple[Any, str]:
    """Make an admin with a session as the sign-in page makes it."""
    from django.conf import settings
    from django.test import Client

    from tests.accounts.factories import UserFactory

    user = UserFactory(role="admin")
    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(user)
    return user, f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"


def _load_few() -> None:
    """Make one row of everything that the pages list."""
    from generations.services.consensus import set_consensus
    from tests.evaluations.factories import QueueItemFactory, RatingFactory
    from tests.generations.factories import GenerationFactory, RunFactory
    from tests.prompts.factories import LabelFactory, PromptFactory, PromptVersionFactory

    prompt = PromptFactory()
    versions = [PromptVersionFactory(prompt=prompt, number=number) for number in (1, 2)]
    LabelFactory(prompt=prompt, version=versions[0])
    run = RunFactory()
    run.prompt_versions.set(versions)
    for version in versions:
        generation = GenerationFactory(completed=True, prompt_version=version, run=run)
        output = generation.outputs.get()
        RatingFactory(output_image=output, level=4)
        set_consensus(output_image_id=output.pk, output_rating=Decimal(4), generation_rating=Decimal(4))
        GenerationFactory(completed=True, prompt_version=version, run=run)
        QueueItemFactory(output_image=output)
    GenerationFactory(failed=True, prompt_version=versions[0], run=run)
    GenerationFactory(prompt_version=versions[0], run=run)
    _load_grid(2, queued=1)
    _tally()


def _load_many() -> None:
    """Make the rest in bulk: prompts, versions, a run for each prompt, generations, outputs and ratings."""
    from django.db import connection

    from evaluations.models import Rating
    from generations.models import Generation, OutputImage

    template = Rating.objects.select_related("output_image__generation").order_by("pk")[0]
    assert template.output_image is not None
    pairs = _list_pairs()
    numbers = itertools.count()
    for size in _split(N_OUTPUTS):
        generations: list[Any] = []
        outputs: list[Any] = []
        ratings: list[Any] = []
        for number in itertools.islice(numbers, size):
            version, run = pairs[number % len(pairs)]
            is_rated = number >= N_UNRATED
            level = 1 + (number * 7 + version.number) % 5
            value = level if is_rated else None
            generation = copy_row(
                template.output_image.generation,
                prompt_version=version,
                run=run,
                case_key=f"bench-{number}",
                result_rating=value,
            )
            output = copy_row(template.output_image, generation=generation, rating=value)
            generations.append(generation)
            outputs.append(output)
            ratings += _rate(template, output, version, number, level) if is_rated else []
        Generation.objects.bulk_create(generations)
        OutputImage.objects.bulk_create(outputs)
        Rating.objects.bulk_create(ratings)
    _load_failed_and_queued(pairs)
    _load_grid(N_CASES)
    _load_queue()
    _tally()
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


def _load_grid(n_cases: int, *, queued: int = 0) -> None:
    """Bring the run over a dataset to so many cases of two versions, every other one tagged `half`."""
    from generations.models import Generation, OutputImage, Run
    from tests.generations.factories import DatasetVersionFactory, RunFactory
    from tests.prompts.factories import PromptFactory, PromptVersionFactory

    run = Run.objects.filter(name=GRID_NAME).first()
    if run is None:
        prompt = PromptFactory()
        versions = [PromptVersionFactory(prompt=prompt, number=number) for number in (1, 2)]
        run = RunFactory(name=GRID_NAME, dataset_version=DatasetVersionFactory(), prompt_versions=versions)
    output = OutputImage.objects.select_related("generation").order_by("pk")[0]
    items, generations, outputs = _make_cases(run, n_cases, output)
    type(items[0]).objects.bulk_create(items, batch_size=_BATCH)
    Generation.objects.bulk_create(generations, batch_size=_BATCH)
    OutputImage.objects.bulk_create(outputs, batch_size=_BATCH)
    for _ in range(queued):
        waiting = copy_row(Generation.objects.filter(status="queued")[0], run=run, case_key="waiting")
        waiting.save(force_insert=True)


def _make_cases(run: Any, n_cases: int, output: Any) -> tuple[list[Any], list[Any], list[Any]]:
    from generations.models import DatasetItem

    items, generations, outputs = [], [], []
    for position in range(run.dataset_version.items.count(), n_cases):
        tags = ["all", "half"] if position % 2 else ["all"]
        key = f"grid-{position}"
        item = DatasetItem(dataset_version=run.dataset_version, position=position, key=key, tags=tags)
        items.append(item)
        for version in run.prompt_versions.all():
            values = {"run": run, "prompt_version": version, "dataset_item": item, "case_key": key}
            generation = copy_row(output.generation, **values, result_rating=None)
            generations.append(generation)
            outputs.append(copy_row(output, generation=generation, rating=None))
    return items, generations, outputs


def _list_pairs() -> list[tuple[Any, Any]]:
    """Return each version with the run of its prompt."""
    from tests.generations.factories import RunFactory
    from tests.prompts.factories import LabelFactory, PromptFactory, PromptVersionFactory

    pairs = []
    for _ in range(N_PROMPTS):
        prompt, run = PromptFactory(), RunFactory()
        versions = [PromptVersionFactory(prompt=prompt, number=1 + each) for each in range(N_VERSIONS)]
        LabelFactory(prompt=prompt, version=versions[0])
        LabelFactory(prompt=prompt, version=versions[-1], name="candidate")
        run.prompt_versions.set(versions)
        pairs += [(version, run) for version in versions]
    return pairs


def _rate(template: Any, output: Any, version: Any, number: int, level: int) -> Iterator[Any]:
    """Yield an output's ratings: of one person, and for some of another besides."""
    n_raters = 2 if number < N_UNRATED + (N_RATINGS - (N_OUTPUTS - N_UNRATED)) else 1
    when = datetime.now(UTC) - timedelta(days=DAYS * (N_OUTPUTS - number) / N_OUTPUTS)
    for rater in _raters()[:n_raters]:
        yield copy_row(
            template,
            output_image=output,
            prompt_version=version,
            rater=rater,
            level=level,
            scale_level=_levels(template)[level],
            created_at=when,
        )


_CACHE: dict[str, Any] = {}


def _raters() -> list[Any]:
    from tests.accounts.factories import UserFactory

    if "raters" not in _CACHE:
        _CACHE["raters"] = [UserFactory(role="evaluator") for _ in range(2)]
    raters: list[Any] = _CACHE["raters"]
    return raters


def _levels(template: Any) -> Mapping[int, Any]:
    if "levels" not in _CACHE:
        _CACHE["levels"] = {each.level: each for each in template.scale.levels.all()}
    levels: Mapping[int, Any] = _CACHE["levels"]
    return levels


def _load_failed_and_queued(pairs: list[tuple[Any, Any]]) -> None:
    from generations.models import Generation

    for status, n in (("failed", N_FAILED), ("queued", N_QUEUED)):
        template = Generation.objects.filter(status=status)[0]
        chosen = (random.Random(number).choice(pairs) for number in range(n))
        Generation.objects.bulk_create(
            copy_row(template, prompt_version=version, run=run, case_key=f"{status}-{number}")
            for number, (version, run) in enumerate(chosen)
        )


def _load_queue() -> None:
    """Put every unrated output into the default queue."""
    from evaluations.models import QueueItem, ReviewQueue
    from generations.models import OutputImage

    queue = ReviewQueue.objects.get(is_default=True)
    unrated = OutputImage.objects.filter(rating__isnull=True, queue_items__isnull=True)
    items = (
        QueueItem(
            queue=queue, output_image_id=pk, shuffle_key=random.Random(str(pk)).randrange(2**31), n_open=1
        )
        for pk in unrated.values_list("pk", flat=True).iterator()
    )
    QueueItem.objects.bulk_create(items, batch_size=_BATCH)


def _tally() -> None:
    from evaluations.models import RatingTally
    from evaluations.selectors import get_recount

    columns = ("prompt_version_id", "criterion_id", "scale_id", "level", "is_blind", "rated_on")
    RatingTally.objects.all().delete()
    RatingTally.objects.bulk_create(
        RatingTally(**dict(zip(columns, key, strict=True)), n_ratings=n) for key, n in get_recount().items()
    )


def _split(n: int) -> Iterator[int]:
    for start in range(0, n, _BATCH):
        yield min(_BATCH, n - start)


if __name__ == "__main__":
    main()
