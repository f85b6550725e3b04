"""Low-grade glioma slices: FLAIR at random in place of other sequences, as where they are missing."""

from exps.exp025_lite0 import Exp025Lite0

ABSENT = 0.3  # share of the training images that lose a sequence, for each of the two


class Exp025Lite0Missing(Exp025Lite0):
    def transform_batch(self, batch, generator, exclusive):
        """Train with images that lack a sequence; see the source."""
        import torch

        image = batch["image"].unflatten(1, (-1, 3))  # pre-contrast, FLAIR, post-contrast of every slice
        lost = torch.rand(len(image), 1, 3, 1, 1, generator=generator) < ABSENT
        lost[:, :, 1] = False
        image = torch.where(lost.to(image.device), image[:, :, 1:2], image).flatten(1, 2)
        return super().transform_batch({**batch, "image": image}, generator, exclusive)
