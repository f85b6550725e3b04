"""Experiments as data: strict, typed, frozen, hashable configurations that inherit by bare assignment.

An experiment is a class in ``exps/expNNN.py``. Its fields are data, checked when the file is imported; its hooks are
methods (``build_model``, ``build_loss``, ...) that a task class fills and an experiment may override. An
instance is one way to run it: plain, under a budget (``exp040@quick``), or with overrides (``exp040@quick+lr=0.001``).
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import textwrap
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from heldout.config.code import POSTPROCESS
from heldout.config.contradictions import check_fields
from heldout.config.legacy import FIRST_HOOKS, today_field, today_identity
from heldout.config.meta import ExperimentMeta
from heldout.config.texts import as_declared, compact, first_error, nearest, parse, split
from heldout.errors import UserError
from heldout.files import sha256_json

LONGEST_NAME = 200  # bytes: a run's name is the name of its folder


class BaseConfig(BaseModel, metaclass=ExperimentMeta):
    """What every experiment has: data, folds, preparation, training, prediction and score."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        validate_default=True,
        protected_namespaces=(),
        defer_build=True,  # of the many task classes, a command makes few
    )

    # Data and folds
    dataset: str = Field("", description="folder of the dataset below input/ or $HELDOUT_DATA")
    source: str = Field("", description="layout of the dataset: a module of heldout.data.sources")
    source_options: dict[str, str | int | float | bool] = Field({}, description="settings of the source")
    skip_bad: bool = Field(False, description="set unreadable cases aside, in a list with reasons, instead of stopping")
    near_duplicates: bool = Field(True, description="keep near-duplicate cases in one group, not only exact ones")
    test_fraction: float = Field(
        0.15, ge=0, lt=0.9, description="fraction of patients held back as the locked test part"
    )
    fold_count: int = Field(5, ge=2, description="number of folds")
    fold_seed: int = Field(0, description="seed of the test split and the folds")
    stratify: tuple[str, ...] = Field(
        (), description='columns to balance besides the labels: "site", or "age:5" for numbers in five bins'
    )
    group: tuple[str, ...] = Field(
        (), description='columns whose every value stays in one fold or part, besides the patient: "site"'
    )
    fold_by: str | None = Field(
        None, description='column whose every value becomes a fold, such as "site": leave-one-site-out'
    )
    folds_file: str | None = Field(
        None, description="table of ids and folds below the dataset's folder or input/; checked for leaks"
    )
    accept_leaks: str = Field(
        "", description="reason to accept a folds_file with groups in several folds; stated beside every score"
    )
    folds: tuple[int, ...] | None = Field(None, min_length=1, description="folds to train; None is all")
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="seeds to train, each on every fold")
    case_fraction: float = Field(1.0, gt=0, le=1, description="fraction of a fold's training patients to use")

    extra: str = Field("", description="dataset whose labeled cases train in every fold and are never scored")
    extra_source: str = Field("", description="its layout; that of the dataset if empty")
    extra_options: dict[str, str | int | float | bool] = Field({}, description="settings of that layout")

    # Preparation
    channels: int = Field(1, ge=1, le=128, description="image channels")  # OpenCV takes no more
    spacing: tuple[float, float, float] | None = Field(
        None, description="voxel size in mm that volumes are resampled to; None keeps their own"
    )
    crop: Literal["none", "nonzero"] = Field("none", description="cut volumes to the box of their nonzero voxels")
    image_size: tuple[int, ...] | None = Field(
        None, description="(H, W) or (X, Y, Z) of a prepared case; None keeps its own"
    )
    resize: Literal["stretch", "letterbox"] = Field(
        "letterbox", description="letterbox keeps the aspect ratio and pads to image_size; stretch does not"
    )
    normalize: Literal["zscore", "percentile", "window", "unit"] = Field(
        "percentile",
        description="intensities: zscore per case; percentile or window scaled to 0 ... 1; unit divides by the type's "
        "largest value",
    )
    percentiles: tuple[float, float] = Field((1.0, 99.0), description="percentiles that become 0 and 1")
    window: tuple[float, float] = Field((40.0, 80.0), description="(center, width) in the image's own units")
    windows: tuple[tuple[float, float], ...] = Field(
        (), description="several windows of a one-channel image, each of which becomes a channel; () uses window"
    )

    # First stage of a cascade
    first_stage: str | None = Field(
        None, description="segmentation experiment whose out-of-fold maps are an input; under the same budget, if any"
    )
    first_stage_use: Literal["channel", "crop"] = Field(
        "channel", description="channel appends the maps to the image; crop cuts the image where they are highest"
    )
    first_stage_fraction: float = Field(
        0.5, gt=0, le=1, description="side lengths of that crop, as fractions of the case's"
    )

    # Sampling and augmentation
    patch_size: tuple[int, ...] | None = Field(None, description="training patch; None is the whole prepared case")
    foreground_fraction: float = Field(0.5, ge=0, le=1, description="fraction of patches centered on the foreground")
    positive_fraction: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="fraction of training samples drawn from positive cases; None keeps their natural frequency",
    )
    hard_negative_fraction: float = Field(
        0.0, ge=0, le=1, description="fraction of the negative samples drawn from the hardest training negatives"
    )
    mine_every: int = Field(5, ge=1, description="epochs between two rounds of hard-negative mining")
    mine_cases: int | None = Field(
        None, ge=1, description="number of negatives scored per mining round, drawn at random; None is all"
    )
    hard_negative_quantile: float = Field(
        0.8, ge=0, lt=1, description="quantile of the scores above which a negative counts as hard"
    )
    augment: Literal["none", "light", "strong", "appearance", "nnunet"] = Field(
        "light",
        description="appearance moves as light does, with the intensity transforms of strong; nnunet is for volumes",
    )

    # Optimization
    warm_start: str | None = Field(
        None,
        description="experiment whose weights of the same fold and seed initialize this one; same budget, if any",
    )
    pseudo_labels: str | None = Field(
        None, description="name of a set of pseudo-labels, made by `pseudo`, to train on as well"
    )
    epochs: int = Field(20, ge=1, description="number of training epochs")
    steps_per_epoch: int | None = Field(None, ge=1, description="batches per epoch; None is one pass over the cases")
    batch_size: int = Field(16, ge=1, le=8192, description="samples per batch")
    accumulate: int = Field(1, ge=1, description="batches per optimizer step")
    optimizer: Literal["adamw", "adam", "sgd"] = Field(
        "adamw", description="optimizer; adam adds the decay to the gradient, sgd has Nesterov momentum 0.9"
    )
    lr: float = Field(1e-3, gt=0, description="peak learning rate")
    weight_decay: float = Field(1e-2, ge=0, description="weight decay of the optimizer")
    schedule: Literal["cosine", "one_cycle", "constant", "step", "plateau"] = Field(
        "cosine",
        description="learning-rate schedule; plateau falls where the training loss no longer does, or with "
        "validate_every by the fold's own score, which is marked",
    )
    schedule_factor: float = Field(0.1, gt=0, lt=1, description="factor of the rate at each fall of step and plateau")
    schedule_every: int | None = Field(
        None, ge=1, description="epochs from one fall of step to the next; None is a third of all"
    )
    schedule_patience: int = Field(2, ge=0, description="epochs, or validations, without gain before plateau falls")
    warmup_fraction: float = Field(0.05, ge=0, lt=1, description="fraction of the steps with a linear warm-up")
    gradient_clip: float | None = Field(1.0, gt=0, description="largest norm of the gradient; None does not clip")
    ema_decay: float | None = Field(
        0.99,
        gt=0,
        lt=1,
        description="decay of the exponential moving average of the weights per optimizer step; None keeps no average",
    )
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = Field(
        "auto", description="precision of training; auto takes bf16 where the device is fast at it"
    )
    channels_last: bool = Field(True, description="channels-last memory layout of networks and batches")
    measure_speed: bool = Field(
        False,
        description="measure training steps in both memory layouts, if precision is auto in both precisions, and if "
        "compiling may pay, compiled; every fit takes the fastest, which is recorded",
    )
    compile: bool = Field(False, description="compile the network with torch.compile")
    workers: int = Field(2, ge=0, description="data loading processes; results do not depend on it")
    threads: int | None = Field(
        None, ge=1, le=1024, description="CPU threads of a fit; None takes as many as the first fit of the run had"
    )

    # Validation and checkpoints
    validate_every: int | None = Field(
        None, ge=1, description="epochs between validations; None validates only at the end"
    )
    checkpoint: Literal["last", "best"] = Field(
        "last", description="last keeps the final weights; best is chosen by the fold's own score, and marked as such"
    )
    early_stopping: int | None = Field(None, ge=1, description="validations without improvement before training stops")

    # Prediction and score
    predict_precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = Field(
        "auto", description="precision of prediction; auto takes 16-mixed on GPUs and 32-true on CPUs"
    )
    predict_batch_size: int = Field(16, ge=1, le=8192, description="images or windows per batch in prediction")
    tta: str = Field(
        "",
        description="axes flipped at test time: any of 'hv' for images, of 'xyz' for volumes; r exchanges the rows and "
        "columns of images, so that 'hvr' has all quarter turns and mirror images",
    )
    tta_scales: tuple[float, ...] = Field(
        (1.0,), min_length=1, description="factors on the size of a case at test time, whose predictions are averaged"
    )
    overlap: float = Field(0.5, ge=0, lt=1, description="overlap of sliding windows, as a fraction of the window")
    metric: str = Field("", description="the score that ranks: a name of heldout.metrics")
    submission: Literal["csv", "rle", "masks", "detections"] = Field(
        "csv", description="csv of probabilities, csv of run-length masks, zip of mask files, or csv of detections"
    )
    rle: Literal["columns", "rows"] | None = Field(
        None, description="how run lengths count pixels; None as the training masks were counted, else columns"
    )
    rle_start: Literal[0, 1] | None = Field(
        None, description="number of the first pixel in run lengths; None as in the training masks, else 1"
    )
    sample_submission: str | None = Field(
        None, description="file below the dataset's folder that the submission must match"
    )
    competition: str = Field(
        "", pattern="^[a-z0-9-]*$", description="Kaggle competition, as in the address of its page: submit --kaggle"
    )

    # Scaled-down ways to run
    budgets: dict[str, dict[str, Any]] = Field(
        {}, description="named sets of overrides for --budget, merged with the parent's; None removes one"
    )
    search_space: dict[str, Any] = Field(
        {},
        description='what `search` tries: {"lr": ("log", 1e-4, 1e-2), "augment": ["light", "strong"]}; {} is a default',
    )

    outside_identity: ClassVar[frozenset[str]] = frozenset(
        {
            *("budgets", "search_space", "workers", "folds", "seeds", "rle", "rle_start", "competition"),
            *("postprocess_choices", "postprocess_by", "level"),
        }
    )
    # not set, it is left out of identities, whose recorded hashes stay what they were before there was such a field
    left_out_unset: ClassVar[frozenset[str]] = frozenset({"threads"})
    dimensions: ClassVar[int]

    _budget: str | None = PrivateAttr(None)
    _overrides: tuple[tuple[str, Any], ...] = PrivateAttr(())

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Check the fields of an experiment as soon as the class exists, under every budget too."""
        super().__pydantic_init_subclass__(**kwargs)
        if cls.__module__.startswith("heldout."):
            return
        try:
            budgets = cls().budgets
            for budget in budgets:
                cls.create(budget=budget)
        except ValidationError as error:
            raise UserError(f"{cls.__module__}: {first_error(error)}") from None

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        check_fields(self)
        return self

    @classmethod
    def create(cls, budget: str | None = None, overrides: dict[str, Any] | None = None) -> Self:
        """Make an instance under a budget and with overrides on top.

        Raises:
            UserError: unknown budget or field, or a value that does not fit.
        """
        declared: dict[str, dict[str, Any]] = cls.model_fields["budgets"].default
        if budget is not None and budget not in declared:
            names = ", ".join(declared) or "none"
            name = cls.__module__.rpartition(".")[2]
            raise UserError(f"{name} declares no budget {budget!r}: it has {names}")
        where = cls.__module__ if budget is None else f"{cls.__module__} under its budget {budget!r}"
        own = {today_field(key, where): value for key, value in (overrides or {}).items()}
        values = {**declared.get(budget or "", {}), **own}
        for key, value in values.items():
            if key not in cls.model_fields:
                raise UserError(f"{where}: unknown field {key!r}{nearest(key, cls.model_fields)}")
            values[key] = as_declared(value, cls.model_fields[key].annotation)
        try:
            config = cls(**values)
        except ValidationError as error:
            raise UserError(f"{where}: {first_error(error)}") from None
        config._budget = budget
        config._overrides = tuple(sorted((key, values[key]) for key in own))
        return config

    def check_name(self) -> None:
        """Refuse overrides that the run's name cannot carry, as the run could not be found again by it.

        Raises:
            UserError: one of them holds a '/' or a blank, or they are too long for a folder's name.
        """
        name, _, text = self.spec.partition("+")
        if len(self.spec.encode()) > LONGEST_NAME or dict(map(parse, split(text))) != dict(self._overrides):
            raise UserError(
                f"the overrides {text} cannot be part of the name of a run (no '/', no blanks, {LONGEST_NAME} bytes at "
                f"most): make an experiment file exps/exp*.py that changes {name} instead"
            )

    @property
    def spec(self) -> str:
        """Name of this way to run, and of its run folder: ``exp040``, ``exp040@quick``, ``exp040@quick+lr=0.001``."""
        text = self.experiment
        if self._budget:
            text += f"@{self._budget}"
        if self._overrides:
            text += "+" + ",".join(f"{key}={compact(value)}" for key, value in self._overrides)
        return text

    @property
    def experiment(self) -> str:
        """Name of the experiment, that of its file: ``exp040``."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def budget(self) -> str | None:
        """The budget that this instance runs under, or None."""
        return self._budget

    @property
    def overrides(self) -> dict[str, Any]:
        """The fields that ``--set`` gave, and their values."""
        return dict(self._overrides)

    @property
    def title(self) -> str:
        """First line of the docstring of the experiment's file."""
        return (inspect.getdoc(inspect.getmodule(type(self))) or type(self).__name__).splitlines()[0]

    @property
    def flip_axes(self) -> str:
        """Letters that ``tta`` may use, one per spatial axis of the array: rows, columns or x, y, z."""
        return "xyz" if getattr(type(self), "dimensions", 2) == 3 else "vh"

    @property
    def view_axes(self) -> str:
        """Letters that ``tta`` may use: those of :attr:`flip_axes`, and of images ``r``."""
        return self.flip_axes + ("" if self.flip_axes == "xyz" else "r")

    @property
    def fold_list(self) -> tuple[int, ...]:
        """Folds this experiment trains."""
        return tuple(range(self.fold_count)) if self.folds is None else self.folds

    def identity(self) -> dict[str, Any]:
        """What makes two runs comparable: every field that can change a result, the task and the overridden hooks."""
        unset = {name for name in self.left_out_unset if getattr(self, name) is None}
        fields = self.model_dump(mode="json", exclude={*self.outside_identity, *unset})
        return {"task": self.task_name(), "fields": fields, "hooks": self._hooks()}

    def complete(self, recorded: dict[str, Any]) -> dict[str, Any]:
        """An identity, as recorded earlier or of a parent, in today's fields: those it lacks had their default."""
        defaults = self.task_class()().model_dump(mode="json", exclude=set(self.outside_identity))
        recorded = today_identity(recorded, self.task_name())
        return {**recorded, "fields": {**defaults, **recorded["fields"]}}

    def identity_hash(self) -> str:
        """SHA-256 of :meth:`identity`."""
        return sha256_json(self.identity())

    @classmethod
    def task_class(cls) -> type[BaseConfig]:
        """The task class that the experiment subclasses, such as ``Segment2D``."""
        return next(base for base in cls.__mro__ if not base.__module__.startswith("exps"))

    @classmethod
    def task_name(cls) -> str:
        """Name of :meth:`task_class`."""
        return cls.task_class().__name__

    @classmethod
    def parent_name(cls) -> str | None:
        """Name of the experiment this one differs from, or None for the first of its family."""
        parent = cls.__mro__[1].__module__
        return parent.rpartition(".")[2] if parent.startswith("exps.") else None

    @classmethod
    def root_name(cls) -> str:
        """Name of the first experiment of the family: the ancestor that subclasses a task."""
        return [base for base in cls.__mro__ if base.__module__.startswith("exps.")][-1].__module__.rpartition(".")[2]

    @classmethod
    def _hooks(cls) -> dict[str, str]:
        """Hash of the syntax of every method of an experiment file that trains or predicts; comments do not count."""
        hooks: dict[str, str] = {}
        for base in reversed(cls.__mro__):
            if base.__module__.startswith("exps."):
                for name, member in vars(base).items():
                    if inspect.isfunction(member) and name not in POSTPROCESS:
                        tree = ast.parse(textwrap.dedent(inspect.getsource(member)))
                        if name in FIRST_HOOKS:
                            tree.body[0].name = FIRST_HOOKS[name]  # type: ignore[attr-defined]
                        hooks[name] = hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]
        return hooks

    def __hash__(self) -> int:
        return hash(self.identity_hash())
