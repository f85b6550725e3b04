"""AdrenalMNIST3D: a small perceptron on measures of the shape: volume, surface, thickness, extents."""

from exps.exp050_flips import Exp050Flips


class Exp050Shape(Exp050Flips):
    augment = "none"
    tta = ""
    lr = 3e-3
    budgets = {"quick": {"epochs": 15}}

    def build_model(self, classes, exclusive):  # noqa: ARG002 - K logits either way
        """Return a perceptron of measures that no flip changes."""
        from exps.shape import ShapePerceptron

        return ShapePerceptron(classes)
