"""Low-grade glioma in slices of pre-contrast, FLAIR and post-contrast MRI: a U-Net from scratch."""

from dataclasses import replace

from heldout.tasks.segment import Segment2D


class Exp025(Segment2D):
    dataset = "lgg-mri-segmentation"
    source = "lgg"
    channels = 3
    image_size = (256, 256)
    encoder = "resnet18"
    epochs = 40
    batch_size = 16
    lr = 1e-3
    positive_fraction = 0.6
    tta = "h"
    postprocess_choices = {"share": (0.0, 0.1, 0.3, 1.0)}
    budgets = {
        "quick": {"epochs": 12, "image_size": (128, 128), "folds": (0, 1)},
        "baseline": {"epochs": 25},
        "production": {"encoder": "resnet50", "epochs": 80, "seeds": (0, 1, 2)},
    }

    def postprocess_slices(self, results, share):
        """Keep the connected parts of a patient's volume that have this share of the largest one's voxels."""
        import numpy as np
        from scipy.ndimage import label

        volume = np.stack([result.mask[0] for result in results])
        parts, _ = label(volume, np.ones((3, 3, 3)))
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        kept = volume * (sizes >= share * sizes.max())[parts]
        return [replace(result, mask=mask[None]) for result, mask in zip(results, kept, strict=True)]
