"""AdrenalMNIST3D: predictions averaged over all flips, as training shows every flip; three seeds."""

from exps.exp050 import Exp050


class Exp050Flips(Exp050):
    tta = "xyz"
    seeds = (0, 1, 2)
