"""The command line of heldout in this project: ``python run.py --help``."""

from pathlib import Path

from heldout.cli import main

if __name__ == "__main__":
    main(Path(__file__).resolve().parent)
