"""The body of a request: its files are stored in the request's folder, the rest are options."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import UploadFile

from heldout.config.texts import nearest
from heldout.serve import uploads
from heldout.serve.options import Options
from heldout.serve.uploads import Refused

VOLUMES = frozenset({"nifti", "series", "zip"})  # formats


@dataclass
class StoredUploads:
    """The uploads of a request.

    Attributes:
        options: What it asks for.
        folders: Where every file is.
        kinds: Formats of the files, by their folders.
        failed: Folders of files that are not images, and why.
    """

    options: Options
    folders: list[Path] = field(default_factory=list)
    kinds: dict[Path, set[str]] = field(default_factory=dict)
    failed: dict[Path, Refused] = field(default_factory=dict)

    @property
    def volume(self) -> bool:
        """Whether they are a volume; several DICOM files together are one."""
        return any(map(self.is_volume, self.kinds))

    def is_volume(self, folder: Path) -> bool:
        """Whether the files of a folder are a volume."""
        kinds = self.kinds.get(folder, set())
        return bool(kinds & VOLUMES) or (kinds == {"dicom"} and self.folders.count(folder) > 1)


async def store(request: Request, folder: Path, most: int, limit: int, *, apart: bool = False) -> StoredUploads:
    """Store the files of a request in its folder.

    Args:
        request: The request.
        folder: Its folder.
        most: Files allowed.
        limit: Largest content of an archive, in bytes.
        apart: Every file gets a folder of its own, and one that is not an image does not fail the others.

    Raises:
        Refused: the body is not an upload, or a part is not an image.
    """
    body_kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    given: dict[str, Any] = dict(request.query_params)
    stored = StoredUploads(options=Options())

    async def keep(number: int, count: int, name: str, act: Callable[[Path, str], str]) -> None:
        place = folder / str(number) if apart else folder
        place.mkdir(exist_ok=True)
        stored.folders.append(place)
        part = name if count == 1 else f"{name}s[{number}]"
        try:
            kind = await asyncio.to_thread(act, place / f"image{number:04d}", part)
            stored.kinds.setdefault(place, set()).add(kind)
        except Refused as error:
            if not apart:
                raise
            stored.failed[place] = error

    if body_kind == "application/json":
        body = await asyncio.to_thread(uploads.parse_json, await request.body())
        pixels = body.pop("images", None) or [body.pop("image", None)]
        if not isinstance(pixels, list) or pixels == [None]:
            raise Refused(422, 'the body has no pixels: send {"image": [[...]]}')
        _count(len(pixels), most)
        stored.options = options_of(given | body)
        for number, one in enumerate(pixels):
            await keep(number, len(pixels), "image", partial(uploads.store_pixels, one))
        return stored
    if body_kind != "multipart/form-data":
        raise Refused(415, "send the file as multipart/form-data in the field `file`")
    async with request.form(max_files=most, max_fields=30, max_part_size=1 << 16) as form:
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        given |= {name: value for name, value in form.multi_items() if isinstance(value, str)}
        if not files:
            raise Refused(422, "the form has no file: send it in the field `file`, or several in `files`")
        _count(len(files), most)
        stored.options = options_of(given)
        for number, one in enumerate(files):
            await keep(number, len(files), "file", partial(save, one, limit))
    return stored


def save(upload: UploadFile, limit: int, place: Path, part: str) -> str:
    """Store a file under an ending of its content.

    Args:
        upload: The file.
        limit: Largest content of an archive, in bytes.
        place: Where, without ending.
        part: What the request called it, for messages.

    Returns:
        Its format.

    Raises:
        Refused: it is not an image.
    """
    upload.file.seek(0)
    with open(place, "wb") as target:
        shutil.copyfileobj(upload.file, target, 1 << 20)
    if not place.stat().st_size:
        raise Refused(422, f"{part} is empty: send the content of an image")
    return uploads.name_by_content(place, part, limit)


def options_of(given: Mapping[str, Any]) -> Options:
    """Options in their types.

    Raises:
        Refused: 422, one is unknown or does not fit.
    """
    try:
        return Options.model_validate(given)
    except ValidationError as error:
        raise Refused(422, sentence_of(error.errors())) from None


def sentence_of(errors: Any) -> str:
    """The first of pydantic's errors in one sentence."""
    first = errors[0]
    name = ".".join(str(part) for part in first["loc"]) or "the request"
    if first["type"] == "extra_forbidden":
        shown = name[:40]
        return f"there is no option {shown!r}{nearest(shown, Options.model_fields) or ': see /docs'}"
    return f"{name} does not fit: {first['msg'].lower()}"


def _count(count: int, most: int) -> None:
    if count > most:
        files = "one file is" if most == 1 else f"{most} files are"
        raise Refused(413, f"{count} files were sent, {files} allowed: send fewer")
