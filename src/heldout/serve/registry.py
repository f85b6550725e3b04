"""Sealed decisions as versions of a model, ``frac1@3``, and which of them is ``@production``.

One JSON file per model in a folder, or below an address such as ``s3://bucket/models`` that fsspec opens. A version
names a decision and its seal; the decision itself must lie on the machine that serves it, and be that one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from heldout.blend.decision import Decision, blend_folder, check_name, load_decision, read_decision
from heldout.errors import UserError
from heldout.serve.store import ModelRecord, Store, VersionRecord

PRODUCTION = "production"


def split(name: str) -> tuple[str, str] | None:
    """Model and version or alias of ``frac1@3``; None of other names, experiments with a budget among them."""
    model, _, version = name.partition("@")
    return (model, version) if version == PRODUCTION or (version.isdigit() and not model.startswith("exp")) else None


@dataclass(frozen=True)
class Target:
    """A decision that is to be served.

    Attributes:
        decision: Its name, or the folder of its bundle.
        served_as: Every name that it was asked for by, such as ``frac1@production``.
        seal: The seal that it must have; None takes what is there.
    """

    decision: str
    served_as: tuple[str, ...]
    seal: str | None = None


def resolve(name: str, store: Store | None = None) -> Target:
    """The decision behind a name: of ``frac1@3`` and ``frac1@production`` the registered one, else the name itself.

    Raises:
        UserError: there is no such model or version, or the decision of that name on this machine has another seal.
    """
    parts = split(name)
    if parts is None:
        return Target(name, (name,))
    store = store or Store()
    record = store.read(parts[0])
    if record is None:
        known = ", ".join(store.names()) or "none yet"
        raise UserError(f"the registry {store.place} has no model {parts[0]!r}: there are {known}")
    if parts[1] == PRODUCTION and not record.production:
        raise UserError(f"no version of {parts[0]} is in production: run `python run.py registry promote {parts[0]}`")
    one = record.version(record.production[-1] if parts[1] == PRODUCTION else int(parts[1]))
    if load_decision(one.decision).seal != one.seal:
        raise UserError(
            f"{name} is the decision {one.decision} with the seal {one.seal[:12]}, which is not the one here: copy it"
        )
    return Target(one.decision, (name,), one.seal)


def resolve_all(names: Sequence[str], place: str | None) -> tuple[Target, ...]:
    """What is to be served; a decision that is asked for by several names is one.

    Raises:
        UserError: the registry has no such version, or its decision is not the one on this machine.
    """
    store = Store(place) if any(map(split, names)) else None
    found: dict[str, Target] = {}
    for one in (resolve(name, store) for name in dict.fromkeys(names)):
        other = found.get(one.decision, Target(one.decision, ()))
        found[one.decision] = Target(one.decision, other.served_as + one.served_as, other.seal or one.seal)
    return tuple(found.values())


def promote(name: str, model: str | None = None, store: Store | None = None) -> VersionRecord:
    """Put a version into production; a sealed decision that is none yet becomes the next one.

    Args:
        name: A sealed decision, or a version such as ``frac1@2``.
        model: Model that the decision is a version of; by default that of its own name.
        store: The registry.

    Raises:
        UserError: there is no such decision or version, or it is not sealed.
    """
    store, parts = store or Store(), split(name)
    if parts is not None and model is not None:
        raise UserError(f"{name} is a version of {parts[0]} already: leave out --model")
    if parts is None:
        check_name(model or name)
        if not (blend_folder(name) / "decision.json").is_file():
            raise UserError(f"there is no blend {name!r}: name a sealed decision, or a version such as {name}@2")
        decision = read_decision(name)
        if decision.seal is None:
            raise UserError(f"{name} is not sealed: run `python run.py freeze {name}` first")
    key = parts[0] if parts is not None else (model or name)
    with store.lock():
        record = store.read(key)
        if parts is not None:
            if record is None:
                raise UserError(f"the registry {store.place} has no model {key!r}: promote a sealed decision first")
            if parts[1] == PRODUCTION:
                raise UserError(f"{name} is in production: name a version, such as {key}@1")
            one = record.version(int(parts[1]))
        else:
            record = record or ModelRecord.model_validate({"name": key})
            found = next((one for one in record.versions if one.seal == decision.seal), None)
            one = found or _next_version(record, decision)
            if found is None:
                record = record.model_copy(update={"versions": (*record.versions, one)})
        if record.production[-1:] != (one.version,):
            record = record.model_copy(update={"production": (*record.production, one.version)})
        store.write(record)
    return one


def _next_version(record: ModelRecord, decision: Decision) -> VersionRecord:
    return VersionRecord.model_validate(
        {
            "version": 1 + max((one.version for one in record.versions), default=0),
            "decision": decision.name,
            "seal": decision.seal,
            "sealed_at": decision.sealed_at,
            "metric": decision.metric,
            "score": decision.score.cross_fitted,
            "registered": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
    )


def rollback(model: str, store: Store | None = None) -> VersionRecord:
    """Put the version into production that was so before the current one.

    Raises:
        UserError: there is no such model, or no version before.
    """
    store = store or Store()
    with store.lock():
        record = store.read(model)
        if record is None or len(record.production) < 2:
            raise UserError(f"{model} has no version that was in production before: see `python run.py registry list`")
        record = record.model_copy(update={"production": record.production[:-1]})
        store.write(record)
    return record.version(record.production[-1])
