"""What a process has imported that runs some code and nothing else."""

from __future__ import annotations

import subprocess
import sys

from testkit.procfile import ROOT


def imported_by(code: str, *packages: str) -> list[str]:
    """Run the code in a process of its own. Return which modules of these packages it has imported."""
    names = f"[name for name in sys.modules if f'{{name}}.'.startswith({tuple(f'{each}.' for each in packages)!r})]"
    asked = f"{code}\nimport sys\nprint('\\n'.join({names}))"
    told = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (told.returncode, told.stderr) == (0, ""), told.stderr
    return told.stdout.split()
