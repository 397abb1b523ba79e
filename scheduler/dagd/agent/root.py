"""`python -m dagd.agent.root`: the root zygote. `forking` is imported first, as it asks."""

from __future__ import annotations

import sys

from dagd.agent import forking, zygote

if __name__ == "__main__":
    zygote.main(sys.argv[1:], forking.fork_quietly)
