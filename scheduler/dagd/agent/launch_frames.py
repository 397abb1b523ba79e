"""What a process of tries is sent: a launch alone, or several with what they have in common once."""

from __future__ import annotations

from collections.abc import Sequence

from dagd.agent.tries import Try
from dagd.model.frames import Frame, encode_frame


def single_frame(attempt: Try) -> bytes:
    """One launch, complete."""
    launch = attempt.launch
    if attempt.shared is not None:
        launch = {**launch, "payload": {**attempt.shared, **launch["payload"]}}
    return encode_frame(launch)


def batch_frame(number: int, batch: Sequence[Try]) -> bytes:
    """Launches for one worker, which runs them in this order. `number` tells its batches apart."""
    shared: list[Frame] = []
    places: dict[int, int] = {}
    tries = []
    for attempt in batch:
        entry = {"token": attempt.token, "payload": attempt.launch["payload"]}
        if attempt.launch.get("umask") is not None:
            entry["umask"] = attempt.launch["umask"]
        if attempt.shared is not None:
            place = places.setdefault(id(attempt.shared), len(shared))
            if place == len(shared):
                shared.append(attempt.shared)
            entry["shared"] = place
        tries.append(entry)
    return encode_frame({"t": "launch", "batch": number, "tries": tries, "shared": shared})
