"""The protocol server is believed only because Replicate's own client is content with it."""

from __future__ import annotations

import io
import json
import queue
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from replicate.client import Client
from replicate.exceptions import ModelError, ReplicateError
from replicate.webhook import InvalidSignatureError, InvalidTimestampError, Webhooks
from standardwebhooks import Webhook, WebhookVerificationError

from tests.providers.replicate_server import API_KEY, SECRET, VERSION, ReplicateServer, running_server

MODEL = "acme/painter"
Received = tuple[dict[str, str], bytes]


@pytest.fixture
def server() -> Iterator[ReplicateServer]:
    with running_server() as server:
        yield server


@pytest.fixture
def client(server: ReplicateServer, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setenv("REPLICATE_POLL_INTERVAL", "0.02")
    return Client(api_token=API_KEY, base_url=server.url)


@contextmanager
def listener() -> Iterator[tuple[str, queue.Queue[Received]]]:
    """An address that takes webhooks, and what has come there."""
    received: queue.Queue[Received] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.put(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    http_server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http_server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{http_server.server_address[1]}/webhook?attempt=one", received
    finally:
        http_server.shutdown()
        http_server.server_close()


def read(address: str) -> bytes:
    with urllib.request.urlopen(address) as reply:  # noqa: S310
        content: bytes = reply.read()
    return content


@pytest.mark.parametrize("reference", [MODEL, f"{MODEL}:{VERSION}"])
def test_the_official_client_runs_a_model_and_reads_its_pictures(
    server: ReplicateServer, client: Client, reference: str
) -> None:
    output = client.run(reference, input={"prompt": "a cat", "num_outputs": 2})

    assert [read(str(address)) for address in output] == [server.picture] * 2
    assert server.requests[0].headers["Prefer"] == "wait"


def test_the_official_client_waits_for_what_takes_longer_than_the_order(
    server: ReplicateServer, client: Client
) -> None:
    server.behaviour.delay_seconds = 1.3

    output = client.run(MODEL, input={"prompt": "a cat"}, wait=1)

    assert len(list(output)) == 1
    assert server.requests[0].headers["Prefer"] == "wait=1"
    assert server.requests[-1].kind == "get"


def test_the_official_client_creates_in_the_three_ways_asks_and_lists(
    server: ReplicateServer, client: Client
) -> None:
    server.behaviour.delay_seconds = 0.2
    predictions = [
        client.predictions.create(version=VERSION, input={"prompt": "one"}),
        client.models.predictions.create(model=MODEL, input={"prompt": "two"}),
        client.deployments.predictions.create(deployment="acme/app", input={"prompt": "three"}),
    ]

    assert [prediction.status for prediction in predictions] == ["starting"] * 3
    for prediction in predictions:
        prediction.wait()
    assert [prediction.status for prediction in predictions] == ["succeeded"] * 3
    assert predictions[0].metrics is not None
    assert predictions[0].metrics["predict_time"] > 0
    assert client.predictions.get(predictions[1].id).model == MODEL
    assert {prediction.id for prediction in client.predictions.list()} == {each.id for each in predictions}
    assert [request.path for request in server.requests[:3]] == [
        "/v1/predictions",
        f"/v1/models/{MODEL}/predictions",
        "/v1/deployments/acme/app/predictions",
    ]


def test_the_official_client_turns_the_pages_of_a_long_list(server: ReplicateServer, client: Client) -> None:
    for number in range(130):
        client.predictions.create(version=VERSION, input={"prompt": f"cat {number}"})

    first = client.predictions.list()
    assert first.next is not None
    second = client.predictions.list(first.next)

    assert (len(first), len(second), second.next) == (100, 30, None)
    assert first[0].input == {"prompt": "cat 129"}


def test_the_official_client_cancels_and_only_what_had_begun_is_charged(
    server: ReplicateServer, client: Client
) -> None:
    server.behaviour.delay_seconds = 30
    prediction = client.predictions.create(version=VERSION, input={"prompt": "a cat"})

    prediction.cancel()

    assert prediction.status == "canceled"
    assert client.predictions.cancel(prediction.id).status == "canceled"
    assert [entry.event for entry in server.ledger.list_entries()] == ["asked", "cancelled"]
    assert server.n_in_flight == 0


def test_the_official_client_uploads_files_or_writes_them_into_the_order(
    server: ReplicateServer, client: Client
) -> None:
    client.run(MODEL, input={"prompt": "a hat", "image": io.BytesIO(server.picture)})
    client.run(
        MODEL,
        input={"prompt": "a hat", "image": io.BytesIO(server.picture)},
        file_encoding_strategy="base64",
    )

    orders = [request.fields["input"]["image"] for request in server.requests if request.kind == "create"]
    assert orders[0].startswith(f"{server.url}/v1/files/")
    assert orders[1].startswith("data:")
    assert [content for _, content in server.files.values()] == [server.picture]


def test_the_official_client_understands_a_failed_prediction(server: ReplicateServer, client: Client) -> None:
    server.behaviour.outcome, server.behaviour.error = "failed", "NSFW content detected."

    with pytest.raises(ModelError) as caught:
        client.run(MODEL, input={"prompt": "a cat"})

    assert caught.value.prediction.error == "NSFW content detected."


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        ("rate_limit", 429, "throttled"),
        ("low_credit", 429, "resets in ~10s"),
        ("no_credit", 402, "insufficient credit"),
        ("invalid_input", 422, "input.width"),
        ("unknown_version", 422, "does not exist"),
        ("server_error", 500, "internal error"),
    ],
)
def test_the_official_client_understands_the_errors(
    server: ReplicateServer, client: Client, fault: str, status: int, words: str
) -> None:
    server.behaviour.fault = fault

    with pytest.raises(ReplicateError) as caught:
        client.predictions.create(version=VERSION, input={"prompt": "a cat"})

    assert caught.value.status == status
    assert words in (caught.value.detail or "")
    assert server.ledger.list_entries("charged") == []


