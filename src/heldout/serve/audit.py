"""The audit log: who asked what and when, which decision answered, and when others took over; a file that only grows.

It holds lines of JSON without names of files and without anything of an image or its header.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from heldout.errors import UserError
from heldout.journal import append_line
from heldout.serve.log import log


class AuditLog:
    """Appends to one file, beside other processes that do.

    Args:
        path: The file; None keeps no audit log.

    Raises:
        UserError: the file cannot be written.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "ab"):
                pass
        except OSError as error:
            raise UserError(
                f"the audit log {path} cannot be written ({error.strerror}): HELDOUT_SERVE_AUDIT_LOG names another"
            ) from None

    def write(self, event: str, **fields: Any) -> None:
        """Append a line. Where that fails, the log on the standard error says so: the answer was given already."""
        if self.path is None:
            return
        line = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": event, **fields}
        try:
            append_line(self.path, json.dumps(line))
        except (OSError, UserError) as error:
            log(level="error", error=f"the audit log cannot be written: {type(error).__name__}", event=event)
