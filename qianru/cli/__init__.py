"""The command line: one small function per command, which parses, calls one library function and prints."""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command line and ends the process with its exit code."""
    try:
        from qianru.cli.app import run  # here, so that importing the package stays light
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(run(sys.argv[1:]))
