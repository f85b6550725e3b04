"""Networks of the tasks, made of timm, segmentation_models.pytorch and MONAI."""

import os

# Without this, timm and segmentation_models.pytorch wait for a network for up to a minute.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