def test_a_wrong_key_and_an_unsound_order_are_refused(server: ReplicateServer, client: Client) -> None:
    stranger = Client(api_token="wrong", base_url=server.url)
    cases: list[tuple[Client, str, dict[str, Any], int]] = [
        (stranger, MODEL, {"prompt": "a cat"}, 401),
        (client, MODEL, {}, 422),
        (client, MODEL, {"prompt": "a cat", "num_outputs": 9}, 422),
        (client, "nobody/nothing", {"prompt": "a cat"}, 404),
    ]
    for caller, model, given, status in cases:
        with pytest.raises(ReplicateError) as caught:
            caller.models.predictions.create(model=model, input=given)
        assert caught.value.status == status
    with pytest.raises(ReplicateError) as caught:
        client.predictions.get("unknown")
    assert caught.value.status == 404


@pytest.mark.parametrize("fault", ["dropped", "hang"])
def test_an_order_whose_answer_is_lost_was_taken_and_is_charged(
    server: ReplicateServer, client: Client, fault: str
) -> None:
    server.behaviour.fault, server.behaviour.first = fault, 1

    with pytest.raises(httpx.TransportError):
        # Without `wait` the client would never give up.
        client.predictions.create(version=VERSION, input={"prompt": "a cat"}, wait=1)

    (job,) = client.predictions.list()
    job.wait()
    assert [entry.event for entry in server.ledger.list_entries()] == ["asked", "charged"]


def test_the_official_client_and_the_schemes_own_library_verify_a_webhook(
    server: ReplicateServer, client: Client
) -> None:
    with listener() as (address, received):
        prediction = client.predictions.create(
            version=VERSION,
            input={"prompt": "a cat"},
            webhook=address,
            webhook_events_filter=["completed"],
        )
        headers, body = received.get(timeout=5)

    secret = client.webhooks.default.secret()
    assert secret.key == SECRET
    Webhooks.validate(headers=headers, body=body.decode(), secret=secret, tolerance=300)
    told = Webhook(SECRET).verify(body, headers)
    assert (told["id"], told["status"]) == (prediction.id, "succeeded")


@pytest.mark.parametrize(
    ("webhook", "error"), [("forged", InvalidSignatureError), ("old", InvalidTimestampError)]
)
def test_a_webhook_that_is_to_be_refused_is_refused_by_both(
    server: ReplicateServer, client: Client, webhook: str, error: type[Exception]
) -> None:
    server.behaviour.webhook = webhook
    with listener() as (address, received):
        client.predictions.create(version=VERSION, input={"prompt": "a cat"}, webhook=address)
        headers, body = received.get(timeout=5)

    with pytest.raises(error):
        Webhooks.validate(
            headers=headers, body=body.decode(), secret=client.webhooks.default.secret(), tolerance=300
        )
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body, headers)


def test_a_doubled_webhook_keeps_its_id_and_an_early_one_comes_before_the_answer(
    server: ReplicateServer, client: Client
) -> None:
    server.behaviour.webhook = "twice"
    with listener() as (address, received):
        client.predictions.create(version=VERSION, input={"prompt": "a cat"}, webhook=address)
        first, second = received.get(timeout=5), received.get(timeout=5)
        server.behaviour.webhook, server.behaviour.delay_seconds = "early", 30
        client.predictions.create(version=VERSION, input={"prompt": "a dog"}, webhook=address)
        early = received.get_nowait()

    assert first[0]["webhook-id"] == second[0]["webhook-id"]
    assert json.loads(early[1])["status"] == "starting"


def test_a_deadline_aborts_what_has_not_begun_and_cancels_what_runs(server: ReplicateServer) -> None:
    body = json.dumps({"version": VERSION, "input": {"prompt": "a cat"}}).encode()
    headers = {"Authorization": f"Bearer {API_KEY}", "Cancel-After": "1s"}
    ended = []
    for delay_seconds in (60, 4):
        server.behaviour.delay_seconds = delay_seconds
        reply = httpx.post(f"{server.url}/v1/predictions", content=body, headers=headers).json()
        while reply["status"] in {"starting", "processing"}:
            reply = httpx.get(reply["urls"]["get"], headers=headers).json()
        ended.append(reply["status"])

    assert ended == ["aborted", "canceled"]
    assert len(server.ledger.list_entries("charged")) == 1


def test_what_a_prediction_was_and_made_is_dropped_after_its_time(
    server: ReplicateServer, client: Client
) -> None:
    prediction = client.predictions.create(version=VERSION, input={"prompt": "a cat"}, wait=True)
    assert prediction.output is not None
    server.behaviour.expire_after_seconds = 0

    assert client.predictions.get(prediction.id).output is None
    assert httpx.get(prediction.output[0]).status_code == 404


def test_five_hundred_predictions_are_in_flight_at_once(server: ReplicateServer) -> None:
    server.behaviour.delay_seconds = 60
    body = {"version": VERSION, "input": {"prompt": "a cat"}}
    with httpx.Client(headers={"Authorization": f"Bearer {API_KEY}"}) as http:
        for _ in range(500):
            assert http.post(f"{server.url}/v1/predictions", json=body).status_code == 201
        counters = http.get(f"{server.url}/counters").json()

    assert counters["n_in_flight"] == counters["max_in_flight"] == 500
