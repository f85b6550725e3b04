"""The command line of heldout: ``python run.py --help``."""

import signal
import sys
from pathlib import Path

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback of an import; main() takes over

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

from heldout.cli import main

if __name__ == "__main__":
    main(Path(__file__).resolve().parent)
