"""What the web process and the network processes tell each other. Free of torch, as the web process is."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from heldout.serve.answers import ModelInfo

Kind = Literal["predict", "uncertainty", "gradcam", "stack"]


@dataclass(frozen=True)
class Ask:
    """A request to a network process.

    Attributes:
        kind: What is wanted.
        model: Name of the decision.
        seal: Its seal: what answers is what was chosen, also while another decision of that name takes over.
        request_id: For the log.
        folder: Where the uploads are.
        threshold: Of masks instead of the decision's.
        n_samples: Passes with dropout.
        tta: Axes of flips of uncertainties.
        target: Index of the class to explain; None takes the most probable.
        files: Whether files are wanted.
        maps: Whether maps of the probabilities are among them.
        dicomseg: Whether the mask is wanted as a DICOM segmentation.
        preview: Whether 8 bits for the screen are wanted, of what is not a NIfTI file.
        thumbnail: Whether a small picture is wanted.
        pixel_mm, slice_mm: Of a stack of images, the size of a pixel and the distance of slices.
    """

    kind: Kind
    model: str
    seal: str
    request_id: str
    folder: Path
    threshold: float | None = None
    n_samples: int = 1
    tta: str = ""
    target: int | None = None
    files: bool = True
    maps: bool = True
    dicomseg: bool = False
    preview: bool = False
    thumbnail: bool = False
    pixel_mm: float | None = None
    slice_mm: float | None = None


@dataclass
class Found:
    """What is known of a case; arrays are turned into files already.

    Attributes:
        name: Place of the case in the request.
        scores: Probability of every class, calibrated where the decision says so.
        uncalibrated: The same before calibration; of a regression both are its numbers.
        grade: Number of the class, where the decision has cut points of grades.
        shape: Spatial shape of the case.
        spacing_mm: Size of a voxel; None for images.
        areas: Of every class, voxels of the mask; None of a classification.
        volumes_ml: Of every class; None without a voxel size.
        threshold: Of its masks instead of the decision's; None where they are as sealed.
        detections: Objects that were found, the surest first; None where nothing is detected.
        files: Content by name, such as ``mask.png``.
        preview: For the screen: PNG of an image, NIfTI (gzip) of a DICOM series.
        thumbnail: A small PNG, of a volume its middle axial slice.
        numbers: Further scalars and lists.
        unusual: How the input is unlike the training images.
        measures: What was measured of it.
        abstain: Why the case is left to people; empty where it is answered, None where the decision has no cut.
        warnings: Sentences for the answer.
    """

    name: str
    scores: dict[str, float]
    uncalibrated: dict[str, float]
    shape: tuple[int, ...]
    grade: int | None = None
    spacing_mm: tuple[float, ...] | None = None
    areas: dict[str, int] | None = None
    volumes_ml: dict[str, float] | None = None
    threshold: float | None = None
    detections: list[dict[str, Any]] | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    preview: bytes | None = None
    thumbnail: bytes | None = None
    numbers: dict[str, Any] = field(default_factory=dict)
    unusual: list[str] = field(default_factory=list)
    measures: dict[str, float] = field(default_factory=dict)
    abstain: str | None = None
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Failure:
    """A request that got no answer: an HTTP status and one sentence."""

    status: int
    detail: str


@dataclass(frozen=True)
class Opened:
    """The process is ready: what it serves."""

    models: list[ModelInfo]


@dataclass(frozen=True)
class Reply:
    """The answer to a request.

    Attributes:
        number: Of the request.
        found: An answer for every case, or why there is none.
        batch: Cases that went through the networks with its own.
        device_memory: Bytes of the accelerator in use.
    """

    number: int
    found: list[Found] | Failure
    batch: int = 1
    device_memory: int = 0


@dataclass(frozen=True)
class ShareDone:
    """How much of a request is done, 0 ... 1."""

    number: int
    share: float


def as_text(content: bytes) -> str:
    """A file in a JSON answer."""
    return base64.b64encode(content).decode("ascii")
