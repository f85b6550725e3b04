"""Brain MRI tumor classification from scratch, with duplicates kept in one fold."""

from heldout.tasks.classify import Classify2D


class Exp020(Classify2D):
    dataset = "brain_mri_images_for_brain_tumor_detection"
    source = "brain_mri"
    image_size = (128, 128)
    encoder = "resnet18"
    dropout = 0.3
    epochs = 40
    batch_size = 16
    lr = 5e-4
    weight_decay = 0.05
    augment = "strong"
    tta = "h"
    budgets = {
        "quick": {"epochs": 12, "seeds": (0, 1, 2)},
        "baseline": {"image_size": (224, 224)},
        "production": {"image_size": (224, 224), "encoder": "resnet50", "epochs": 120, "seeds": (0, 1, 2)},
    }
