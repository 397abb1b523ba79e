"""The keeper above the agent: `python -m dagd.agent.keeper --home H ...`. It starts the agent again when that dies, and
kills what the dead one left: as a child subreaper it inherits all of it. It leaves when the agent leaves of itself.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence

from dagd.agent import kill
from dagd.agent.linux import become_subreaper, name_process
from dagd.agent.procfs import children_of, name_of
from dagd.agent.spawning import spawn_python
from dagd.observe.private import keep_private

# The agent's exit codes after which it is not started again: done; another agent has this home.
CLEAN = (0, 75)
FIRST_PAUSE_S, LAST_PAUSE_S = 0.2, 10.0
STEADY_S = 60.0
STOP_S = 3.0
LOG_WRITER_S = 1.0
_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


def main(words: Sequence[str]) -> int:
    """Keeps one agent until it ends cleanly. `words` are its command line."""
    # Whatever the caller's shell or terminal left open is not for tasks.
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    keep_private()
    become_subreaper()
    name_process("dagd-keeper")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, *_PASSED_ON})
    pause = FIRST_PAUSE_S
    while True:
        begun = time.monotonic()
        agent = spawn_python("dagd.agent.main", words, ())
        status, is_stopping = _attend(agent)
        _kill_inherited()
        if is_stopping or (os.WIFEXITED(status) and os.WEXITSTATUS(status) in CLEAN):
            return 0
        if time.monotonic() - begun > STEADY_S:
            pause = FIRST_PAUSE_S
        if signal.sigtimedwait({signal.SIGTERM, signal.SIGINT}, pause) is not None:
            return 0
        pause = min(LAST_PAUSE_S, pause * 2)


def _attend(agent: int) -> tuple[int, bool]:
    """Passes signals on and reaps, until the agent has ended: its wait status, and whether it was told to stop."""
    deadline: float | None = None
    while True:
        patience = 3600.0 if deadline is None else max(0.0, deadline - time.monotonic())
        caught = signal.sigtimedwait({signal.SIGCHLD, *_PASSED_ON}, patience)
        if caught is None and deadline is not None:
            kill.send_signal(agent, signal.SIGKILL)
        elif caught is not None and caught.si_signo != signal.SIGCHLD:
            kill.send_signal(agent, caught.si_signo)
            if caught.si_signo != signal.SIGUSR1:
                deadline = deadline or time.monotonic() + STOP_S
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == agent:
                return status, deadline is not None
            if pid == 0:
                break
        kill.kill_strays((agent,))


def _kill_inherited() -> None:
    """Everything but the log writer, which gets a moment to write down what the tries said last."""
    writers = [pid for pid in children_of([os.getpid()]) if name_of(pid) == "dagd-log"]
    kill.kill_strays(writers)
    kill.await_deaths(writers, time.monotonic() + LOG_WRITER_S)
    kill.kill_strays(())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
