"""The engine's work as a plain Celery project does it: one task a generation, which blocks until it is done.

`engine_vs_celery` runs it with a worker, in a virtual environment that has Celery but neither Django nor the
product's packages. The pictures are checked and copied by the product's own code, so that both sides do the
same work on them.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from functools import cache
from pathlib import Path
from typing import Final

import psycopg
import requests
from celery import Celery

from generations.media.derivatives import make_derivatives
from generations.media.validation import DecodedImage, decode_image

# How often the provider's own client asks by default.
POLL_SECONDS: Final = 0.1
INSERT: Final = """
INSERT INTO output (id, job_id, width_px, height_px, size_bytes, mime_type, sha256, file, thumbnail,
    small_thumbnail, blind, duration_ms) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""

app = Celery("generations", broker=os.environ["CELERY_BROKER_URL"])
app.conf.update(
    task_ignore_result=True,
    # A task whose worker dies is given to another one, as it must be where results matter.
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
)


@app.task(name="generate")
def generate(number: int) -> None:
    """Order one image, wait for it, check, store and copy it, and write its row."""
    began = time.monotonic()
    job_id, content = _obtain({"prompt": f"Subject {number}", "seed": number, "num_images": 1})
    decoded = decode_image(content)
    names = _store(decoded)
    facts = (decoded.width_px, decoded.height_px, decoded.size_bytes, decoded.mime_type, decoded.sha256)
    duration_ms = int((time.monotonic() - began) * 1000)
    with _database().transaction():
        _database().execute(INSERT, [uuid.uuid4(), job_id, *facts, *names, duration_ms])


def _obtain(arguments: dict[str, str | int]) -> tuple[str, bytes]:
    """Return the job's id and the bytes of its picture."""
    session = _session()
    job = session.post(os.environ["BENCH_PROVIDER_URL"] + "/benchmark/model", json=arguments, timeout=60)
    job.raise_for_status()
    addresses = job.json()
    while True:
        status = session.get(addresses["status_url"], timeout=60)
        status.raise_for_status()
        if status.json()["status"] == "COMPLETED":
            break
        time.sleep(POLL_SECONDS)
    result = session.get(addresses["response_url"], timeout=60)
    result.raise_for_status()
    picture = session.get(result.json()["images"][0]["url"], timeout=60)
    picture.raise_for_status()
    return addresses["request_id"], picture.content


def _store(decoded: DecodedImage) -> list[str]:
    """Write the picture, its thumbnails and its blind copy to disk, and return their names."""
    copies = make_derivatives(decoded.image)
    return [
        _write("outputs", "png", decoded.content),
        _write("thumbnails", "webp", copies.thumbnail_webp),
        _write("thumbnails", "webp", copies.small_thumbnail_webp),
        _write("blind", "jpg", copies.blind_jpeg),
    ]


def _write(folder: str, extension: str, content: bytes) -> str:
    """Write a file so that it survives a power cut, as the product's own storage does."""
    name = uuid.uuid4().hex
    path = Path(os.environ["MAYAGEN_DATA_DIR"]) / folder / name[:2] / f"{name}.{extension}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return str(path)


@cache
def _session() -> requests.Session:
    """Return the connections of this process."""
    session = requests.Session()
    session.trust_env = False
    session.headers["Authorization"] = f"Key {os.environ['BENCH_PROVIDER_KEY']}"
    return session


@cache
def _database() -> psycopg.Connection[tuple[object, ...]]:
    """Return the database connection of this process."""
    return psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)


def publish(n_generations: int) -> float:
    """Queue the tasks, and return when the first one was, by the clock that all processes share."""
    began = time.monotonic()
    for number in range(n_generations):
        generate.delay(number)
    return began


if __name__ == "__main__":
    sys.stdout.write(f"{publish(int(sys.argv[1]))}\n")
