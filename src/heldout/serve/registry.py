"""Sealed decisions as versions of a model, ``frac1@3``, and which of them is ``@production``.

A version names a decision and its seal. The decision lies on the machine that serves it, or the registry holds its
bundle.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heldout.blend.decision import Decision, blend_folder, check_name, read_decision
from heldout.errors import UserError
from heldout.serve.store import ModelRecord, Store, VersionRecord

if TYPE_CHECKING:
    from heldout.deliver.kernel.bundle import Bundle

PRODUCTION = "production"
_APART = "start another service for it"


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
        bundle: Hash by which its bundle is fetched from the registry; None where the decision lies on this machine.
    """

    decision: str
    served_as: tuple[str, ...]
    seal: str | None = None
    bundle: str | None = None


def resolve(name: str, store: Store | None = None) -> Target:
    """The decision behind a name: of ``frac1@3`` and ``frac1@production`` the registered one, else the name itself.

    The decision of this machine is taken where it has the seal, else the bundle that the registry holds.

    Raises:
        UserError: there is no such model or version, or neither this machine nor the registry has the decision.
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
    is_here = (blend_folder(one.decision) / "decision.json").is_file() and read_decision(one.decision).seal == one.seal
    if not is_here and one.bundle is None:
        remedy = f"run `python run.py registry push {one.decision} --model {parts[0]}` on the machine that has it"
        raise UserError(
            f"{name} is the decision {one.decision} with the seal {one.seal[:12]}, which is not the one here, and the "
            f"registry has no bundle of it: {remedy}"
        )
    return Target(one.decision, (name,), one.seal, None if is_here else one.bundle)


def resolve_all(names: Sequence[str], place: str | None) -> tuple[Target, ...]:
    """What is to be served; a decision that is asked for by several names is one.

    Raises:
        UserError: the registry has no such version or not its decision, or they cannot be served together.
    """
    store = Store(place) if any(map(split, names)) else None
    found: dict[str, Target] = {}
    for one in (resolve(name, store) for name in dict.fromkeys(names)):
        other = found.get(one.decision, Target(one.decision, ()))
        if other.seal and one.seal and other.seal != one.seal:
            raise UserError(f"{other.served_as[0]} and {one.served_as[0]} are versions of one decision: {_APART}")
        found[one.decision] = Target(
            one.decision, other.served_as + one.served_as, other.seal or one.seal, other.bundle or one.bundle
        )
    targets = tuple(found.values())
    if len(targets) > 1 and (bundled := [one for one in targets if one.bundle]):
        raise UserError(f"{bundled[0].served_as[0]} comes as a bundle, and a service holds one of them alone: {_APART}")
    return targets


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
    key = parts[0] if parts is not None else (model or name)
    if parts is None:
        check_name(key)
        if not (blend_folder(name) / "decision.json").is_file():
            raise UserError(f"there is no blend {name!r}: name a sealed decision, or a version such as {name}@2")
        decision = read_decision(name)
        _check_sealed(decision)
    with store.lock():
        record = store.read(key)
        if parts is not None:
            if record is None:
                raise UserError(f"the registry {store.place} has no model {key!r}: promote a sealed decision first")
            if parts[1] == PRODUCTION:
                raise UserError(f"{name} is in production: name a version, such as {key}@1")
            one = record.version(int(parts[1]))
        else:
            record, one = _with_version(record or ModelRecord.model_validate({"name": key}), decision)
        if record.production[-1:] != (one.version,):
            record = record.model_copy(update={"production": (*record.production, one.version)})
        store.write(record)
    return one


def push(bundle: Bundle, model: str | None = None, store: Store | None = None) -> VersionRecord:
    """Put a verified bundle into the store, so that machines which have only the store serve it.

    A decision that is no version yet becomes the next one; what is in production stays.

    Args:
        bundle: The bundle, as `run.py bundle` wrote it.
        model: Model that the decision is a version of; by default that of its own name.
        store: The registry.

    Raises:
        UserError: the decision is not sealed, or the store cannot be written.
    """
    from heldout.serve.bundle_store import send

    store, key = store or Store(), model or bundle.decision.name
    check_name(key)
    _check_sealed(bundle.decision)
    digest = send(bundle, store)
    with store.lock():
        record = store.read(key) or ModelRecord.model_validate({"name": key})
        record, one = _with_version(record, bundle.decision)
        one = one.model_copy(update={"bundle": digest})
        versions = (one if other.version == one.version else other for other in record.versions)
        store.write(record.model_copy(update={"versions": tuple(versions)}))
    return one


def _check_sealed(decision: Decision) -> None:
    if decision.seal is None:
        raise UserError(f"{decision.name} is not sealed: run `python run.py freeze {decision.name}` first")


def _with_version(record: ModelRecord, decision: Decision) -> tuple[ModelRecord, VersionRecord]:
    """The model with a version of the decision, and that version; the same seal is the same version."""
    for one in record.versions:
        if one.seal == decision.seal:
            return record, one
    new = VersionRecord.model_validate(
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
    return record.model_copy(update={"versions": (*record.versions, new)}), new


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
