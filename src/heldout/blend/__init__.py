"""Out-of-fold probabilities in, a sealed decision out, and one test score. ``heldout.blend([...])`` makes a blend."""

import sys

from heldout import CallablePackage

sys.modules[__name__].__class__ = CallablePackage
