"""FracAtlas with hard negatives, starting from the weights of exp040 on the same fold and seed."""

from exps.exp042 import Exp042


class Exp042w(Exp042):
    warm_start = "exp040"
