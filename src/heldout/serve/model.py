"""A decision as one network process holds it: opened, verified and warmed; it reads, predicts and explains cases."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from heldout.blend.apply import Blended, MemberNetworks, OpenDecision, blend_members, mask_of
from heldout.blend.decision import load_decision
from heldout.blend.detection_hook import detections_of
from heldout.blend.features import read_features
from heldout.blend.session import Session
from heldout.blend.spatial import spatial_mask
from heldout.blend.together import put_together, slices_by
from heldout.blend.verify import verify
from heldout.data import readers
from heldout.data.geometry import Geometry, restore
from heldout.data.image import BadFile, Image
from heldout.data.memory import available_memory
from heldout.data.sources import source_class
from heldout.data.sources.neighbors import places_beside
from heldout.data.sources.tiled import TiledSource
from heldout.data.transform import prepare_image
from heldout.deliver.kernel.bundle import is_bundle
from heldout.deliver.predict_folder import list_cases
from heldout.deliver.submission.detections import objects_of
from heldout.deliver.submission.write import nifti_path
from heldout.errors import UserError
from heldout.metrics.uncertainty import Uncertainty, decompose
from heldout.predict.features import Pooler
from heldout.predict.prediction import Prediction
from heldout.predict.run import predict_cases
from heldout.serve.bundle import open_bundled
from heldout.serve.drift import DISTANCE, FingerprintRecord, fingerprint, measure, modality_of
from heldout.serve.passes import Passes
from heldout.serve.sizes import check_sizes
from heldout.serve.uploads import Refused

_MOST_ANSWERS = 2**32  # bytes of the answers that an uncertainty compares
_ANSWER_COPIES = 4  # of these that it holds at most, measured
_SAME = 1e-5  # probabilities of one image differ by less in batches of different size


@dataclass(frozen=True, eq=False)
class Case:
    """An uploaded case as read.

    Attributes:
        name: Its file in the folder of the request.
        case_id: Its id; dropout is drawn by it.
        image: As the file holds it.
        like: Its NIfTI file, whose header a mask keeps; None for other formats.
        source: Its files below the folder of the request, as a table of cases names them; empty of a slice.
        modality: Of DICOM files, such as ``MR``; empty of others.
    """

    name: str
    case_id: str
    image: Image
    like: Path | None
    source: str = ""
    modality: str = ""


@dataclass(frozen=True, eq=False)
class ReadCase:
    """A case and what each member's networks read of it; ``inputs`` is None where a first stage comes before."""

    case: Case
    inputs: list[tuple[np.ndarray, Geometry]] | None

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return self.case.image.array.nbytes + sum(array.nbytes for array, _ in self.inputs or ())


