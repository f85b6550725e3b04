"""2D segmentation and classification on one encoder, with the heads of segmentation_models.pytorch."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from heldout.tasks.nets.network import Network

Phase = Literal["mask", "head", "joint"]
OUTPUTS = {"mask": ("mask",), "head": ("label",), "joint": ("mask", "label")}


class TwoHeads(Network):
    """A network whose encoder, decoder and head can be asked one by one; see :class:`Network`.

    Outside training it always gives both outputs; in training those of its phase.
    """

    body: Any  # with an encoder, a decoder and two heads, as those of smp

    def __init__(self, network: Network) -> None:
        super().__init__(
            network.body, standardize=network.standardize, multiple=network.multiple, input_size=network.input_size
        )
        self.phase: Phase = "joint"

    def enter(self, phase: Phase) -> None:
        """Train for a phase: what it leaves alone keeps its weights, its momenta and its running statistics."""
        self.phase = phase
        head = self.body.classification_head
        self.body.requires_grad_(phase != "head")
        head.requires_grad_(phase != "mask")
        if phase == "head":
            # frozen layers normalize as they will at prediction, so that the head learns on what it will see
            self.body.eval()
            head.train()

    def forward(self, image: Tensor) -> dict[str, Tensor]:  # type: ignore[override]  # two outputs have names
        """Compute ``"mask"`` logits (B, C, H, W) and ``"label"`` logits (B, K) of a float image (B, channels, H, W)."""
        wanted = OUTPUTS[self.phase if self.training else "joint"]
        features = self.encode(image)
        outputs = {}
        if "mask" in wanted:
            outputs["mask"] = self.decode(features, image)
        if "label" in wanted:
            outputs["label"] = self.classify(features)
        return outputs

    def encode(self, image: Tensor) -> list[Tensor]:
        """The encoder's features of an image, from fine to coarse."""
        return self.body.encoder(self.pad_input(image))

    def classify(self, features: list[Tensor]) -> Tensor:
        """Logits (B, K) of the whole image."""
        return self.body.classification_head(features[-1])

    def decode(self, features: list[Tensor], image: Tensor) -> Tensor:
        """Logits (B, C, H, W) of every pixel of the image that the features are of."""
        return self.crop_output(self.body.segmentation_head(self.body.decoder(features)), image.shape[2:])
