"""Commands for versions of sealed decisions: registry list, push, promote, rollback."""

from __future__ import annotations

import getpass
import importlib.util
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heldout.cli.shared import app, command, finish, print_table

if TYPE_CHECKING:
    from heldout.serve.audit import AuditLog
    from heldout.serve.store import VersionRecord

registry = typer.Typer(no_args_is_help=True, help="Versions of sealed decisions, and which one is in production.")
app.add_typer(registry, name="registry")
Place = Annotated[
    str | None,
    typer.Option("--store", metavar="PLACE", help="folder or s3:// address; HELDOUT_REGISTRY, else working/registry"),
]
Model = Annotated[
    str | None, typer.Option(metavar="MODEL", help="model that the decision is a version of; its own name if left out")
]


@command("python run.py registry list", group=registry, name="list")
def list_versions(store: Place = None) -> None:
    """List all versions of all models."""
    from heldout.serve.store import Store

    opened, rows = Store(store), []
    for name in opened.names():
        record = opened.read(name)
        for one in record.versions if record else ():
            current = "production" if record and record.production[-1:] == (one.version,) else ""
            score = "" if one.score is None else f"{one.metric} {one.score:.4f}"
            bundle = "" if one.bundle is None else "yes"
            rows.append(
                (f"{name}@{one.version}", current, one.decision, one.seal[:12], score, one.registered[:10], bundle)
            )
    if not rows:
        print("No version yet. Next: python run.py registry promote NAME")
        return
    print_table("Versions", ("version", "alias", "decision", "seal", "score", "registered", "bundle"), rows)


@command("python run.py registry promote frac1", group=registry)
def promote(
    name: Annotated[str, typer.Argument(metavar="NAME", help="a sealed decision, or a version such as frac1@2")],
    model: Model = None,
    store: Place = None,
) -> None:
    """Put a version into production; services of MODEL@production switch to it."""
    from heldout.serve.registry import promote, split
    from heldout.serve.store import Store

    audit = _audit_log()
    one = promote(name, model, Store(store))
    _note(audit, "promote", model or name, one)
    parts = split(name)
    key = parts[0] if parts else (model or name)
    print(f"  {key}@production is {key}@{one.version}: {one.decision}, seal {one.seal[:12]}")
    finish(f"{key}.json in the registry", f"serve {key}@production")


@command("python run.py registry push frac1 --store s3://bucket/models", group=registry)
def push(
    name: Annotated[str, typer.Argument(metavar="NAME", help="a sealed decision, or the folder of its bundle")],
    model: Model = None,
    store: Place = None,
) -> None:
    """Put the bundle of a decision into the registry, for machines that have nothing else.

    A service of MODEL@production there fetches it, checks every hash, and proves that it predicts what was validated. A
    bundle holds the images of the reference cases: treat the registry like the dataset.
    """
    from heldout.deliver.kernel.bundle import is_bundle, read_bundle
    from heldout.files import home
    from heldout.serve.bundle import write
    from heldout.serve.registry import push
    from heldout.serve.store import Store

    opened, audit, folder = Store(store), _audit_log(), Path(name)
    if not is_bundle(name):
        from heldout.blend.verify import open_decision

        folder = home() / "working" / "bundles" / name
        write(open_decision(name), folder)
    one = push(read_bundle(folder), model, opened)
    _note(audit, "push", model or one.decision, one)
    key = model or one.decision
    print(f"  {key}@{one.version}: {one.decision}, seal {one.seal[:12]}, bundle {(one.bundle or '')[:12]}")
    there = f" --store {shlex.quote(store)}" if store else ""
    finish(f"{key}.json in the registry", f"registry promote {key}@{one.version}{there}")


@command("python run.py registry rollback frac1", group=registry)
def rollback(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="a model of the registry")], store: Place = None
) -> None:
    """Put the version back into production that was so before."""
    from heldout.serve.registry import rollback
    from heldout.serve.store import Store

    audit = _audit_log()
    one = rollback(model, Store(store))
    _note(audit, "rollback", model, one)
    print(f"  {model}@production is {model}@{one.version}: {one.decision}, seal {one.seal[:12]}")


def _audit_log() -> AuditLog:
    """The audit log of the service, where a setting names one."""
    from heldout.serve.audit import AuditLog

    if importlib.util.find_spec("pydantic_settings") is None:  # a machine that serves nothing
        return AuditLog(None)
    from heldout.serve.settings import read_settings

    return AuditLog(read_settings().audit_log)


def _note(audit: AuditLog, event: str, model: str, one: VersionRecord) -> None:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # of a container, whose user has no name
        user = str(os.getuid())
    facts = {"model": model.partition("@")[0], "version": one.version, "decision": one.decision, "seal": one.seal}
    audit.write(event, user=user, **facts)
