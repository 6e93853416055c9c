"""How fast one worker process takes in pictures, beside a bare loop that does nothing but the work on them.

A provider that takes no time sends PNG files of 1024 × 1024 pixels. The engine fetches, checks, hashes and
stores each, writes its rows, and makes its thumbnails and its blind copy. The loop, in a process of its own,
checks and hashes the same bytes and makes the same copies with the same functions, and keeps nothing. More
threads would not help it: Pillow lets no other thread run while it decodes PNG or encodes WebP.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Final

from PIL import Image, ImageChops

from generations.media.derivatives import make_derivatives
from generations.media.validation import decode_image
from tests.benchmarks.engine_load import Load, Outcome, measure
from tests.benchmarks.support import report

SIDE_PX: Final = 1024
GRAIN: Final = 6
N_GENERATIONS: Final = 500
N_IN_FLIGHT: Final = 50
MIN_SHARE: Final = 0.6
LOOP_SECONDS: Final = 10.0


def main() -> None:
    """Run the benchmark and print its figures."""
    if sys.argv[1:2] == ["loop"]:
        sys.stdout.write(str(_loop(Path(sys.argv[2]).read_bytes())))
        return
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        path = Path(file.name)
        path.write_bytes(make_photograph())
        before = _measure_loop(path)
        outcome = measure(_load(path))
        loop = (before + _measure_loop(path)) / 2
    _report(outcome, loop_rate=loop)


def _load(picture: Path) -> Load:
    return Load(
        server="openai",
        n_generations=N_GENERATIONS,
        n_in_flight=N_IN_FLIGHT,
        call_seconds=0,
        server_arguments=("--picture", str(picture), "--reply-with", "url"),
    )


def _report(outcome: Outcome, *, loop_rate: float) -> None:
    rate = outcome.n_completed / outcome.until_copies_seconds
    share = rate / loop_rate
    is_complete = outcome.n_completed == N_GENERATIONS
    report(figure="rate of the bare loop", value=loop_rate, unit="images/s", target="none", met=True)
    report(
        figure=f"rate of one worker process, {N_GENERATIONS} outputs stored with their copies",
        value=rate,
        unit="images/s",
        target="none",
        met=is_complete,
    )
    report(
        figure="the worker's rate by the loop's",
        value=share,
        unit="",
        target=f">= {MIN_SHARE}",
        met=share >= MIN_SHARE and is_complete,
    )
    report(
        figure="PSS of the cluster at its peak",
        value=outcome.peak_pss_mb,
        unit="MB",
        target="none",
        met=True,
    )


def _measure_loop(picture: Path) -> float:
    command = [sys.executable, "-m", "tests.benchmarks.media", "loop", str(picture)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _loop(content: bytes) -> float:
    """Return how many pictures a second are checked, hashed and copied."""
    n_images = 0
    started = time.monotonic()
    while time.monotonic() - started < LOOP_SECONDS:
        make_derivatives(decode_image(content).image)
        n_images += 1
    return n_images / (time.monotonic() - started)


def make_photograph(side_px: int = SIDE_PX, *, seed: int = 1) -> bytes:
    """Return a PNG whose detail at every scale, and whose size of 2 MB, are like a photograph's."""
    random = Random(seed)
    planes = []
    for _ in range(3):
        plane = Image.new("L", (side_px, side_px), 128)
        for n_cells, weight in ((4, 0.5), (16, 0.33), (64, 0.2), (256, 0.1)):
            cells = Image.frombytes("L", (n_cells, n_cells), random.randbytes(n_cells * n_cells))
            plane = Image.blend(plane, cells.resize(plane.size, Image.Resampling.BICUBIC), weight)
        grain = Image.effect_noise(plane.size, GRAIN)
        planes.append(ImageChops.add(plane, grain, 1, -128))
    content = io.BytesIO()
    Image.merge("RGB", planes).save(content, "PNG")
    return content.getvalue()


if __name__ == "__main__":
    main()
