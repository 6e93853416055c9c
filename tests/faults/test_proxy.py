"""The proxy understands what clients say, and holds or loses exactly what it was told to."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import psycopg
import pytest
from django.db import connection

from tests.faults.proxy import Catch, PostgresProxy
from tests.faults.relay import CallCatch, Relay
from tests.faults.wire import Said, Transcript

STARTUP = struct.pack("!II", 8, 196608)


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def query(text: str) -> bytes:
    return message(b"Q", text.encode() + b"\0")


def listen_to(*messages: bytes) -> list[Said]:
    transcript = Transcript()
    return [said for each in (STARTUP, *messages) for said in transcript.feed(each)]


def test_all_bytes_are_passed_on_however_they_are_cut() -> None:
    whole = STARTUP + query("SELECT 1") + query("COMMIT")
    transcript = Transcript()

    said = [each for byte in whole for each in transcript.feed(bytes([byte]))]

    assert b"".join(each.raw for each in said) == whole
    assert [each.statement for each in said] == ["", "SELECT 1", "COMMIT"]


def test_a_commit_knows_the_statements_of_its_transaction_alone() -> None:
    said = listen_to(*map(query, ("BEGIN", "INSERT 1", "COMMIT", "BEGIN", "INSERT 2", "COMMIT")))

    assert said[-1].earlier == ("INSERT 2",)


def test_a_prepared_statement_is_known_when_it_is_run() -> None:
    parse = message(b"P", b"name\0INSERT 3\0\0\0")
    bind = message(b"B", b"\0name\0\0\0\0\0\0\0")

    said = listen_to(parse, bind, bind, query("COMMIT"))

    assert said[-1].earlier == ("INSERT 3", "INSERT 3")


def test_a_request_for_encryption_comes_before_the_session() -> None:
    transcript = Transcript()

    said = transcript.feed(struct.pack("!II", 8, 80877103) + STARTUP + query("SELECT 1"))

    assert [each.statement for each in said] == ["", "", "SELECT 1"]


@asynccontextmanager
async def running_proxy() -> AsyncIterator[tuple[PostgresProxy, str]]:
    settings = connection.settings_dict
    proxy = PostgresProxy(int(settings["PORT"] or 5432), server_host=settings["HOST"] or "127.0.0.1")
    await proxy.start()
    try:
        who = f"user={settings['USER']} password={settings['PASSWORD']} dbname=postgres"
        yield proxy, f"host=127.0.0.1 port={proxy.port} {who}"
    finally:
        await proxy.stop()


@pytest.mark.postgres
async def test_a_statement_is_held_until_whoever_met_it_forwards_it() -> None:
    met, may_go_on = asyncio.Event(), asyncio.Event()

    async def meet(port: int, forward: Callable[[], Awaitable[None]]) -> None:
        met.set()
        await may_go_on.wait()
        await forward()

    async with running_proxy() as (proxy, address):
        proxy.catches.append(Catch("COMMIT", "SELECT 42", meet=meet))
        async with await psycopg.AsyncConnection.connect(address) as client:
            await client.execute("SELECT 41")
            await client.commit()
            await client.execute("SELECT 42")
            commit = asyncio.create_task(client.commit())
            await met.wait()
            assert not commit.done()
            may_go_on.set()
            await commit
    assert not proxy.catches


@pytest.mark.postgres
async def test_a_lost_answer_leaves_what_was_committed() -> None:
    async with (
        running_proxy() as (proxy, address),
        await psycopg.AsyncConnection.connect(address, autocommit=True) as keeper,
    ):
        table = f"lost_answers_{os.getpid()}"
        await keeper.execute(f"CREATE TABLE {table} (number int)")
        try:
            proxy.catches.append(Catch("COMMIT", f"INSERT INTO {table}", loses_answer=True))
            client = await psycopg.AsyncConnection.connect(address)
            await client.execute(f"INSERT INTO {table} VALUES (1)")  # noqa: S608 - ours
            with pytest.raises(psycopg.OperationalError):
                await client.commit()
            await client.close()

            found = await (await keeper.execute(f"SELECT count(*) FROM {table}")).fetchone()  # noqa: S608

            assert found == (1,)
        finally:
            await keeper.execute(f"DROP TABLE {table}")


async def test_a_held_call_reaches_the_server_and_its_answer_waits() -> None:
    asked, met, may_go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await writer.drain()
        writer.close()

    async def meet(port: int) -> None:
        met.set()
        await may_go_on.wait()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    relay = Relay()
    await relay.start()
    relay.server_port = server.sockets[0].getsockname()[1]
    relay.catches.append(CallCatch(meet=meet))
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)

    writer.write(b"POST /order HTTP/1.1\r\n\r\n")
    await asyncio.gather(asked.wait(), met.wait())
    reply = asyncio.create_task(reader.readline())
    await asyncio.sleep(0)
    assert not reply.done()
    may_go_on.set()

    assert (await reply).startswith(b"HTTP/1.1 200")
    writer.close()
    await relay.stop()
    server.close()
