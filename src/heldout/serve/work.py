"""What a network process does with a request: read and prepare, predict, and put the answer into files and numbers."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from typing import Any

import numpy as np

from heldout.blend.apply import Blended
from heldout.data.geometry import orientation
from heldout.data.image import Image
from heldout.data.readers import format_of
from heldout.deliver.dicom_seg import check_packages
from heldout.deliver.masks import mask_files, nifti_bytes, png_bytes, uncertainty_file
from heldout.deliver.predict_folder import segmentation_of
from heldout.metrics.overlap import case_dice, count_errors
from heldout.serve import screen
from heldout.serve.messages import Ask, Found
from heldout.serve.model import Case, ReadCase, Served
from heldout.serve.sizes import check_sizes
from heldout.serve.slices import analyze_slices, named, of_class
from heldout.serve.uploads import Refused


def read(served: Served, ask: Ask) -> list[ReadCase]:
    """Read and prepare the case of a request; a stack is read where it is predicted.

    Raises:
        Refused: it holds several cases.
        UserError: a file cannot be read or does not fit.
    """
    if ask.kind == "stack":
        return []
    cases = served.read(ask.folder)
    if len(cases) > 1:
        raise Refused(422, f"the upload holds {len(cases)} series: send the files of one of them")
    return [served.prepare(case) for case in cases]


def is_joint(ask: Ask) -> bool:
    """Whether the cases of a request may go through the networks with those of others."""
    return ask.kind == "predict"


def finish(served: Served, ask: Ask, prepared: Sequence[ReadCase], results: Sequence[Blended]) -> list[Found]:
    """Answers to a request of kind ``predict``."""
    return [_found(served, ask, one.case, result) for one, result in zip(prepared, results, strict=True)]


def alone(served: Served, ask: Ask, prepared: Sequence[ReadCase]) -> list[Found]:
    """Answers to a request that is worked on by itself.

    Raises:
        Refused: the decision cannot answer it.
        UserError: a file cannot be read or does not fit.
    """
    if ask.kind == "stack":
        return [_patient(served, ask)]
    act = _uncertain if ask.kind == "uncertainty" else _explained
    return [act(served, ask, one) for one in prepared]


def _found(served: Served, ask: Ask, case: Case, result: Blended) -> Found:
    decision = served.decision
    scores, raw = (named(served, values) for values in (result.scores, result.uncalibrated))
    found = Found(case.name, scores, raw, case.image.full_shape, result.grade, _spacing(case.image))
    found.warnings = [*served.notes]
    found.measures, found.unusual = served.compare(case, result)
    if decision.abstention:
        found.abstain = result.abstain
    if ask.preview and case.like is None:
        found.preview = screen.preview(case.image)
    if ask.thumbnail:
        found.thumbnail = screen.thumbnail(case.image)
    if result.map is None or result.mask is None:
        return found
    mask, found.threshold = result.mask, ask.threshold
    if ask.threshold is not None:
        mask = served.mask_at(result, ask.threshold)
        found.warnings.append(f"the mask is cut at {ask.threshold:g}, not as it was sealed")
    if (objects := served.objects(result, ask.threshold)) is not None:
        found.detections = objects
    found.areas, found.volumes_ml = _measure(served, mask, case.image)
    if ask.files:
        found.files = dict(_mask_files(served, ask, case, mask))
        maps = zip(decision.classes, result.map, strict=True) if ask.maps else ()
        found.files |= dict(_map_file(f"probability_{name}", channel, case) for name, channel in maps)
    return found


def _uncertain(served: Served, ask: Ask, one: ReadCase) -> Found:
    values, shares = served.samples(one, ask.n_samples, ask.tta)
    unsure = served.uncertainty(values, shares)
    [result] = served.predict([one])
    found = _found(served, ask, one.case, result)
    outcomes = len(served.decision.classes) + 1 if served.decision.exclusive else 2
    found.numbers = {
        "entropy": float(np.mean(unsure.total)),
        "aleatoric_uncertainty": float(np.mean(unsure.aleatoric)),
        "epistemic_uncertainty": float(np.mean(unsure.epistemic)),
        "answers": len(values),
    }
    if result.mask is not None:
        inside = np.any(result.mask > 0, axis=0)
        if inside.any():
            found.numbers["entropy_in_mask"] = float(unsure.total[inside].mean())
        levels = [np.rint(np.clip(value, 0, 1) * 255).astype(np.uint8) for value in values]
        classes, exclusive = len(served.decision.classes), served.decision.exclusive
        assert result.map is not None, "a segmentation has maps"
        mask = served.mask_of_map(result.map)  # as of the answers: before a hook
        counts = np.stack([count_errors(served.mask_of_map(one), mask, classes, exclusive) for one in levels])
        found.numbers["mean_dice"] = float(np.average(case_dice(counts, 1.0).mean(axis=1), weights=shares))
        if ask.files:
            for part in ("total", "epistemic", "aleatoric"):
                label = "entropy" if part == "total" else part
                name, content = uncertainty_file(
                    label, getattr(unsure, part), outcomes, affine=one.case.image.affine, like=one.case.like
                )
                found.files[name] = content
    return found


def _explained(served: Served, ask: Ask, one: ReadCase) -> Found:
    [result] = served.predict([one])
    target = int(np.argmax(result.scores)) if ask.target is None else ask.target
    found = _found(served, ask, one.case, result)
    heat = served.explain(one, target)
    found.numbers = {"explained": served.decision.classes[target]}
    name, content = _map_file("gradcam", np.rint(heat * 255).astype(np.uint8), one.case)
    found.files = {name: content}
    return found


def _patient(served: Served, ask: Ask) -> Found:
    """A patient: a volume for a decision on volumes, slices for one on images."""
    check_sizes(ask.folder)
    if served.dimensions == 2:
        return analyze_slices(served, ask)
    paths = list(ask.folder.iterdir())
    cases = served.read(ask.folder) if len(paths) == 1 or all(format_of(path) == "dicom" for path in paths) else []
    if len(cases) != 1:
        raise Refused(409, f"{served.name} reads volumes: send one NIfTI file, or the DICOM files of one series")
    [case] = cases
    [result] = served.predict([served.prepare(case)])
    found = _found(served, ask, case, result)
    if result.mask is not None:
        found.numbers = _along_depth(served, result.mask, case.image)
    return found


def _along_depth(served: Served, mask: np.ndarray, image: Image) -> dict[str, Any]:
    """Voxels of every class in each axial slice, from the feet up."""
    axes, flips = orientation(image.affine, 3)
    depth = axes[2]
    others = tuple(axis for axis in range(3) if axis != depth)
    areas = {}
    for k, name in enumerate(served.decision.classes):
        counts = of_class(mask, k).sum(axis=others)
        areas[name] = [int(n) for n in (counts[::-1] if flips[2] else counts)]
    return {"slices": mask.shape[1 + depth], "axis": depth, "areas": areas}


def _measure(served: Served, mask: np.ndarray, image: Image) -> tuple[dict[str, int], dict[str, float] | None]:
    classes = served.decision.classes
    areas = {name: int(of_class(mask, k).sum()) for k, name in enumerate(classes)}
    if image.affine is None:
        return areas, None
    voxel = abs(float(np.linalg.det(image.affine[:3, :3])))
    return areas, {name: count * voxel / 1000 for name, count in areas.items()}


def _spacing(image: Image) -> tuple[float, ...] | None:
    return None if image.affine is None else tuple(float(n) for n in np.linalg.norm(image.affine[:3, :3], axis=0))


def _mask_files(served: Served, ask: Ask, case: Case, mask: np.ndarray) -> list[tuple[str, bytes]]:
    if ask.dicomseg:
        check_packages()
        return [segmentation_of(served.opened, "mask", mask, case.image, case.source, ask.folder)]
    return list(mask_files("mask", mask, served.decision.classes, affine=case.image.affine, like=case.like))


def _map_file(name: str, values: np.ndarray, case: Case) -> tuple[str, bytes]:
    """A map (*spatial) uint8 as a file on the grid of its case."""
    if values.ndim == 2:
        return f"{name}.png", png_bytes(values)
    return f"{name}.nii.gz", gzip.compress(nifti_bytes(values, case.image.affine, case.like), 1, mtime=0)
