"""The command line of heldout: ``python run.py --help``."""

import gc
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

# Libraries create some 600,000 lasting objects when they are imported; the default of 700 would search them often.
gc.set_threshold(100_000, 20, 100)

from heldout.cli import main

if __name__ == "__main__":
    main()
