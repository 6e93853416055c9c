"""A PostgreSQL, a Redis and a media disk of one's own, in a temporary folder on free ports."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg

from tests.benchmarks.support import find_free_port, wait_until

DISK_MB: Final = 192


class MissingProgramError(Exception):
    """A program that the fault runs need is not installed."""


def as_postgres(*command: str) -> list[str]:
    """Return the command as PostgreSQL's own user runs it: it refuses to be run by root."""
    return ["runuser", "-u", "postgres", "--", *command] if os.getuid() == 0 else list(command)


def find_postgres_folder() -> Path:
    """Return the folder of the newest PostgreSQL's programs.

    Raises:
        MissingProgramError: There is none.
    """
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name))
    if folders:
        return folders[-1]
    if found := shutil.which("initdb"):
        return Path(found).parent
    raise MissingProgramError("PostgreSQL's server is not installed.")


class Postgres:
    """One PostgreSQL cluster."""

    def __init__(self, folder: Path) -> None:
        self._programs = find_postgres_folder()
        self._folder = folder
        self.port = find_free_port()

    @property
    def url(self) -> str:
        """The address of its database, not by any proxy."""
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Make the cluster and start it."""
        self._folder.mkdir()
        self._folder.chmod(0o755)
        if os.getuid() == 0:
            shutil.chown(self._folder, "postgres")
        initdb = str(self._programs / "initdb")
        options = ("--username", "postgres", "--auth", "trust", "--encoding", "UTF8", "--no-sync")
        self._run(initdb, "--pgdata", f"{self._folder}/data", *options)
        self._control("start")

    def restart(self) -> None:
        """End it at once, as a crash does, and start it again."""
        self._control("restart", "--mode", "immediate")

    def stop(self) -> None:
        """End it."""
        with suppress(subprocess.CalledProcessError):
            self._control("stop", "--mode", "immediate")

    def _control(self, verb: str, *arguments: str) -> None:
        options = f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1 -c max_connections=200"
        command = [str(self._programs / "pg_ctl"), "--pgdata", f"{self._folder}/data", "--wait"]
        command += ["--log", f"{self._folder}/log", *arguments]
        self._run(*command, *(["--options", options] if verb != "stop" else []), verb)

    def _run(self, *command: str) -> None:
        subprocess.run(as_postgres(*command), check=True, cwd="/", stdout=subprocess.DEVNULL)


class Redis:
    """One Redis that writes nothing to disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.port = find_free_port()

    @property
    def url(self) -> str:
        """Its address."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it.

        Raises:
            MissingProgramError: It is not installed.
        """
        program = shutil.which("redis-server")
        if program is None:
            raise MissingProgramError("Redis's server is not installed.")
        self._folder.mkdir()
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [program, *options, "--dir", str(self._folder)], stdout=log, stderr=log
            )
        wait_until(self._answers, seconds=10, what="the start of Redis")

    def flush(self) -> None:
        """Forget everything."""
        from redis import Redis as Client

        with Client.from_url(self.url) as client:
            client.flushall()

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def _answers(self) -> bool:
        from redis import Redis as Client
        from redis.exceptions import RedisError

        try:
            with Client.from_url(self.url) as client:
                return bool(client.ping())
        except RedisError:
            return False


class MediaDisk:
    """Where an installation keeps its media: a small disk of its own where the system lets us make one.

    The installation's media folder is a link to it, which can be led to where nothing can be written.
    """

    def __init__(self, folder: Path, *, link: Path) -> None:
        self._folder = folder
        self._link = link
        self.is_mounted = False

    def start(self) -> None:
        """Make it."""
        self._folder.mkdir()
        if os.getuid() == 0:
            options = ["-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=0755", "mayagen-faults"]
            done = subprocess.run(["mount", *options, str(self._folder)], check=False, capture_output=True)
            self.is_mounted = done.returncode == 0
        self.media.mkdir()
        self._lead_to(self.media)

    @property
    def media(self) -> Path:
        """The media folder itself."""
        return self._folder / "media"

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Let whatever touches the media fail for as long as this lasts."""
        nothing = self._folder / "nothing"
        nothing.touch()
        self._lead_to(nothing)
        try:
            yield
        finally:
            self._lead_to(self.media)

    @contextmanager
    def full(self) -> Iterator[None]:
        """Leave no room for as long as this lasts; only of a disk of its own."""
        filling = self._folder / "filling"
        try:
            with suppress(OSError), filling.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(65_536))
            with suppress(OSError), filling.open("ab", buffering=0) as file:
                while True:
                    file.write(b"0")
            yield
        finally:
            filling.unlink(missing_ok=True)

    def stop(self) -> None:
        """Let the disk go."""
        if self.is_mounted:
            subprocess.run(["umount", "--lazy", str(self._folder)], check=False)

    def _lead_to(self, target: Path) -> None:
        draft = self._link.with_name("media-next")
        draft.symlink_to(target)
        draft.replace(self._link)


@dataclass(frozen=True)
class Machine:
    """All of it, running."""

    folder: Path
    data_dir: Path
    postgres: Postgres
    redis: Redis
    disk: MediaDisk


@contextmanager
def own_machine(*, keep: Callable[[], bool]) -> Iterator[Machine]:
    """Start all of it in a temporary folder, and end it.

    Args:
        keep: Asked at the end whether the folder, with its logs, is still wanted.
    """
    folder = Path(tempfile.mkdtemp(prefix="mayagen-faults-"))
    folder.chmod(0o755)
    data_dir = folder / "data"
    data_dir.mkdir(mode=0o700)
    postgres, redis = Postgres(folder / "postgres"), Redis(folder / "redis")
    disk = MediaDisk(folder / "disk", link=data_dir / "media")
    try:
        for part in (postgres, redis, disk):
            part.start()
        yield Machine(folder, data_dir, postgres, redis, disk)
    finally:
        redis.stop()
        postgres.stop()
        disk.stop()
        if not keep():
            shutil.rmtree(folder, ignore_errors=True)


def wait_for_postgres(url: str, *, seconds: float = 30.0) -> None:
    """Return once the server answers."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with psycopg.connect(url, connect_timeout=3):
                return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
