"""Start MayaGen: prepare the data folder and the database, then keep web server and task queue alive."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connections

from mayagen.cluster_watch import ClusterWatch
from mayagen.static_files import collect_changed_static_files
from mayagen.supervisor import STOP_GRACE_S, Service, Supervisor

MANAGE_PY = settings.BASE_DIR / "manage.py"
DEMO_ACCOUNTS = settings.ENV.data_dir / "demo-accounts.json"
HEALTH_TIMEOUT_S = 0.5


class Command(BaseCommand):
    """`manage.py serve`: what `make run` and the containers start."""

    help = "Start the web server and the task queue, keep them alive, and stop both on Ctrl-C or SIGTERM."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--only",
            choices=("preparation", "web", "queue"),
            help="Do one part alone; web and queue need a data folder and a database that are prepared.",
        )
        parser.add_argument("--demo", action="store_true", help="Fill an empty database with the demo.")
        parser.add_argument(
            "--stop-with-parent", action="store_true", help="Also stop when the starting process ends."
        )

    def handle(self, *_args: object, **options: Any) -> None:
        # What is kept in the data folder is nobody else's on this machine.
        os.umask(0o077)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler)
        try:
            self._serve(**options)
        except KeyboardInterrupt:
            self.stdout.write("Stopped before the start; the next one goes on from here.")

    def _serve(self, *, only: str | None, demo: bool, stop_with_parent: bool, **_options: Any) -> None:
        listener = _listen(settings.ENV.bind, settings.ENV.port) if only in {None, "web"} else None
        services = [] if listener is None else [_describe_web_server(listener)]
        if only in {None, "queue"}:
            services.append(_describe_task_queue())
        supervisor = Supervisor(services, grace_s=STOP_GRACE_S, stop_with_parent=stop_with_parent)
        if only is None:
            _prepare_apart(demo=demo)
        elif only == "preparation":
            self._prepare(demo=demo)
        if services:
            supervisor.run(on_tick=None if listener is None else _Announcement(self, demo=demo).check)
            self.stdout.write("MayaGen has stopped.")

    def _prepare(self, *, demo: bool) -> None:
        if demo and settings.ENV.production:
            raise CommandError("The demo's accounts have known roles and rights: not in production.")
        self.stdout.write("Preparing the database.")
        self.stdout.flush()
        try:
            connections["default"].ensure_connection()
        except OperationalError as error:
            raise CommandError(f"Cannot reach the database, see DATABASE_URL: {error}") from error
        call_command("migrate", interactive=False, verbosity=0)
        call_command("createcachetable", verbosity=0)
        if collect_changed_static_files():
            self.stdout.write("Scripts and styles collected.")
        if demo and not get_user_model().objects.exists():
            self.stdout.write("Filling the empty database with the demo.")
            call_command("seed_demo")


class _Announcement:
    """Says once, as soon as the web server answers, where it is and who can sign in."""

    def __init__(self, command: BaseCommand, *, demo: bool) -> None:
        self._command = command
        self._demo = demo
        self._is_made = False

    def check(self) -> None:
        if self._is_made or not _answers(settings.ENV.port):
            return
        self._is_made = True
        write = self._command.stdout.write
        write(f"\nMayaGen runs at http://{_get_visible_host()}:{settings.ENV.port}/  (Ctrl-C stops it)")
        if self._demo and DEMO_ACCOUNTS.exists():
            write("Sign in as one of:")
            for account in json.loads(DEMO_ACCOUNTS.read_text(encoding="utf-8")):
                write(f"  {account['role']:<10} {account['email']:<28} {account['password']}")
        self._command.stdout.flush()


def _prepare_apart(*, demo: bool) -> None:
    """Prepare in a process of its own, so that this one, which stays, never loads what it does not need."""
    command = [
        sys.executable,
        str(MANAGE_PY),
        "serve",
        "--only",
        "preparation",
        *(["--demo"] if demo else []),
    ]
    status = subprocess.run(command, check=False).returncode  # noqa: S603 - a command of our own
    if status != 0:
        raise SystemExit(status)


def _listen(address: str, port: int) -> socket.socket:
    """Return the listening socket, which the web server inherits.

    So a taken port is found before anything is changed, and a web server that starts again loses no visitor.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
    except OSError as error:
        listener.close()
        raise CommandError(
            f"Cannot listen on {address} port {port}: {error.strerror}. "
            f"Choose another port, for example: PORT={port + 1 if port < 65535 else 8000} make run"  # noqa: PLR2004
        ) from error
    listener.listen(512)
    return listener


def _describe_web_server(listener: socket.socket) -> Service:
    return Service(
        name="The web server",
        command=(
            *(sys.executable, "-m", "gunicorn", "--config", "python:mayagen.gunicorn"),
            *("--bind", f"fd://{listener.fileno()}", "mayagen.wsgi:application"),
        ),
        inherited_descriptors=(listener.fileno(),),
    )


def _describe_task_queue() -> Service:
    return Service(
        name="The task queue",
        # The checks were made before the start; without them the cluster never imports what only web serves.
        command=(sys.executable, str(MANAGE_PY), "qcluster", "--skip-checks"),
        # A heap for each thread would keep the pictures' memory several times over (glibc's mallopt(3)).
        environment={**os.environ, "MALLOC_ARENA_MAX": "1"},
        find_fault=ClusterWatch().find_fault,
    )


def _get_visible_host() -> str:
    address = settings.ENV.bind
    if address in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        return "localhost"
    return f"[{address}]" if ":" in address else address


def _answers(port: int) -> bool:
    """Whether the web server answers anything at all, an error included."""
    host = _get_visible_host().strip("[]")
    connection = http.client.HTTPConnection(host, port, timeout=HEALTH_TIMEOUT_S)
    try:
        connection.request("GET", "/healthz")
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True
