"""Low-grade glioma, multi-task, mask and head together from the first epoch on (Caruana 1997)."""

from exps.exp026 import Exp026


class Exp026Joint(Exp026):
    warmup_epochs = 0
    head_epochs = 0
    budgets = {"quick": {"warmup_epochs": 0, "head_epochs": 0}, "baseline": {"warmup_epochs": 0, "head_epochs": 0}}
