"""Hippocampus in one learning-rate cycle, with the augmentation of nnU-Net."""

from exps.exp030_short import Exp030Short


class Exp030Nnunet(Exp030Short):
    augment = "nnunet"
    epochs = 16
