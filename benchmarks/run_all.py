"""Run every benchmark of this folder, one after another; each writes its own file in ``results/``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
NO_BENCHMARKS = {"run_all.py", "record.py", "before_after.py"}  # the last needs another checkout


def main() -> int:
    """Run them; 1 when one failed or missed a bar."""
    failed = []
    for path in sorted(FOLDER.glob("*.py")):
        if path.name not in NO_BENCHMARKS:
            print(f"== {path.stem}", flush=True)
            if subprocess.run([sys.executable, path], cwd=FOLDER.parent, check=False).returncode:
                failed.append(path.stem)
    print(f"failed or missed a bar: {', '.join(failed)}" if failed else "every benchmark kept its bars")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
