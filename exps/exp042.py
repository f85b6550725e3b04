"""FracAtlas with hard negatives, chosen every few epochs (after Shrivastava et al. 2016)."""

from exps.exp040 import Exp040


class Exp042(Exp040):
    hard_negative_fraction = 0.5
    budgets = {"quick": {"mine_every": 2, "mine_cases": 400}}
