"""Which lesions an image shows, learned more slowly; sealed by earlier code."""

from exps.exp923 import Exp923


class Exp924(Exp923):
    lr = 1e-2
