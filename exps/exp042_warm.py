"""FracAtlas, hard negatives from the weights of exp040, same fold and seed (Sung and Poggio 1998)."""

from exps.exp042 import Exp042


class Exp042Warm(Exp042):
    warm_start = "exp040"
