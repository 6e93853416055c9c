"""A model is tested by one real call, which shows what came back and is rated by nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from rest_framework.test import APIClient

from accounts.models import User
from evaluations.assignment.syncing import list_matching_outputs
from generations.choices import RunKind, Status
from generations.engine.drain import drain
from generations.models import Generation, Run
from generations.services.model_tests import start_model_test
from generations.services.planning import PriceUnknownError
from mayagen.common.errors import PermissionDeniedError
from prompts.models import ImageModel, Prompt, PromptVersion
from prompts.services import ImageModelUnavailableError
from tests.accounts.signing_in import sign_in
from tests.evaluations.factories import ReviewQueueFactory
from tests.generations.engine_cases import LIMITS, make_model
from tests.prompts.factories import ImageModelFactory, ProviderKeyFactory
from tests.providers.openai_server import OpenAIServer, running_server

pytestmark = pytest.mark.django_db

ApiAs = Callable[[User | None], APIClient]


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with running_server() as started:
        yield started


def drain_and_read(generation: Generation) -> Generation:
    drain(LIMITS)
    return Generation.objects.get(pk=generation.pk)


def test_one_call_is_made_with_the_stored_key_and_its_cost_and_picture_are_kept(
    admin: User, server: OpenAIServer, settings: Any
) -> None:
    model = make_model(server, settings)
    settings.PROVIDER_KEYS = {}
    ProviderKeyFactory(name="TEST", value=server.api_key)

    generation = drain_and_read(start_model_test(actor=admin, image_model=model, text="A {red} boat."))

    attempt = generation.attempts.get()
    assert (generation.status, generation.cost_usd) == (Status.COMPLETED, Decimal("0.04"))
    assert generation.rendered_prompt == "A {red} boat."
    assert generation.outputs.count() == 1
    assert attempt.provider_request_id
    assert generation.run is not None
    assert generation.run.kind == RunKind.TEST


def test_a_missing_key_is_told_as_a_failure_of_the_test(
    admin: User, server: OpenAIServer, settings: Any
) -> None:
    model = make_model(server, settings, credential_name="ABSENT")

    generation = drain_and_read(start_model_test(actor=admin, image_model=model))

    assert (generation.status, generation.error_code) == (Status.FAILED, "configuration")
    page = sign_in(admin).get(reverse("admin:generations_run_test_model", args=[model.pk]))
    assert "Model not set up" in page.content.decode()
    assert "MAYAGEN_PROVIDER_KEY_ABSENT" in page.content.decode()


def test_tests_of_one_model_share_a_version_for_each_set_of_parameters(admin: User) -> None:
    model = ImageModelFactory()

    for parameters in ({}, {}, {"detail": 9}):
        start_model_test(actor=admin, image_model=model, parameters=parameters)

    assert Prompt.objects.get().slug == "model-tests"
    assert sorted(version.parameters["detail"] for version in PromptVersion.objects.all()) == [4, 9]
    assert Run.objects.filter(kind=RunKind.TEST).count() == 3


@pytest.mark.parametrize(("kind", "n_inputs"), [("text_to_image", 0), ("image_edit", 1), ("inpainting", 2)])
def test_models_that_edit_get_a_sample_to_edit(admin: User, kind: str, n_inputs: int) -> None:
    generation = start_model_test(actor=admin, image_model=ImageModelFactory(kind=kind))

    assert generation.inputs.count() == n_inputs


def test_the_outputs_of_tests_are_in_no_queue_that_does_not_name_their_run(admin: User) -> None:
    model = ImageModelFactory(parameters_schema={}, default_parameters={})
    generation = drain_and_read(start_model_test(actor=admin, image_model=model))
    queue = ReviewQueueFactory()
    assert generation.status == Status.COMPLETED
    assert not list_matching_outputs(queue).exists()

    queue.runs.add(generation.run)

    assert list_matching_outputs(queue).count() == 1


def test_a_refused_test_leaves_nothing_behind(admin: User, viewer: User) -> None:
    unpriced = ImageModelFactory(is_free=False, price_usd=None)
    off = ImageModelFactory(is_active=False)

    for model, refusal in ((unpriced, PriceUnknownError), (off, ImageModelUnavailableError)):
        with pytest.raises(refusal):
            start_model_test(actor=admin, image_model=model)
    with pytest.raises(PermissionDeniedError):
        start_model_test(actor=viewer, image_model=ImageModelFactory())

    assert (Prompt.objects.count(), Run.objects.count()) == (0, 0)


def test_the_api_queues_one_test_for_each_key(api_as: ApiAs, admin: User) -> None:
    model = ImageModelFactory()
    client, address = api_as(admin), f"/api/v1/image-models/{model.pk}/test/"

    made = client.post(address, {}, format="json", headers={"Idempotency-Key": "one"})
    again = client.post(address, {}, format="json", headers={"Idempotency-Key": "one"})
    wrong = client.post(address, {"parameters": {"detail": 99}}, format="json")

    assert (made.status_code, again.status_code, wrong.status_code) == (202, 202, 400)
    assert made.json()["id"] == again.json()["id"]
    assert "parameters.detail" in wrong.json()["fields"]
    assert Generation.objects.count() == 1
    assert client.get(f"/api/v1/generations/{made.json()['id']}/").json()["status"] == "queued"
    assert [run["kind"] for run in client.get("/api/v1/runs/?kind=test").json()["results"]] == ["test"]
    assert client.get("/api/v1/runs/?kind=launched").json()["results"] == []


def test_viewers_and_evaluators_test_nothing(api_as: ApiAs, viewer: User, evaluator: User) -> None:
    model = ImageModelFactory()
    address = f"/api/v1/image-models/{model.pk}/test/"

    assert api_as(viewer).post(address, {}, format="json").status_code == 403
    assert api_as(evaluator).post(address, {}, format="json").status_code == 404
    page = reverse("admin:generations_run_test_model", args=[model.pk])
    assert sign_in(viewer).get(page).status_code == 403
    assert b"Test this model" not in sign_in(viewer).get(_change_page(model)).content


def test_from_the_models_page_one_comes_to_the_picture(admin: User) -> None:
    model, client = ImageModelFactory(), sign_in(admin)
    address = reverse("admin:generations_run_test_model", args=[model.pk])
    assert address in client.get(_change_page(model)).content.decode()

    refused = client.post(address, {"text": "A boat.", "parameters": '{"detail": 99}'})
    queued = client.post(address, {"text": "A boat.", "parameters": "{}"}, follow=True)

    generation = Generation.objects.get()
    assert "detail:" in refused.content.decode() or "99" in refused.content.decode()
    assert queued.redirect_chain[-1][0] == reverse(
        "admin:generations_generation_change", args=[generation.pk]
    )
    assert generation.priority == 1


def test_tests_are_left_out_of_the_list_of_runs_unless_asked_for(admin: User) -> None:
    start_model_test(actor=admin, image_model=ImageModelFactory(name="Odd model"))
    client, address = sign_in(admin), reverse("admin:generations_run_changelist")

    assert b"Test of Odd model" not in client.get(address).content
    assert b"Test of Odd model" in client.get(f"{address}?kind=test").content


def test_the_pages_take_the_same_number_of_queries_for_one_test_and_many(admin: User) -> None:
    model, client = ImageModelFactory(credential_name="OPENAI"), sign_in(admin)
    addresses = [reverse("admin:generations_run_test_model", args=[model.pk]), _change_page(model)]

    def count_queries() -> list[int]:
        counts = []
        for address in addresses:
            with CaptureQueriesContext(connection) as captured:
                assert client.get(address).status_code == 200
            counts.append(len(captured))
        return counts

    start_model_test(actor=admin, image_model=model)
    count_queries()
    for_one = count_queries()
    for _ in range(5):
        start_model_test(actor=admin, image_model=model)

    assert count_queries() == for_one


def _change_page(model: ImageModel) -> str:
    return reverse("admin:prompts_imagemodel_change", args=[model.pk])
