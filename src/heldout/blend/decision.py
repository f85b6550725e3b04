"""A decision: which fits, how weighted and cut, on which folds and data, and what that scored. Sealed, it is final."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter

from heldout import files
from heldout.blend.mixing import counting, narrow
from heldout.blend.records import (
    OF_MAP,
    WHOLE,
    Abstention,
    Calibration,
    DecisionMember,
    DecisionScore,
    Dropped,
    FeatureRef,
    FirstStageRef,
    Mixing,
    Pooling,
    Postprocess,
    Presence,
    Reference,
    Row,
    SearchRecord,
    Spatial,
    describe_member,
)
from heldout.config.legacy import first_names
from heldout.data.levels import CASE
from heldout.errors import UserError
from heldout.records import parse_object, parse_value, read_bytes
from heldout.tasks.finder import Finder
from heldout.train.runs import run_folder

if TYPE_CHECKING:
    from heldout.blend.members import Member
    from heldout.blend.session import Session

SCHEMA = 2
Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What is shipped.

    Attributes:
        name: Name of the blend, or spec of the experiment.
        kind: ``classification``, ``segmentation`` or ``regression``.
        classes: Names of the classes, or of the numbers of a regression.
        exclusive: Classes exclude each other.
        metric: Name of the score.
        members: What is blended, with the hashes of all fits.
        thresholds: Smallest value 0 ... 255 that counts as a class: of a voxel's probability, or of the case's,
            calibrated; empty where there are several exclusive classes.
        score: What it scored; empty for an experiment's plain mean.
        spatial: How components of every class are chosen; empty where the thresholds alone make the mask.
        presence: How the case scores of a segmentation are mixed.
        calibration: Of the case scores.
        mixing: How the probabilities of classifiers are put together; on disk only where not by their weighted mean.
        pooling: How the cases of a study or patient become one; on disk only where these are scored.
        postprocess: The experiment's own last step; on disk only where there is one.
        abstention: When a case is left to people; on disk only where there is a cut.
        features: What held-out images look like to a network; on disk only where stored.
        finder: How detections are found in the map; on disk only where there are any.
        notes: What a reader of the score should know, such as seeds that are missing.
        folds: Finished folds it depends on.
        dataset: Name of the dataset.
        fold_hash: SHA-256 of the fold table.
        data_hash: SHA-256 of what the cases are.
        search: How it was tuned; empty for an experiment's plain mean.
        tables: SHA-256 of the blend's own tables.
        digest: SHA-256 of all of the above, as blending wrote it.
        reference: Reference predictions, ``kept`` on disk; None until frozen.
        sealed_at: When it was frozen, UTC.
        seal: SHA-256 of all the rest; None until frozen.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="forbid", populate_by_name=True)

    schema_version: Annotated[int, Field(alias="schema")] = SCHEMA
    name: str
    kind: str
    classes: tuple[str, ...]
    exclusive: bool
    metric: str
    members: list[DecisionMember]
    thresholds: dict[str, int]
    folds: list[int]
    dataset: str
    fold_hash: str
    data_hash: str
    score: DecisionScore = field(default_factory=DecisionScore)
    spatial: dict[str, Spatial] = field(default_factory=dict)
    presence: Presence = field(default_factory=Presence)
    calibration: Calibration = field(default_factory=Calibration)
    mixing: Mixing = field(default_factory=Mixing)
    pooling: Pooling = field(default_factory=Pooling)
    postprocess: Postprocess = field(default_factory=Postprocess)
    abstention: Abstention = field(default_factory=Abstention)
    features: FeatureRef = field(default_factory=FeatureRef)
    finder: Finder | None = None
    notes: list[str] = field(default_factory=list)
    search: SearchRecord = field(default_factory=SearchRecord)
    tables: dict[str, str] = field(default_factory=dict)
    digest: str | None = None
    reference: Annotated[Reference | None, Field(alias="kept")] = None
    sealed_at: str | None = None
    seal: str | None = None

    @property
    def is_blend(self) -> bool:
        """Whether this is a tuned blend, not an experiment's plain mean."""
        return bool(self.search)

    @property
    def folder(self) -> Path:
        """Where the blend, or the experiment's run, lies."""
        return blend_folder(self.name) if self.is_blend else run_folder(self.name)

    @property
    def searched(self) -> list[DecisionMember]:
        """The members whose weights were searched: those that freezing dropped too, in their places."""
        members = list(self.members)
        for one in self.search.dropped:
            members.insert(one.place, one.member)
        return members

    @property
    def predictors(self) -> list[DecisionMember | FirstStageRef]:
        """Everything whose networks predict: the members, each after the first stage that it depends on."""
        return [one for member in self.members for one in (member.first_stage, member) if one]

    @property
    def weights(self) -> Row:
        """Thousandth of every member that has a weight."""
        return tuple(weight for weight, _ in self.weighted(self.members))

    @property
    def rows(self) -> tuple[Row, ...]:
        """Thousandths of these members, one row for all classes or one per class."""
        return self.mixing.rows(self.weights)

    def weighted(self, values: Sequence[Value]) -> list[tuple[int, Value]]:
        """Thousandth and value of every member that has a weight; ``values`` are those of all members."""
        pairs = zip(self.members, values, strict=True)
        return [(round(member.weight * WHOLE), value) for member, value in pairs if member.weight is not None]

    @property
    def shares(self) -> tuple[int, ...]:
        """Thousandths of the map's presence scores and of :attr:`presence_sources`; empty where none is mixed."""
        if not self.presence:
            return ()
        return tuple(round(self.presence.shares[name] * WHOLE) for name in (*OF_MAP, *self.presence_sources))

    @property
    def presence_sources(self) -> dict[str, int]:
        """What classifies whole cases beside segmentations: second heads, then classifications; by name, its member."""
        if self.kind != "segmentation":
            return {}
        named = [(member.name, number, member) for number, member in enumerate(self.members)]
        heads = {f"{name}/head": number for name, number, member in named if member.two_heads}
        return heads | {name: number for name, number, member in named if member.weight is None}

    def without_idle(self) -> Decision:
        """The decision without members that have no weight and no share of the presence scores."""
        shares, weights = self.presence.shares, {m.name: m.weight for m in self.members if m.weight is not None}
        counted = {list(weights)[number] for number in counting(self.mixing, list(weights.values()))}
        counted |= {self.members[0].name} if self.postprocess else set()  # it has the hook
        idle = [
            Dropped(place=place, member=one)
            for place, one in enumerate(self.members)
            if one.name not in counted and not any(shares.get(name) for name in (one.name, f"{one.name}/head"))
        ]
        if not idle:
            return self
        kept = [member for member in self.members if all(member is not one.member for one in idle)]
        used = [number for number, name in enumerate(weights) if any(name == one.name for one in kept)]
        search = self.search.model_copy(update={"dropped": tuple(idle)})
        notes = [*self.notes, *(f"{one.member.name} has no weight and was dropped" for one in idle)]
        smaller = replace(self, members=kept, mixing=narrow(self.mixing, used), search=search, notes=notes)
        return replace(smaller, digest=smaller.compute_digest())

    @property
    def composition(self) -> str:
        """The members in words: ``0.40 exp911 + 0.60 exp912, --method rank, presence with exp914``."""
        how = f", --method {self.mixing.method}" if self.mixing else ""
        weighted = [f"{m.weight:.2f} {m.name}" for m in self.members if m.weight is not None]
        sources = list(self.presence_sources) if self.presence else []
        return " + ".join(weighted) + how + (f", presence with {', '.join(sources)}" if sources else "")

    @property
    def levels(self) -> tuple[int, ...]:
        """Thresholds in the order of the classes; empty where classes are exclusive."""
        return tuple(self.thresholds[name] for name in self.classes) if self.thresholds else ()

    @property
    def identity(self) -> str:
        """SHA-256 of what decides about predictions and what they depend on: the seal of a blend."""
        if self.seal is not None:
            return self.seal
        names = ["name", "members", "thresholds", "spatial", "presence", "calibration", "metric"]
        names += ["fold_hash", "data_hash", "mixing", "pooling", "postprocess", "abstention"]
        names += ["finder"] if self.finder else []
        stored = self.to_json()  # without what is empty of the later ones, so that earlier decisions keep their hash
        return files.sha256_json(first_names({name: stored[name] for name in names if name in stored}))

    def to_json(self) -> dict[str, Any]:
        """Plain values under their names on disk."""
        stored = _ON_DISK.dump_python(self, mode="json", by_alias=True, exclude_unset=True)
        for one in (stored, *stored["search"].get("by_fold", {}).values()):
            # decisions of before these existed have the same hash
            for later in ("mixing", "pooling", "abstention", "features"):
                if not one.get(later):
                    one.pop(later, None)
            if one.get("postprocess") is None:
                one.pop("postprocess", None)
        if not self.postprocess:
            stored.pop("postprocess", None)
        if self.finder is None:
            stored.pop("finder", None)
        return stored

    def compute_digest(self) -> str:
        """SHA-256 of what blending decided: every field but those that freezing fills."""
        return _digest(self.to_json())

    def compute_seal(self) -> str:
        """SHA-256 of every field but the seal."""
        return _seal(self.to_json())


