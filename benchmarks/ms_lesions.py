"""What networks trained on phantom lesions alone find in real brains: FLAIR of three patients with multiple sclerosis.

Nothing was trained or tuned on these patients. The masks that ``predict`` writes are compared with the consensus of the
dataset's raters (Lesjak et al. 2018), voxel by voxel and lesion by lesion.

Needs a finished run, ``python run.py exp010@quick``, and open_ms_data below ``$HELDOUT_DATA``.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import nibabel
import numpy as np
from record import Measurement, networks, record

from heldout.blend.verify import open_decision
from heldout.deliver.predict_folder import predict_folder
from heldout.files import dataset_root
from heldout.metrics.lesion import count_lesions


def of_patient(name: str, said: np.ndarray, truth: np.ndarray) -> list[Measurement]:
    """Dice of the masks (*S) bool, and true and false positive lesions; a lesion is found where a voxel of it is."""
    dice = 2 * np.count_nonzero(said & truth) / (np.count_nonzero(said) + np.count_nonzero(truth))
    lesions, found, _, false = (int(count) for count in count_lesions(said, truth))
    values = {"dice": float(dice), "lesions": lesions, "lesions found": found, "regions that are none": false}
    return [Measurement(f"{what}, {name}", value, "") for what, value in values.items()]


def main() -> int:
    """Predict every patient's FLAIR and write Dice and lesion-wise recall."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", default="exp010@quick", help="a run or a blend")
    chosen = parser.parse_args()
    truths = sorted(dataset_root("open_ms_data").glob("cross_sectional/MNI/*/GOLD_STANDARD*.nii.gz"))
    measurements = []
    with tempfile.TemporaryDirectory() as temporary:
        given, made = Path(temporary) / "in", Path(temporary) / "out"
        given.mkdir()
        for truth in truths:
            shutil.copyfile(next(truth.parent.glob("FLAIR*.nii.gz")), given / f"{truth.parent.name}.nii.gz")
        opened = open_decision(chosen.spec)
        predict_folder(opened, given, made, skip_bad=False, force=False)
        for truth in truths:
            said = nibabel.load(next(made.rglob(f"{truth.parent.name}.nii.gz"))).get_fdata() > 0
            real = nibabel.load(truth).get_fdata() > 0
            measurements += of_patient(truth.parent.name, said, real)
    dice = [one.value for one in measurements if one.what.startswith("dice,")]
    measurements.append(Measurement("dice, mean over patients", float(np.mean(dice)), ""))
    about = f"{'; '.join(networks(member) for member in opened.decision.members)}; nothing was tuned on these patients."
    return record("ms_lesions", measurements, about)


if __name__ == "__main__":
    sys.exit(main())
