"""Small phantom lesions with the Tversky loss, false negatives weighted higher (Salehi et al. 2017)."""

from exps.exp010 import Exp010


class Exp011(Exp010):
    loss = "tversky"
