"""The trigger process: `python -m dagd.agent.triggering FD HOME`. One asyncio loop for all that waits on a host.

It runs code of ours alone, holds no handle of dagd's database, and remembers nothing: whoever starts it hands it every
trigger again. What blocks (a file system, a database driver, urllib) is called in threads, with bounds a kind, so that
slow sites never keep a file from being seen.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

from dagd.agent.linux import name_process
from dagd.authoring.store_access import Connection
from dagd.model.errors import DagdError
from dagd.model.frames import Frame, FrameBuffer, encode_frame
from dagd.model.times import SECOND
from dagd.model.triggers import Trigger, pauses
from dagd.runtime.looking import (
    Check,
    Event,
    connection_name,
    load_checks,
    masked_error,
    masked_event,
    opened_connection,
)
from dagd.runtime.masking import Masker

Sleep = Callable[[float], Awaitable[None]]
THREADS = {"file": 4, "http": 32, "sql": 8}
_CHUNK = 256 * 1024


class _Unknown(Exception):
    """The scheduler does not know the try: the wait is over, or memory is being rebuilt."""


class Watcher:
    """The waits. `send` takes frames for the agent: a `fired` for each wait that is over, requests for connections."""

    def __init__(
        self, send: Callable[[Frame], None], checks: Mapping[str, Check], sleep: Sleep = asyncio.sleep
    ) -> None:
        self._send, self._checks, self._sleep = send, checks, sleep
        self._waits: dict[str, asyncio.Task[None]] = {}
        self._asked: dict[int, asyncio.Future[Frame]] = {}
        self._last_id = 0
        self._pools: dict[str, ThreadPoolExecutor] = {}

    def take(self, frame: Frame) -> None:
        """One frame of the agent: wait, unwait, reply."""
        if frame["t"] == "wait":
            for one in frame["triggers"]:
                if one["token"] not in self._waits:
                    self._waits[one["token"]] = asyncio.create_task(self._watch(one["token"], one["trigger"]))
        elif frame["t"] == "unwait":
            for token in frame["tokens"]:
                task = self._waits.pop(token, None)
                if task is not None:
                    task.cancel()
        elif frame["t"] == "reply":
            asked = self._asked.get(frame["id"])
            if asked is not None and not asked.done():
                asked.set_result(frame)

    async def _watch(self, token: str, trigger: Trigger) -> None:
        masker = Masker()
        try:
            told: Frame = {"event": masked_event(await self._until_fired(token, trigger, masker), masker)}
        except Exception as error:  # whatever a look raises ends the try that waits, with these words
            told = {"error": masked_error(error, masker)}
        self._send({"t": "fired", "tries": [{"token": token, **told}]})

    async def _until_fired(self, token: str, trigger: Trigger, masker: Masker) -> Event:
        kind = trigger["kind"]
        check, loop = self._checks[kind], asyncio.get_running_loop()
        for pause in pauses(trigger):
            if pause:
                await self._sleep(pause / SECOND)
            try:
                connection = await self._connection(token, trigger, masker)
            except _Unknown:
                continue
            event = await loop.run_in_executor(self._pool(kind), check, trigger, connection)
            if event is not None:
                return event
        raise AssertionError("pauses have no end")

    async def _connection(self, token: str, trigger: Trigger, masker: Masker) -> Connection | None:
        """The connection that a trigger names, asked anew for each look: it may have been changed."""
        name = connection_name(trigger)
        if name is None:
            return None
        self._last_id += 1
        number = self._last_id
        asked = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            args = {"id": name}
            self._send({"t": "request", "token": token, "id": number, "kind": "connection", "args": args})
            reply = await asked
        finally:
            del self._asked[number]
        if not reply["ok"]:
            error = reply["error"]
            if error["code"] == DagdError.code:
                raise _Unknown
            raise LookupError(error["what"])
        masker.add_all(reply.get("mask") or ())
        return opened_connection(name, reply["value"], masker)

    def _pool(self, kind: str) -> ThreadPoolExecutor:
        if kind not in self._pools:
            self._pools[kind] = ThreadPoolExecutor(THREADS[kind], kind)
        return self._pools[kind]


async def serve(peer: socket.socket) -> None:
    """Until the agent hangs up."""
    reader, writer = await asyncio.open_connection(sock=peer)
    watcher = Watcher(lambda frame: writer.write(encode_frame(frame)), load_checks())
    buffer = FrameBuffer()
    while chunk := await reader.read(_CHUNK):
        for frame in buffer.feed(chunk):
            watcher.take(frame)
    os._exit(0)  # a look may hang in its thread for ever: nobody waits for it


def main(words: Sequence[str]) -> NoReturn:
    """Waits for whatever the agent at the other end of this descriptor hands over. (The home is for `ps`.)"""
    name_process("dagd-triggers")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        asyncio.run(serve(socket.socket(fileno=int(words[0]))))
    except ConnectionError:
        pass  # the agent is gone
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
