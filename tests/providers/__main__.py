"""Run a protocol server as a process: `python -m tests.providers replicate --delay 5 --rate-limited 0.1`.

The first line printed is JSON: `base_url` and `options` go into an image model's entry, `api_key` into the
environment, or among the stored keys, under the name that the entry gives for it.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import importlib
import json
import signal
import sys
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Final

from tests.providers.ledger import Ledger
from tests.providers.serving import FAULT_RATES, PRICE_USD, Dice, ProtocolServer, make_png, serve

SERVERS: Final[Mapping[str, str]] = {
    "openai": "tests.providers.openai_server:OpenAIServer",
    "fal": "tests.providers.fal_server:FalServer",
    "replicate": "tests.providers.replicate_server:ReplicateServer",
}


class UnknownWordError(Exception):
    """The command line names what this server does not know."""


def make_server(arguments: argparse.Namespace) -> ProtocolServer:
    """Return the server that the command line asks for, not yet running.

    Raises:
        UnknownWordError: It names a fault, or a manner of webhooks, that this server does not know.
    """
    module, _, name = SERVERS[arguments.server].partition(":")
    factory = getattr(importlib.import_module(module), name)
    rates = {fault: getattr(arguments, fault) for fault in FAULT_RATES}
    shared = {
        "picture": arguments.picture.read_bytes()
        if arguments.picture
        else make_png(arguments.output_bytes, side_px=arguments.side),
        "ledger": Ledger(arguments.ledger),
        "dice": Dice(rates, seed=arguments.seed),
        "price_usd": arguments.price,
    }
    if arguments.key:
        shared["api_key"] = arguments.key
    server: ProtocolServer = factory(**shared)
    server.keep_requests = False
    names = [field.name for field in dataclasses.fields(server.behaviour)]
    told = {name: getattr(arguments, name) for name in names if getattr(arguments, name, None) is not None}
    if told.get("fault") and told["fault"] not in server.fault_names:
        raise UnknownWordError(f"{server.name} knows these faults: {', '.join(server.fault_names)}")
    try:
        server.behaviour = dataclasses.replace(server.behaviour, **told)
    except AssertionError:
        raise UnknownWordError(f"{server.name} knows no such manner of webhooks") from None
    return server


async def run(server: ProtocolServer, arguments: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT."""
    runner = await serve(server, arguments.port)
    own_port, server.port = server.port, arguments.public_port or server.port
    line = {
        "server": server.name,
        "url": server.url,
        "base_url": server.base_url,
        "port": own_port,
        "api_key": server.api_key,
        "options": dict(server.options),
        "output_bytes": len(server.picture),
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
    stopped = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, stopped.set)
    await stopped.wait()
    await runner.cleanup()


def make_parser() -> argparse.ArgumentParser:
    """Return the options; those that a server's behaviour does not know leave it as it is."""
    parser = argparse.ArgumentParser(prog="python -m tests.providers", description=__doc__)
    parser.add_argument("server", nargs="?", choices=list(SERVERS), default="openai")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--public-port", type=int, help="the port it tells of, with a relay before it")
    parser.add_argument("--key", help="the API key it accepts")
    parser.add_argument("--delay", type=float, dest="delay_seconds", help="seconds that a call or job takes")
    parser.add_argument("--output-bytes", type=int, default=65_536, help="size of the picture sent")
    parser.add_argument("--side", type=int, default=512, help="width and height of the picture sent")
    parser.add_argument("--picture", type=Path, help="file that is sent as every picture instead")
    parser.add_argument("--price", type=Decimal, default=PRICE_USD, help="US dollars for each picture")
    parser.add_argument("--ledger", type=Path, help="file for what it was asked and would charge")
    parser.add_argument("--fault", help="every request meets this fault, by the server's own name of it")
    parser.add_argument("--first", type=int, help="how many requests the fault lasts; 0 means all")
    parser.add_argument("--reply-with", choices=["b64_json", "url"], help="openai: how pictures come")
    parser.add_argument(
        "--honours-keys", action="store_true", default=None, help="openai: Idempotency-Key repeats nothing"
    )
    parser.add_argument("--webhook", help="fal, replicate: how webhooks come, by the server's own name of it")
    dice = parser.add_argument_group("shares of requests that go wrong, from 0 to 1")
    for fault in FAULT_RATES:
        dice.add_argument(f"--{fault.replace('_', '-')}", type=float, default=0.0, metavar="SHARE")
    dice.add_argument("--seed", type=int, default=0, help="the same seed, the same faults")
    return parser


def main() -> None:
    """Read the command line and serve."""
    parser = make_parser()
    arguments = parser.parse_args()
    try:
        server = make_server(arguments)
    except UnknownWordError as error:
        parser.error(str(error))
    asyncio.run(run(server, arguments))


if __name__ == "__main__":
    main()
