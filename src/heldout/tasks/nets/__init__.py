"""Networks of the tasks, made of timm, segmentation_models.pytorch and MONAI."""
