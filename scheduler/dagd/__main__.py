"""`python -m dagd`: the command line."""

from __future__ import annotations

from dagd.cli.main import main

main()
