"""Settings of the web server: `gunicorn --config python:mayagen.gunicorn mayagen.wsgi`."""

from __future__ import annotations

import gc
import logging
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import gunicorn.http.wsgi

from mayagen.env import read_environment
from mayagen.parent_watch import end_with_supervisor

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter
    from gunicorn.http.message import Request
    from gunicorn.workers.base import Worker

_environment = read_environment()

bind = f"{_environment.bind}:{_environment.port}"
backlog = 512
worker_class = "mayagen.gunicorn_worker.FairThreadWorker"
workers = _environment.web_workers
threads = _environment.web_threads
# The application is imported once and shared; `pre_fork` keeps database connections out of the share.
preload_app = True
# A worker is replaced now and then, so that a slow leak in any library never grows; never all at once.
max_requests = 20_000
max_requests_jitter = 5_000

# A browser that keeps its connections keeps its process, however unevenly they fell; new ones are shared out.
requests_per_connection = 50

timeout = 60
graceful_timeout = 15
keepalive = 15
# The heartbeat file of a worker must not wait for a disk.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - memory, not a shared file

limit_request_line = 4094
limit_request_fields = 64
limit_request_field_size = 8190
# Without a declared proxy nobody may say by header that a request came by HTTPS.
forwarded_allow_ips = "*" if _environment.trusted_proxy_count else ""
control_socket_disable = True

errorlog = "-"
loglevel = "warning"

# A client that neither sends nor reads for so long loses its connection, and so frees its thread.
stalled_client_s = 20

# The name and version of the server are nobody's business; gunicorn has no setting for it.
gunicorn.http.wsgi.SERVER = "MayaGen"  # type: ignore[attr-defined]


def on_starting(_server: Arbiter) -> None:
    """End with the supervisor; its workers end with this process by themselves."""
    end_with_supervisor(grace_s=2.0 * graceful_timeout)


def when_ready(server: Arbiter) -> None:
    """Load what every worker will need, to be shared by all; limit how long a client may stall.

    Django imports the views at the first request only, which would be in each worker. What is loaded by now
    is kept out of garbage collection, whose marks would copy the shared pages. Gunicorn's threads would
    wait for ever on a client; accepted sockets inherit the kernel's timeouts from the listening one (Linux).
    """
    from django.urls import get_resolver

    get_resolver().url_patterns  # noqa: B018 - a property that imports
    gc.collect()
    gc.freeze()
    logging.getLogger("gunicorn.error").addFilter(_is_no_stalled_client)
    limit = struct.pack("ll", stalled_client_s, 0)
    for listener in server.LISTENERS:
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


def _is_no_stalled_client(record: logging.LogRecord) -> bool:
    """Whether the line tells of something else than a client that ran into its limit, which is no error."""
    return not (record.exc_info and record.exc_info[0] is BlockingIOError)


def pre_request(_worker: Worker, request: Request) -> None:
    """Let a connection end after its share of requests; the answer says so, so that none is lost."""
    if request.req_number >= requests_per_connection:
        request.force_close()


def pre_fork(_server: Arbiter, _worker: Worker) -> None:
    """Close what the import may have opened: two processes on one database connection corrupt it."""
    from django.db import connections

    connections.close_all()
