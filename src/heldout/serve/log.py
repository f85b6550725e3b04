"""The log: lines of JSON on the standard error, without names of files and without anything of an image's header."""

from __future__ import annotations

import json
import sys
import time
import traceback
from pathlib import Path
from typing import Any

FAILED = "the service failed; the request id leads to the reason in its log"


def log(**fields: Any) -> None:
    """Write a line."""
    line = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **fields}
    print(json.dumps(line), file=sys.stderr, flush=True)


def log_failure(request_id: str, error: BaseException) -> None:
    """Write where an error that is ours happened, and of which kind it is.

    Its message is left out: it may quote what was uploaded.
    """
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{Path(one.filename).parent.name}/{Path(one.filename).name}:{one.lineno} {one.name}" for one in frames]
    log(level="error", request_id=request_id, error=type(error).__name__, places=places)
