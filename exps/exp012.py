"""Small phantom lesions without lesion-aware patches: they are drawn anywhere."""

from exps.exp010 import Exp010


class Exp012(Exp010):
    foreground_fraction = 0.0
