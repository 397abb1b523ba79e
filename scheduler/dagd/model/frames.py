"""What travels between scheduler, agent and task processes: length-prefixed JSON frames on Unix stream sockets.

A frame is 4 bytes of length (big endian) and that many bytes of UTF-8 JSON: one object with its kind under `t`.
Instants are microseconds UTC, durations microseconds.

Scheduler -> agent
  hello    {protocol, incarnation, release}
  version  {id, dag_id, content, file, folder, sources {path: text}}   before the first launch that names it; `content`
                                           names the last three, which are told once: versions that have it in common
                                           share processes
  launch   {tries: [Launch...], shared}    idempotent by token: a token that was ever journaled is never started again;
                                           `shared`: parts of payloads that several tries have in common
  cancel   {tokens, grace_us, reason}      SIGTERM, then SIGKILL of the tree after the grace
  ack      {tokens}                        the result is committed: forget it
  adopt    {tokens}                        answered by one `adopted`
  reply    {token, id, ok, value | error, mask}  the answer to a `request`; `mask`: secrets in it, hidden in the log
  wait     {triggers: [{token, trigger}]}  see `model.triggers`; idempotent by token
  unwait   {tokens}                        their wait is over
  drain    {}                              take no more launches; leave when the last try has ended
Agent -> scheduler
  hello    {protocol, agent, incarnation, pid, slots, release}
  credits  {slots}                         how many launches this connection may have outstanding
  started  {tries: [{token, pid, started_at}]}
  result   {tries: [Result...]}            sent again after each reconnect until acked
  adopted  {tries: [{token, state}]}       state: running | finished | unknown | lost
  request  {token, id, kind, args}         kind: xcom | variable | connection | trigger | run_state | set_variable
  fired    {tries: [{token, event | error}]}  a trigger has fired, or cannot be looked at; again after each `wait`
  beat     {at}
Agent <-> trigger process (private socket): wait, unwait, reply; fired, request
Try -> agent (private socket)
  result   {outcome, ...}                  exactly one; `outcome` is succeed | fail | skip | defer
  request / reply                          as above, without the token

Agent -> warm worker
  launch   {batch, tries: [{token, umask, shared, payload}...], shared}   run in order, each answered before the next
  recall   {}                              what has not begun will not begin; looked for before each try
Warm worker -> agent
  ready    {}
  result   as a try's, with `at`: [begun, ended]; `printed`: the rest of the batch is given back; `drift`: it leaves
  recalled {batch}                         what has no answer in this batch will not begin

Launch: {token, grade, version, worker_key, timeout_us, grace_us, log, umask, shared, payload}
  `shared` is a place in the frame's `shared`, whose fields belong to the payload, too.
  `log` is a path relative to the log folder, built from integers; `payload` is passed to the runtime as it is:
  {dag_id, run {...}, task_id, map_index, try_no, max_tries, leg, state, xcom, items, params, conf, callback, ...}
Result: {token, outcome, frame, pid, started_at, ended_at, exit_code, signal, reason, error}
  `frame` is the try's own result frame, or null when it ended without one; `reason` then says what ended it
  (the words of `states.Reason`).
"""

from __future__ import annotations

import json
import struct
from typing import Any

PROTOCOL = 3
MAX_FRAME = 256 * 1024 * 1024
_HEAD = struct.Struct(">I")

Frame = dict[str, Any]


class FrameTooLong(ValueError):
    """A frame longer than MAX_FRAME: the peer is not speaking this protocol."""


def encode_frame(frame: Frame) -> bytes:
    """One frame as bytes."""
    body = json.dumps(frame, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
    if len(body) > MAX_FRAME:
        raise FrameTooLong(f"a frame of {len(body)} bytes; the limit is {MAX_FRAME}")
    return _HEAD.pack(len(body)) + body


class FrameBuffer:
    """Collects bytes from a stream and yields whole frames."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> list[Frame]:
        """The frames that `chunk` completes, in order. Raises FrameTooLong, or ValueError for what is no JSON."""
        buffer = self._buffer
        buffer += chunk
        frames: list[Frame] = []
        start = 0
        while len(buffer) - start >= 4:
            (size,) = _HEAD.unpack_from(buffer, start)
            if size > MAX_FRAME:
                raise FrameTooLong(f"a frame of {size} bytes; the limit is {MAX_FRAME}")
            if len(buffer) - start - 4 < size:
                break
            body = bytes(buffer[start + 4 : start + 4 + size])
            start += 4 + size
            frames.append(json.loads(body))
        if start:
            del buffer[:start]
        return frames
