"""Commands of the bridge in a fork of the test's process: a new interpreter takes a second to import what they need.

That ``python -m bridge`` starts, and tells wrong settings, is tested with real processes too.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from bridge.cli import main
from testkit.procfile import environment


def bridge(
    arguments: Sequence[str], folder: Path, settings: Mapping[str, str], *, timeout: float = 30
) -> subprocess.CompletedProcess[str]:
    """Run ``bridge`` with these arguments to its end; what it prints as an error is part of what it prints.

    ``timeout`` is in seconds. Raise :class:`subprocess.TimeoutExpired` after it.
    """
    with tempfile.TemporaryFile("w+") as output, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads, of which the child needs none
        fork = multiprocessing.get_context("fork").Process(
            target=_command, args=(arguments, folder, environment(settings), output.fileno())
        )
        fork.start()
        fork.join(timeout)
        if fork.exitcode is None:
            fork.kill()
            fork.join()
            raise subprocess.TimeoutExpired(["bridge", *arguments], timeout)
        output.seek(0)
        return subprocess.CompletedProcess(arguments, fork.exitcode, output.read())


def _command(arguments: Sequence[str], folder: Path, environ: Mapping[str, str], output: int) -> None:
    for stream in (1, 2):
        os.dup2(output, stream)
    sys.stdout, sys.stderr = (os.fdopen(stream, "w", buffering=1, closefd=False) for stream in (1, 2))
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    main(arguments, prog_name="bridge")
