"""The command line: one small function per command, which parses, calls one library function and prints."""

from __future__ import annotations


def main() -> None:
    """Runs the command line and ends the process with its exit code."""
    import sys

    from qianru.cli.app import run  # here, so that importing the package stays light

    sys.exit(run(sys.argv[1:]))
