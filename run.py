"""The command line of heldout: ``python run.py --help``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

from heldout.cli import main

if __name__ == "__main__":
    main(Path(__file__).resolve().parent)
