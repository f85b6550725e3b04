"""Bundles in the store of a registry, for machines that have only the store.

A bundle lies in ``bundles/<SHA-256 of its bundle.json>/``. That file names the hash of every other one, and is sent
last.
"""

from __future__ import annotations

from pathlib import Path

from heldout import files
from heldout.deliver.kernel.bundle import MANIFEST, SCHEMA, Bundle, BundleRecord
from heldout.errors import UserError, note
from heldout.records import read_record
from heldout.serve.store import Store

_AGAIN = "push the decision into the registry again"


def send(bundle: Bundle, store: Store) -> str:
    """Send a verified bundle; returns the SHA-256 by which it is fetched.

    Raises:
        UserError: the store cannot be written.
    """
    digest = files.sha256_file(bundle.folder / MANIFEST)
    for name in (*bundle.hashes, MANIFEST):
        store.send(bundle.folder / name, f"bundles/{digest}/{name}")
    return digest


def fetch(digest: str, store: Store) -> Path:
    """The folder of a bundle on this machine, below ``working/registry/fetched``; it is fetched once.

    Raises:
        UserError: the store does not hold it, or a file arrived damaged or would lie elsewhere.
    """
    cache = files.home() / "working" / "registry" / "fetched"
    folder = cache / digest
    with files.lock(cache, "fetching a bundle", wait=True):
        if not folder.is_dir():
            note(f"fetching {digest[:12]} from the registry {store.place}")
            with files.new_folder(folder) as draft:
                _fill(draft, digest, store)
    return folder


def _fill(draft: Path, digest: str, store: Store) -> None:
    place = f"bundles/{digest}"
    _fetch_file(store, place, MANIFEST, draft, digest)
    for name, expected in read_record(draft / MANIFEST, BundleRecord, SCHEMA, _AGAIN).files.items():
        if not files.is_below(name):
            raise UserError(f"{store.place}/{place}/{MANIFEST} lists {name}, which lies elsewhere: {_AGAIN}")
        _fetch_file(store, place, name, draft, expected)


def _fetch_file(store: Store, place: str, name: str, draft: Path, expected: str) -> None:
    store.fetch(f"{place}/{name}", draft / name)
    if files.sha256_file(draft / name) != expected:
        raise UserError(f"{store.place}/{place}/{name} is damaged: {_AGAIN}")