_ON_DISK = TypeAdapter(Decision)


def blend_folder(name: str) -> Path:
    """Folder of a blend."""
    return files.home() / "working" / "blends" / name


def check_name(name: str) -> None:
    """Refuse names that are not a folder name, or could be taken for an experiment.

    Raises:
        UserError: saying what a name may be.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name) or re.match(r"exp\d{3}", name):
        raise UserError(
            f"{name!r} cannot name a blend: use letters, digits, '-' and '_', and no name like an experiment's"
        )


def save_decision(decision: Decision) -> Path:
    """Write ``decision.json``."""
    if decision.seal is None:
        decision = replace(decision, digest=decision.compute_digest())
    path = blend_folder(decision.name) / "decision.json"
    files.write_json(path, decision.to_json())
    return path


def read_decision(name: str) -> Decision:
    """Read a blend's decision.

    Raises:
        UserError: it is missing, damaged, or was edited after it was sealed.
    """
    path, remedy = blend_folder(name) / "decision.json", "restore it, or blend again under a new name"
    decision = parse_decision(read_bytes(path), str(path), remedy)
    if decision.digest is None:
        raise UserError(f"{path} was edited after it was written: {remedy}")
    if decision.name != name:
        raise UserError(f"{path} belongs to the blend {decision.name!r}: a blend cannot be renamed or copied")
    return decision


def parse_decision(data: bytes, place: str, remedy: str) -> Decision:
    """The decision in the bytes of a JSON file, checked against its digest and seal as they were read.

    Args:
        data: What :meth:`Decision.to_json` gave, as JSON.
        place: Where it was read, in words.
        remedy: What to do about a damaged one, in words.

    Raises:
        UserError: it is not a decision of this version, or was edited.
    """
    stored = parse_object(data, place, SCHEMA, remedy)
    decision = parse_value(data, place, Decision, remedy)
    require_unedited(decision, stored, place, remedy)
    return decision


def require_unedited(decision: Decision, stored: dict[str, Any], place: str, remedy: str) -> None:
    """Refuse a decision whose digest or seal is not that of its fields as they were ``stored``.

    Raises:
        UserError: it was edited.
    """
    sealed = decision.seal is not None
    wrong = decision.digest is not None and _digest(stored) != decision.digest
    if wrong or (sealed and _seal(stored) != decision.seal):
        raise UserError(f"{place} was edited after it was {'sealed' if sealed else 'written'}: {remedy}")


def _digest(stored: dict[str, Any]) -> str:
    later = ("digest", "kept", "sealed_at", "seal")
    return files.sha256_json({key: value for key, value in stored.items() if key not in later})


def _seal(stored: dict[str, Any]) -> str:
    return files.sha256_json({key: value for key, value in stored.items() if key != "seal"})


def load_decision(name: str, session: Session | None = None) -> Decision:
    """Decision of a blend, or of an experiment: the plain mean of its finished folds and seeds, cut at one half.

    Args:
        name: Name of a blend or spec of an experiment.
        session: What the command has opened already.

    Raises:
        UserError: there is no such blend or run, or its files changed.
    """
    if (blend_folder(name) / "decision.json").exists():
        return read_decision(name)
    if not re.match(r"exp\d{3}", name):
        blends = sorted(path.parent.name for path in blend_folder("x").parent.glob("*/decision.json"))
        known = f"the blends are {', '.join(blends)}" if blends else "there is none yet"
        raise UserError(f"there is no blend {name!r}: {known}; or name an experiment such as exp040")
    from heldout.blend.members import load_member
    from heldout.predict.prediction import HALF

    member = load_member(name, session)
    multiclass = member.dataset.exclusive and len(member.dataset.classes) > 1
    thresholds = {} if multiclass or member.kind == "regression" else dict.fromkeys(member.dataset.classes, HALF)
    decision = decision_of([member], [WHOLE], thresholds, name=member.name, metric=member.metric)
    if (level := getattr(member.config, "level", CASE)) != CASE:
        decision = replace(decision, pooling=Pooling(level=level))
    if not member.two_heads:
        return decision
    # as in training, the scores of its cases are those of the second head
    shares = dict.fromkeys(OF_MAP, 0.0) | dict.fromkeys(decision.presence_sources, 1.0)
    return replace(decision, presence=Presence(metric=None, shares=shares, scores={}))


def decision_of(
    members: Sequence[Member],
    weights: Sequence[int],
    thresholds: dict[str, int],
    *,
    name: str,
    metric: str,
    labels: Sequence[Member] = (),
) -> Decision:
    """Decision over opened members, with the hashes of all their parts.

    Args:
        members: What is blended.
        weights: Their thousandths.
        thresholds: Threshold of each class.
        name: Name of the decision.
        metric: Name of the score.
        labels: Classifications beside segmentations, for presence alone.
    """
    first = members[0]
    return Decision(
        name=name,
        kind=first.kind,
        classes=first.dataset.classes,
        exclusive=first.dataset.exclusive,
        metric=metric,
        members=[
            *(describe_member(member, weight) for member, weight in zip(members, weights, strict=True)),
            *(describe_member(member, None) for member in labels),
        ],
        thresholds=thresholds,
        finder=_shipped(first.config.finder, metric),
        folds=list(first.folds),
        dataset=first.config.dataset or first.config.source,
        fold_hash=first.dataset.fold_hash,
        data_hash=first.dataset.data_hash,
        notes=[note for member in (*members, *labels) for note in member.notes],
    )


def _shipped(finder: Finder | None, metric: str) -> Finder | None:
    """A finder that leaves out what a score of kept detections does not count."""
    from heldout.metrics.registry import get_metric

    if finder is None or get_metric(metric).uses != "kept_detections":
        return finder
    return finder.model_copy(update={"kept": True})
