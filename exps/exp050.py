"""AdrenalMNIST3D: hyperplasia or normal gland, 3D ResNet-18 on shape masks.

The quick budget has a ResNet-10 of a quarter of the width instead, and so have the experiments that inherit it.
"""

from heldout.tasks.classify import Classify3D


class Exp050(Classify3D):
    dataset = "medmnist3d"
    source = "medmnist3d"
    normalize = "unit"
    near_duplicates = False
    encoder = "resnet18"
    stem = "small"
    width = 0.5
    epochs = 30
    batch_size = 32
    lr = 1e-3
    augment = "light"
    budgets = {
        "quick": {"epochs": 8, "encoder": "resnet10", "width": 0.25},
        "baseline": {"epochs": 15},
        "production": {"width": 1.0, "epochs": 60, "seeds": (0, 1, 2)},
    }
