"""Eight layouts, each from a raw folder to leaderboard, submission and replayed kernel, by the lines of one page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import REPOSITORY, Measurement, record

from tests.data.miniatures import LAYOUTS

LONGEST, LINES = 15, 12  # minutes and lines of the user's
PAGE = REPOSITORY / "docs" / "your-competition.md"


def lines_of_the_page() -> list[str]:
    """What the page says to type, for the experiment that ``init`` writes first, at its budget quick."""
    text = PAGE.read_text(encoding="utf-8").partition("## ")[0]
    return re.findall(r"^python run\.py (.*)$", text.replace(" exp100", " exp100@quick"), re.MULTILINE)


def typed(words: str, folder: Path) -> tuple[float, str]:
    """Seconds that one line takes, and what it prints.

    Raises:
        SystemExit: it fails.
    """
    environment = {key: text for key, text in os.environ.items() if not key.startswith("HELDOUT_")}
    environment |= {"PYTHONPATH": str(REPOSITORY / "src"), "PIP_NO_INDEX": "1"}  # no wheel is asked for
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "run.py", *words.split()],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"python run.py {words} failed with exit code {done.returncode}:\n{done.stdout[-2000:]}")
    return time.perf_counter() - begun, done.stdout


def journey(name: str, lines: list[str]) -> tuple[float, str]:
    """Minutes from a raw folder to the kernel, and how they were spent."""
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        start = "from heldout.cli import main; main()"
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
        begun = [sys.executable, "-c", start, "start", "mine"]
        subprocess.run(begun, cwd=place, env=environment, check=True, stdout=subprocess.DEVNULL)
        project = place / "mine"
        LAYOUTS[name](project / "input" / name)
        spent, printed = dict[str, float](), ""
        for line in lines:
            words = line.replace("init siim", f"init {name} --yes")
            spent[words.split()[0].replace("exp100@quick", "train")], printed = typed(words, project)
        if not list((project / "submissions").glob("exp100*")):
            raise SystemExit(f"{name}: nothing was submitted")
        if "equal" not in printed:
            raise SystemExit(f"{name}: the kernel was not replayed, or differs:\n{printed[-2000:]}")
    return sum(spent.values()) / 60, ", ".join(f"{word} {seconds:.0f}" for word, seconds in spent.items())


def main() -> int:
    """Time all layouts; those named on the command line only, without a record."""
    lines = lines_of_the_page()
    named = sys.argv[1:]
    found, about = [Measurement("lines of the user's, for each layout", len(lines), "lines", LINES)], []
    for name in named or LAYOUTS:
        minutes, spent = journey(name, lines)
        print(f"{name}: {minutes:.2f} min: {spent}", flush=True)
        found.append(
            Measurement(f"{name}: raw folder to leaderboard, submission, replayed kernel", minutes, "min", LONGEST)
        )
        about.append(f"{name}: {spent}")
    if named:
        return 0
    text = "Miniatures of 10 to 48 cases, all folds of the experiment that `init` wrote, three epochs (`quick`); "
    return record("layouts", found, f"{text}seconds of each line: {'; '.join(about)}.")


if __name__ == "__main__":
    sys.exit(main())