class Served:
    """One decision.

    Attributes:
        name: Its name.
        opened: The verified decision and its networks.
        sealed: Whether it answers as it was sealed.
        notes: Sentences for every answer: where it does not.
        passes: How far a prediction is.
        fingerprint: What its training images are like.
        features: How features of a network are spread over held-out images; None where the decision stored none.
    """

    fingerprint: FingerprintRecord

    def __init__(self, name: str, *, unsealed: bool = False, tta: str | None = None) -> None:
        """Open, verify and warm a decision.

        Raises:
            UserError: it has no networks or reads images by region, it is not sealed and ``unsealed`` is off, it is
                not what was validated, or ``tta`` names no axis.
        """
        session = Session()
        bundled = open_bundled(Path(name), session) if is_bundle(name) else None
        decision = bundled.decision if bundled else load_decision(name, session)
        self.name = decision.name
        sealed = decision.seal is not None
        if not sealed and not unsealed:
            remedy = f"run `python run.py freeze {name}`" if decision.is_blend else "blend and freeze it"
            raise UserError(f"{name} is not sealed: {remedy}, or add --unsealed")
        if bundled:
            self.opened = bundled
        elif sealed or not decision.is_blend:
            self.opened = verify(decision, session)
        else:
            self.opened = OpenDecision(decision, session)
        if issubclass(source_class(self.opened.config.source), TiledSource):
            raise UserError(f"{name} reads large images by region: use `python run.py predict {name}`")
        if decision.postprocess.by and not slices_by(decision):
            raise UserError(
                f"postprocess_table of {name} needs all cases of a {decision.postprocess.by}, and a service answers "
                f"each upload by itself: use `python run.py predict {name}`"
            )
        networks = [member for member in self.opened.members if isinstance(member, MemberNetworks)]
        if len(networks) < len(self.opened.members):
            raise UserError(
                f"{name} has predictions made elsewhere, and no network for new images: serve another blend"
            )
        self.members = [member if tta is None else replace(member, tta=tta) for member in networks]
        self.config = self.opened.config
        self.decision = decision
        self._check_flips()
        self.notes = [
            f"the flips of {one.config.experiment} are {tta or 'none'!r}, not {own.tta or 'none'!r} as it was validated"
            for one, own in zip(self.members, networks, strict=True)
            if set(one.tta) != set(own.tta)
        ]
        self.sealed = sealed and not self.notes
        self.passes = Passes(self.members)
        self.fingerprint = fingerprint(self.opened)
        self.features = read_features(decision)
        self._pooler = self._make_pooler()

    def _make_pooler(self) -> Pooler | None:
        """What picks up the features that the decision stored the spread of."""
        reference = self.decision.features
        if not reference:
            return None
        fits = [(fit.seed, fit.fold) for fit in self.decision.members[0].folders]
        network = self.members[0].models[fits.index((reference.seed, reference.fold))]
        return Pooler(network, reference.layer)

    def _check_flips(self) -> None:
        from heldout.predict.forward import flip_sets

        for member in self.members:
            flip_sets(member.config, member.tta)

    @property
    def dimensions(self) -> int:
        """Spatial axes of its cases."""
        return self.config.dimensions

    @property
    def segments(self) -> bool:
        """Whether it makes masks."""
        return self.decision.kind == "segmentation"

    def read(self, folder: Path) -> list[Case]:
        """Read the cases of a folder, in the order of their names.

        Raises:
            BadFile: one cannot be read or is too large.
            UserError: there is none of the decision's kind.
        """
        check_sizes(folder)
        return list(self.each(folder))

    def each(self, folder: Path) -> Iterator[Case]:
        """The cases of a folder one by one; see :meth:`read`."""
        source = source_class(self.config.source)(folder, **self.config.source_options)
        rows, _ = list_cases(source, folder, skip_bad=False)
        for case_id, row in rows.items():
            like = nifti_path(folder, row["image"])
            modality = modality_of(source.paths(row["image"])[0])
            yield Case(row["name"], case_id, source.read_image(row), like, row["image"], modality)

    def prepare(self, case: Case) -> ReadCase:
        """Prepare a case for every member.

        Raises:
            BadFile: it does not fit the preparation.
        """
        if any(member.first is not None for member in self.members):
            return ReadCase(case, None)
        return ReadCase(case, [prepare_image(case.image, member.config) for member in self.members])

    def predict(self, cases: Sequence[ReadCase], *, alone: bool = True) -> list[Blended]:
        """Predict cases together where no first stage comes before; one alone has the bits of ``predict``.

        Args:
            cases: The cases.
            alone: Each is the only slice of its volume; else the hook ``postprocess_slices`` is left to the caller.
        """
        exclusive = self.decision.exclusive
        if self._pooler is not None:
            self._pooler.rows.clear()
        for one in cases:
            if one.inputs is not None:
                self.passes.expect([image for image, _ in one.inputs])
        found = [self._of_member(number, member, cases, exclusive) for number, member in enumerate(self.members)]
        results = [blend_members(self.decision, answers) for answers in zip(*found, strict=True)]
        rows = self._pooler.rows if self._pooler is not None else []
        rows = rows or [None] * len(results)  # none where a first stage comes before
        results = [replace(result, features=row) for result, row in zip(results, rows, strict=True)]
        return list(put_together(self.decision, results, {})) if alone and slices_by(self.decision) else results

    def compare(self, case: Case, result: Blended) -> tuple[dict[str, float], list[str]]:
        """Measures of a case, and sentences on how it is unlike the training images.

        Both are empty where these are unknown.
        """
        if not self.fingerprint.is_known:
            return {}, []
        measures = measure(case.image)
        if self.features is not None and result.features is not None:
            measures[DISTANCE] = self.features.distance(result.features)
        return measures, self.fingerprint.unusual(case.image, measures, case.modality)

    def _of_member(
        self, number: int, member: MemberNetworks, cases: Sequence[ReadCase], exclusive: bool
    ) -> Iterator[list[Prediction]]:
        if any(one.inputs is None for one in cases):
            for one in cases:
                yield member.predict(one.case.case_id, one.case.image, exclusive)
            return
        inputs = [(one.case.case_id, *one.inputs[number]) for one in cases if one.inputs is not None]
        pooler = self._pooler if number == 0 else None
        yield from predict_cases(
            member.config, member.models, inputs, exclusive=exclusive, tta=member.tta, pooler=pooler
        )

    def mask_at(self, result: Blended, threshold: float) -> np.ndarray:
        """Mask of a result with one threshold for every class instead of the decision's.

        Raises:
            Refused: 422 where the most probable class wins and no threshold applies.
        """
        assert result.map is not None, "only a segmentation has a map"
        if self.decision.exclusive and len(self.decision.classes) > 1:
            raise Refused(422, f"threshold does not apply to {self.name}: each voxel gets its most probable class")
        level = max(1, min(255, round(threshold * 255)))
        return spatial_mask(result.map, (level,) * len(self.decision.classes), [], self.decision.exclusive)

    def objects(self, result: Blended, threshold: float | None) -> list[dict[str, Any]] | None:
        """Objects of a result, at a threshold instead of the decision's where one is given; None without a finder."""
        finder, rows = self.decision.finder, result.detections
        if finder is None or rows is None:
            return None
        if threshold is not None and result.map is not None:
            level = max(1, min(255, round(threshold * 255)))
            cuts = (level,) * len(self.decision.classes)
            rows = detections_of(self.decision, result.case_id, result.map, cuts, kept=True)
        return objects_of(rows, self.decision.classes, boxes=finder.objects == "boxes")

    def mask_of_map(self, blended: np.ndarray) -> np.ndarray:
        """Mask (M, *spatial) of a map (K, *spatial) uint8 as the decision makes it."""
        return mask_of(self.decision, blended)

    def samples(self, prepared: ReadCase, n_samples: int, tta: str) -> tuple[list[np.ndarray], list[float]]:
        """Answers of all networks, with dropout left on and flipped, and the share of each.

        Returns:
            (K, *spatial) of a segmentation or (K,) of a classification each, float32; shares that sum to 1.

        Raises:
            Refused: 409 where there would be one answer: of one network, without flips and without dropout.
        """
        from heldout.predict.uncertainty import dropout_answers, flip_answers, has_dropout

        if prepared.inputs is None:
            raise Refused(409, f"{self.name} has a first stage: its uncertainty is in `predict --uncertainty`")
        self._check_answers(prepared, n_samples, tta)
        values: list[np.ndarray] = []
        shares: list[float] = []
        members = list(zip(self.members, prepared.inputs, strict=True))
        for weight, (member, (image, geometry)) in self.decision.weighted(members):
            case = (prepared.case.case_id, image, geometry)
            mine: list[np.ndarray] = []
            for model in member.models:
                answers: Sequence[np.ndarray] = ()
                if n_samples > 1 and has_dropout(member.config, model):
                    answers = list(dropout_answers(member.config, model, case, self.decision.exclusive, n_samples))
                    if all(np.abs(one - answers[0]).max() <= _SAME for one in answers):  # another head drops
                        answers = ()
                mine += answers
                if tta or not answers:
                    mine += list(flip_answers(member.config, model, case, self.decision.exclusive, tta))
            restored = [restore(one, geometry) if self.segments else one for one in mine]
            values += restored
            shares += [weight / len(restored)] * len(restored)
        if len(values) < 2:
            drops = has_dropout(self.members[0].config, self.members[0].models[0])
            flips = f"flips (tta={self.config.flip_axes})"
            if drops and n_samples == 1:
                detail = f" and was asked once: ask for several passes with dropout (n_samples=20), or for {flips}"
            else:
                without = ", whose dropout does not act on its masks" if drops else " without dropout"
                detail = f"{without}, so it has nothing to disagree with: ask for {flips}, or serve several seeds"
            raise Refused(409, f"{self.name} is one network{detail}")
        return values, [share / sum(shares) for share in shares]

    def _check_answers(self, prepared: ReadCase, n_samples: int, tta: str) -> None:
        """Refuse what would take more memory than there is."""
        from heldout.predict.uncertainty import has_dropout

        voxels = prepared.case.image.array[0].size if self.segments else 1
        networks = [(member.config, model) for member in self.members for model in member.models]
        dropping = sum(has_dropout(*one) for one in networks) if n_samples > 1 else 0
        of_one = len(self.decision.classes) * voxels * np.dtype(np.float32).itemsize
        flipped = of_one * len(networks) * 2 ** len(tta)
        there = available_memory()
        allowed = _MOST_ANSWERS if there is None else min(_MOST_ANSWERS, there // _ANSWER_COPIES)
        if flipped > allowed:
            raise Refused(413, f"{2 ** len(tta)} flips are too many for {voxels} voxels: leave out tta, or crop it")
        if flipped + of_one * dropping * n_samples > allowed:
            most = max(1, (allowed - flipped) // (of_one * dropping))
            raise Refused(413, f"n_samples = {n_samples} is too many for {voxels} voxels: ask for {most} or fewer")

    def uncertainty(self, values: Sequence[np.ndarray], shares: Sequence[float]) -> Uncertainty:
        """Entropy, aleatoric and epistemic parts of answers, in nats."""
        return decompose(values, exclusive=self.decision.exclusive, background=self.segments, weights=shares)

    def explain(self, prepared: ReadCase, target: int) -> np.ndarray:
        """Grad-CAM of a class on the grid of the file, 0 ... 1: the mean over the networks that classify.

        Raises:
            Refused: 409 where no network classifies, or one has no feature map to look at.
        """
        from heldout.predict.gradcam import grad_cam

        heats = []
        for number, member in enumerate(self.members):
            if member.config.output != "label" and not member.config.two_heads:
                continue
            if prepared.inputs is None:
                continue
            image, geometry = prepared.inputs[number]
            for model in member.models:
                try:
                    heat = grad_cam(member.config, model, (prepared.case.case_id, image, geometry), target)
                except UserError as error:
                    raise Refused(409, str(error)) from None
                heats.append(restore(heat[None], geometry)[0])
        if not heats:
            raise Refused(409, f"{self.name} has no network that classifies: its masks show where it looks")
        return np.stack(heats).mean(axis=0)

    def slices_of(self, path: Path) -> tuple[list[Case], Image, list[str]]:
        """Axial images of a volume for a decision on images, from the feet up, and the volume.

        An image has the front at the top and the patient's right on the left. Numbers of other types than uint8
        become 0 ... 255 between the 0.5th and 99.5th percentile of the volume.

        Raises:
            BadFile: it is not a volume, or cannot be read.
        """
        from heldout.data.geometry import orient, orientation

        volume = readers.open_series([path]) if readers.is_series(path) else readers.open_any(path, dimensions=3)
        axes, flips = orientation(volume.affine, 3)
        oriented = orient(volume.array, axes, flips)[:, ::-1, ::-1]
        notes = []
        if oriented.dtype != np.uint8:
            low, high = np.percentile(oriented, (0.5, 99.5))
            scaled = np.clip((oriented - low) / max(float(high - low), 1e-6), 0, 1)
            oriented = np.rint(scaled * 255).astype(np.uint8)
            notes.append("the volume was scaled to 0 ... 255 between its 0.5th and 99.5th percentile")
        beside, depth = int(self.config.source_options.get("neighbors", 0)), oriented.shape[-1]
        if beside and len(oriented) == 1:  # each slice of its own is gray, as an image may be
            oriented = np.repeat(oriented, self.config.channels // (1 + 2 * beside), axis=0)
        cases = list[Case]()
        for z in range(depth):
            slices = np.concatenate([oriented[..., other] for other in places_beside(z, beside, depth)])
            image = Image(np.ascontiguousarray(slices.transpose(0, 2, 1)))
            cases.append(Case(f"slice {z}", f"slice{z:04d}", image, None))
        return cases, volume, notes

    def warm(self) -> None:
        """Predict one blank case, so that the first request is as fast as others."""
        size = self.config.image_size or self.config.patch_size or (64,) * self.dimensions
        affine = np.eye(4) if self.dimensions == 3 else None
        channels = self.config.channels if not self.config.windows else 1
        blank = Image(np.zeros((channels, *size), np.uint8), affine)
        with contextlib.suppress(BadFile, ValueError):  # a preparation that refuses blank images
            self.predict([self.prepare(Case("blank", "blank", blank, None))])
