"""AdrenalMNIST3D: depth below the surface as a second channel, as thick glands are a sign."""

from exps.exp050 import Exp050


class Exp050Depth(Exp050):
    seeds = (0, 1, 2)

    def build_model(self, classes, exclusive):
        """Wrap the network of the parent, made for two channels."""
        from exps.depth import WithDepth

        wider = self.model_copy(update={"channels": self.channels + 1})
        return WithDepth(super(Exp050Depth, wider).build_model(classes, exclusive))
