"""Run the OpenAI protocol server as a process: `python -m tests.providers --port 0 --delay 5`."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys

from tests.providers.openai_faults import FAULTS
from tests.providers.openai_server import API_KEY, Behaviour, OpenAIServer, make_png, serve


async def run(arguments: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT; the first line printed is the address as JSON."""
    picture = make_png(arguments.output_bytes, side_px=arguments.side)
    server = OpenAIServer(picture=picture, api_key=arguments.key)
    server.keep_requests = False
    server.behaviour = Behaviour(
        delay_seconds=arguments.delay,
        fault=arguments.fault,
        first=arguments.first,
        reply_with=arguments.reply_with,
    )
    runner = await serve(server, arguments.port)
    line = {
        "url": server.url,
        "base_url": f"{server.url}/v1",
        "port": server.port,
        "api_key": server.api_key,
        "output_bytes": len(server.picture),
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
    stopped = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, stopped.set)
    await stopped.wait()
    await runner.cleanup()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m tests.providers", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--output-bytes", type=int, default=65_536, help="size of the picture sent")
    parser.add_argument("--side", type=int, default=512, help="width and height of the picture sent")
    parser.add_argument("--fault", choices=["", *FAULTS], default="")
    parser.add_argument("--first", type=int, default=0, help="how many requests the fault lasts; 0 means all")
    parser.add_argument("--reply-with", choices=["b64_json", "url"], default="b64_json")
    parser.add_argument("--key", default=API_KEY)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
