"""Entry of a part that `dagd up` starts: `python -m dagd.engine.part scheduler|processor`. It dies with its parent."""

from __future__ import annotations

import argparse
import ctypes
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from dagd.engine.processing import run_processor
from dagd.engine.run import run_scheduler
from dagd.model.errors import DagdError
from dagd.model.settings import load_settings
from dagd.observe.logs import log_to
from dagd.observe.private import keep_private
from dagd.observe.talk import to_stdout
from dagd.store.database import DBAPIError

LOG = logging.getLogger("dagd.part")
PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Ask the kernel for SIGKILL when the parent dies; end at once when it is dead already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def say_ready(descriptor: int) -> Callable[[dict[str, Any]], None]:
    """A function that tells the parent, once, that this part is ready."""

    def tell(facts: dict[str, Any]) -> None:
        try:
            os.write(descriptor, json.dumps(facts).encode() + b"\n")
        except BrokenPipeError:
            LOG.info("nobody waits for the word that this part is ready: it was started again")
        os.close(descriptor)

    return tell


def main() -> None:
    """Run one part until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=["scheduler", "processor"])
    parser.add_argument("--ready-fd", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--home", help="for whoever reads ps: nobody may look into this process")
    options = parser.parse_args()
    keep_private()
    die_with_parent(options.parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings = load_settings()
    log_to(settings.log_folder / f"{options.part}.log", form=settings["log.format"])
    run = run_scheduler if options.part == "scheduler" else run_processor
    try:
        run(settings, ready=say_ready(options.ready_fd), talk=to_stdout())
    except (DagdError, DBAPIError) as error:
        LOG.exception("the %s ends", options.part)
        words = str(getattr(error, "orig", error)).strip().partition("\n")[0]
        sys.stderr.write(f"dagd {options.part}: {words}\n")
        raise SystemExit(5) from None


if __name__ == "__main__":
    main()
