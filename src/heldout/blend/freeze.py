"""Sealing a decision: from then on nothing it depends on may change."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from heldout import files
from heldout.blend.abstention import tune_abstention
from heldout.blend.decision import blend_folder, read_decision, save_decision
from heldout.blend.features import store_features
from heldout.blend.reference import store_reference
from heldout.blend.session import Session
from heldout.blend.verify import check_maps, check_parts, refuse_changes, verify
from heldout.data.split import check_split
from heldout.errors import UserError, note
from heldout.tasks.base import load_task


def freeze(name: str, abstain: float | None = None) -> Path:
    """Seal a blend: verify all its parts, keep a few predictions to prove it by, and close the file.

    Freezing a sealed blend again only verifies it.

    Args:
        name: Name of the blend.
        abstain: Risk that the answered cases may have; the others are left to people. None answers every case.

    Returns:
        Path of ``decision.json``.

    Raises:
        UserError: there is no such blend, it is sealed and ``abstain`` is given, no cut keeps to that, a part changed,
            its split is not the one that is dealt, or today's code predicts something else.
    """
    if not (blend_folder(name) / "decision.json").exists():
        raise UserError(f"there is no blend {name!r}: make it with `python run.py blend EXPERIMENT... --name {name}`")
    with files.lock(blend_folder(name), "freezing"):
        decision = read_decision(name)
        session = Session()
        if decision.seal is not None:
            if abstain is not None:
                raise UserError(f"{name} is sealed and stays as it is: blend again under a new name for --abstain")
            verify(decision, session)
            return blend_folder(name) / "decision.json"
        config = load_task(decision.members[0].spec)
        refuse_changes(decision, [*check_parts(decision, session), *check_maps(decision)])
        check_split(session.dataset(config), config)
        decision = decision.without_idle()
        for one in decision.search.dropped:
            note(f"{name}: {one.member.name} has no weight and is dropped")
        if abstain is not None:
            decision = replace(decision, abstention=tune_abstention(decision, session, abstain))
        decision = replace(decision, features=store_features(decision, session))
        decision = replace(decision, digest=decision.compute_digest())
        decision = replace(decision, reference=store_reference(decision, session))
        decision = replace(decision, sealed_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        return save_decision(replace(decision, seal=decision.compute_seal()))
