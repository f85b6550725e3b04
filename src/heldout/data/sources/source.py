"""What every dataset layout states, lists, reads and checks."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from heldout import files
from heldout.data import readers
from heldout.data.image import BadFile, Image
from heldout.data.objects import mask_objects
from heldout.data.rle import RunLengths
from heldout.data.sources.download import Download
from heldout.data.sources.layout import (
    DICOM_ENDINGS,
    FORMATS,
    IMAGE_ENDINGS,
    as_list,
    image_paths,
    in_natural_order,
    strange_images,
    unique_ids,
    unused_images,
    visible_files,
)
from heldout.data.sources.loose_dicom import loose_series
from heldout.data.sources.neighbors import with_neighbors
from heldout.errors import UserError
from heldout.metrics.ignored import IGNORED

if TYPE_CHECKING:
    import pandas as pd

NOTHING = -1  # of the option ignore


class Source(ABC):
    """A dataset's layout on disk.

    Attributes:
        dimensions: Spatial axes, 2 or 3.
        swaps: Pairs of indices of classes that are one another's mirror image from left to right; volumes only.
        rle: How run lengths of masks count pixels, in the dataset and, unless an experiment says otherwise, in its
            submission.
        defaults: Options and their defaults; an option's value must have its default's type.
        choices: Options that accept certain values only.
        ignores: Whether 255 in a mask that was read means a voxel without loss and score. Sources whose options have
            ``ignore`` let the user name the value that their files have there; -1 is none.
        downloads: Where datasets of the layout come from, by the names of their folders.
        other_files: Names of files in the root that are not the dataset's, such as the sample submission.

    Example:
        >>> import tempfile
        >>> class Stems(Source):
        ...     classes = ("left", "right")
        ...     kind = "classification"
        ...     def _rows(self, found):
        ...         for path in sorted(self.root.glob("*.png")):
        ...             side = path.stem.partition("_")[0]
        ...             labels = {f"y_{name}": float(name == side) for name in self.classes}
        ...             names = {"case_id": path.stem, "patient_id": path.stem}
        ...             yield {**names, "image": as_list(self.relative(path)), "mask": "", "split": "", **labels}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("left_1", "right_2"):
        ...         _ = Path(folder, f"{name}.png").write_bytes(b"")
        ...     index = Stems(Path(folder)).index()
        >>> index[["case_id", "y_left", "y_right"]].to_numpy().tolist()
        [['left_1', 1.0, 0.0], ['right_2', 0.0, 1.0]]
    """

    dimensions: int = 2
    swaps: tuple[tuple[int, int], ...] = ()
    rle: RunLengths = RunLengths()
    defaults: ClassVar[dict[str, Any]] = {}
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {}
    downloads: ClassVar[Mapping[str, Download]] = {}
    other_files: frozenset[str] = frozenset()

    def __init__(self, root: Path, **options: Any) -> None:
        """Check the options; nothing heavy is read.

        Raises:
            UserError: an option is unknown or has a value that does not fit.
        """
        self.root = root
        self.options = {**self.defaults, **options}
        for key, value in options.items():
            self._check_option(key, value)
        self._found: list[str] | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the target classes, in the order of the label map's values 1 ... K."""
        return ()

    @property
    def exclusive(self) -> bool:
        """Whether a pixel (segmentation) or a case (classification) can have one class only."""
        return True

    @property
    def kind(self) -> Literal["classification", "segmentation", "regression"]:
        """What the dataset was labeled for; masks also give classification labels by their presence."""
        return "segmentation"

    @property
    def caveats(self) -> tuple[str, ...]:
        """Sentences about the data that a reader of its scores must know."""
        return ()

    @classmethod
    def locate(cls, dataset: str, options: Mapping[str, Any]) -> Path:  # noqa: ARG003 - phantom uses them
        """Folder of the dataset.

        Raises:
            UserError: there is no such folder.
        """
        return files.dataset_root(dataset)

    def index(self) -> pd.DataFrame:
        """List every case, without opening images.

        Returns:
            Columns case_id, patient_id, image, mask, split and one y_<class> per class. ``image`` and ``mask`` are
            JSON lists of paths relative to the root, or ``file.npz#key:index``; ``mask`` is "" where there is none.
            ``split`` is "" (undecided), "train", "test" or "submit"; labels are NaN where unknown.

        Raises:
            UserError: the folder does not have the layout, or holds no case, or two cases share an id.
        """
        import pandas as pd

        self._found, neighbors = [], self._neighbors
        columns = ["case_id", "patient_id", "image", "mask", "split"]
        rows = with_neighbors(list(self._rows(self._found)), neighbors, self.root)
        if not rows:
            raise UserError(f"{self.root} holds no case of the {self._name} layout: check dataset and source")
        frame = pd.DataFrame(rows).reindex(columns=columns + [f"y_{name}" for name in self.classes])
        alike = frame["case_id"].str.casefold()
        if alike.duplicated().any():
            first, second = frame["case_id"][alike == alike[alike.duplicated()].iloc[0]].iloc[:2]
            what = f"{first} occurs twice" if first == second else f"{first} differs from {second} in letter case only"
            raise UserError(f"{self.root}: case id {what}: rename one of the files or rows")
        self._found += unused_images(self.root, set(self._files(rows)), self._found)
        text = frame[columns].astype(object).where(frame[columns].notna(), "")
        return pd.concat([text, frame[frame.columns[len(columns) :]].astype("float64")], axis=1)

    def tables(self) -> list[Path]:
        """Files besides images and masks that :meth:`index` reads, such as the table of labels."""
        return []

    def own_ids(self) -> Mapping[str, str]:
        """What the dataset itself calls its cases, by case id, where that may be another text."""
        return {}

    def own_classes(self) -> Mapping[str, str]:
        """What the dataset itself calls its classes, by their names here, where that may be another text."""
        return {}

    @property
    def own_folds(self) -> bool:
        """Whether :meth:`folds` are taken, and none are made."""
        return False

    def folds(self) -> Mapping[str, int]:
        """Fold of every case, 0 and on, as the dataset itself says; asked for where :attr:`own_folds`, after indexing.

        Raises:
            UserError: the dataset's folds cannot be read, or do not hold every case once.
        """
        return {}

    @property
    def ignores(self) -> bool:
        """As the option ``ignore`` says; sources without it ignore nothing."""
        return bool(self.options.get("ignore", NOTHING) != NOTHING)

    def report(self) -> list[str]:
        """Lines about conflicts, missing files and odd things, found by :meth:`index`."""
        if self._found is None:
            self.index()
        return list(self._found or [])

    def read_image(self, row: Mapping[str, Any], *, salvage: bool = False) -> Image:
        """Read a case's image; several files become channels.

        Args:
            row: A row of :meth:`index` or :meth:`loose`.
            salvage: Take what is left of a truncated JPEG instead of refusing it.

        Raises:
            BadFile: a file is missing or damaged, or the files of a case differ in shape or affine.
        """
        paths = self.paths(row["image"])
        if self.dimensions == 3 and readers.is_series(paths[0]):
            return readers.open_series(paths, salvage=salvage, **self._series_options)
        images = [self._open(path, salvage=salvage) for path in paths]
        first = images[0]
        for path, other in zip(paths[1:], images[1:], strict=True):
            if other.full_shape != first.full_shape or other.lost != first.lost:
                raise BadFile(
                    f"{path} has shape {other.full_shape}, {paths[0]} has {first.full_shape}: they must agree"
                )
            if first.affine is not None and (
                other.affine is None or not np.allclose(first.affine, other.affine, atol=1e-3)
            ):
                raise BadFile(f"{path} covers another region than {paths[0]}: resample one to the other's affine")
        if len(images) == 1:
            return first
        return Image(np.concatenate([image.array for image in images]), first.affine, first.lost, first.note)

    def _open(self, path: Path, *, salvage: bool) -> Image:
        """Read one file of an image."""
        return readers.open_any(path, dimensions=self.dimensions, salvage=salvage)

    def read_mask(self, row: Mapping[str, Any]) -> np.ndarray:
        """Read a case's mask, uint8 (M, *spatial): one label map 0 ... K, or K binary channels where they overlap.

        Where :attr:`ignores` is set, 255 is a voxel without loss and score.

        Raises:
            BadFile: a file is missing or damaged, or the case has no mask.
        """
        if not row["mask"]:
            raise BadFile(f"case {row['case_id']} has no mask: add its file, or leave the case out")
        paths, ignore = self.paths(row["mask"]), self.options.get("ignore", NOTHING)
        # with several classes, or where it is the value to ignore, 255 is not the one class
        binary = not (self.exclusive and len(self.classes) > 1) and ignore != IGNORED
        masks = [readers.open_mask(path, dimensions=self.dimensions, binary=binary) for path in paths]
        if len({mask.shape for mask in masks}) > 1:
            raise BadFile(f"the masks of case {row['case_id']} differ in shape: they must agree")
        mask = np.concatenate(masks)
        if ignore not in (NOTHING, IGNORED):
            if (mask == IGNORED).any():
                raise BadFile(
                    f"case {row['case_id']}: its mask holds the label {IGNORED} beside {ignore}, which is ignored: "
                    f"give both one value"
                )
            mask[mask == ignore] = IGNORED
        return mask

    def objects(self, row: Mapping[str, Any], mask: np.ndarray) -> np.ndarray:  # noqa: ARG002 - for subclasses
        """What there is to detect in a case; of layouts that list nothing, the connected regions of its mask.

        Args:
            row: A row of :meth:`index`.
            mask: What :meth:`read_mask` gives for it.

        Returns:
            (n, 1 + 2 D) rows of the class's number and the low and the high corner of a box along the axes of the
            file, in voxels from the edge of the first one; of a point both are equal.
        """
        return mask_objects(mask, len(self.classes))

    def memory(self, row: Mapping[str, Any]) -> int:
        """Bytes that preparing a case takes at most, by the headers of its files; 0 where they say nothing."""
        return sum(map(readers.memory_of, self.paths(row["image"])))

    def voxel_axes(self, row: Mapping[str, Any]) -> np.ndarray | None:
        """Steps from one voxel to the next along the axes of a case's file, in mm, as the columns of (3, 3).

        None for images. The determinant is always the volume of a voxel: a slice adds the step through it.
        """
        path = self.paths(row["image"])[0]
        affine = readers.header_affine(path)
        affine = self.read_image(row).affine if affine is None else affine
        return None if affine is None else affine[:3, :3]

    def loose(self, folder: Path) -> pd.DataFrame:
        """List the unlabeled files below a folder, in natural order; masks of the dataset's own layout are left out.

        Returns:
            Columns case_id, patient_id, image (absolute paths) and name: the file's path below ``folder``.

        Raises:
            UserError: the folder is missing or holds no readable file.
        """
        import pandas as pd

        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder: name one that holds image files")
        rows = with_neighbors(list(self._loose_rows(folder.resolve())), self._neighbors, folder, loose=True)
        if not rows:
            wanted = ", ".join((*IMAGE_ENDINGS[self.dimensions], "DICOM"))
            raise UserError(f"{folder} holds no readable file ({wanted}): name a folder with {self.dimensions}D images")
        return pd.DataFrame(rows, columns=["case_id", "patient_id", "image", "name"])

    def unread(self, folder: Path, rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
        """Images, by their names, that ``loose(folder)`` does not have in its rows: name to complaint and remedy."""
        folder = folder.resolve()
        used = {path for row in rows for path in self.paths(row["image"])}
        remedy = f"convert it to {' or '.join(self._endings[:2])}, or take it out of the folder"
        return {
            path.relative_to(folder).as_posix(): f"{path} is not an image that source {self._name} reads: {remedy}"
            for path in strange_images(folder, self._endings)
            if path not in used and not self._is_mask(path.relative_to(folder))
        }

    def paths(self, text: str) -> list[Path]:
        """Files, or items of array files, that an ``image`` or ``mask`` text of the index names."""
        return [self.root / name for name in image_paths(text)]

    def files(self, text: str) -> list[Path]:
        """Files on the disk that hold what a text names: of an item or a tile the whole, of a header its voxels too."""
        found = [path if path.exists() else Path(str(path).partition("#")[0]) for path in self.paths(text)]
        return list(dict.fromkeys(one for path in found for one in (path, *readers.beside(path))))

    def relative(self, path: Path) -> str:
        """A path relative to the dataset; as it is where it lies outside."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)

    def _files(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[Path]:
        """Images and masks of rows of the index, and other files that no line on unused ones should name."""
        for row in rows:
            for text in filter(None, (row["image"], row.get("mask"))):
                yield from self.files(text)

    @abstractmethod
    def _rows(self, found: list[str]) -> Iterable[dict[str, Any]]:
        """Rows of the index; lines for :meth:`report` are appended to ``found``."""

    def _loose_rows(self, folder: Path) -> Iterator[dict[str, Any]]:
        sets = self._loose_sets(folder)
        names = [paths[0].relative_to(folder).as_posix() for paths in sets]
        for paths, name, case_id in zip(sets, names, unique_ids(names), strict=True):
            yield {
                "case_id": case_id,
                "patient_id": self._patient(paths[0].relative_to(folder)) or case_id,
                "image": as_list(*paths),
                "name": name,
            }
        if self.dimensions == 3:
            yield from loose_series(folder, unique_ids(names))

    def _loose_sets(self, folder: Path) -> list[list[Path]]:
        """Files of the cases of a folder without labels: one each, unless a layout has channels in files."""
        return [[path] for path in self.image_files(folder) if not self._is_mask(path.relative_to(folder))]

    def _is_mask(self, relative: Path) -> bool:  # noqa: ARG002 - for subclasses
        """Whether a file is a mask of the dataset's own layout."""
        return False

    def _patient(self, relative: Path) -> str | None:  # noqa: ARG002 - for subclasses
        """Patient that a file's path names, or None."""
        return None

    def image_files(self, folder: Path) -> list[Path]:
        """Image files of the source's dimensions below a folder, in natural order, hidden ones left out.

        A file counts by its content; one that only its name says to be an image counts too, so that a damaged file
        is complained about when it is read, and never lost.
        """
        endings, formats = IMAGE_ENDINGS[self.dimensions], FORMATS[self.dimensions]
        seen = visible_files(folder)
        found = [path for path in seen if path.name.lower().endswith(endings) or readers.format_of(path) in formats]
        return in_natural_order(found, folder)

    @property
    def _endings(self) -> tuple[str, ...]:
        """Endings of the files that the source reads; what DICOM holds besides series is left out on purpose."""
        return IMAGE_ENDINGS[self.dimensions] + (DICOM_ENDINGS if self.dimensions == 3 else ())

    @property
    def _neighbors(self) -> int:
        """Slices on each side of an image that become channels, as the option ``neighbors`` says."""
        neighbors: int = self.options.get("neighbors", 0)
        if neighbors and self.dimensions == 3:
            raise UserError(f"source_options neighbors = {neighbors} is for slices in files of their own: leave it out")
        return neighbors

    @property
    def _series_options(self) -> dict[str, Any]:
        """How DICOM series are read: those options of the source that :func:`heldout.data.readers.open_series` has."""
        return {name: self.options[name] for name in ("pick", "gaps", "tilt") if name in self.options}

    @property
    def _name(self) -> str:
        return type(self).__module__.rpartition(".")[2]

    def _check_option(self, key: str, value: Any) -> None:
        if key not in self.defaults:
            close = difflib.get_close_matches(key, self.defaults, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f": it has {', '.join(self.defaults) or 'none'}"
            raise UserError(f"source {self._name} has no option {key!r}{hint}")
        allowed = self.choices.get(key)
        if allowed and value not in allowed:
            raise UserError(f"source_options {key} = {value!r}: choose one of {', '.join(map(repr, allowed))}")
        if type(value) is not type(self.defaults[key]):
            raise UserError(f"source_options {key} = {value!r} must be of type {type(self.defaults[key]).__name__}")
        if key == "neighbors" and value < 0:
            raise UserError(f"source_options neighbors = {value}: name the slices on each side, or 0 for none")
        if key == "ignore" and not (value == NOTHING or 0 < value <= IGNORED):
            raise UserError(f"source_options ignore = {value}: name a label from 1 to {IGNORED}, or {NOTHING} for none")
