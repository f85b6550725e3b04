"""AdrenalMNIST3D in 2.5D, ResNet-10 on stacks of 3 slices, flips at test time, three seeds."""

from exps.exp058 import Exp058


class Exp058Small(Exp058):
    epochs = 12
    dropout = 0.2
    seeds = (0, 1, 2)
    tta = "xyz"
