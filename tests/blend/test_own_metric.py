"""A metric of the user's own ranks, tunes as the built-in one of the same formula does, and is part of a decision."""

from __future__ import annotations

import re

import pytest

from heldout.blend.cases import build_objective
from heldout.blend.decision import read_decision
from heldout.blend.freeze import freeze
from heldout.blend.members import load_member
from heldout.blend.search import blend
from heldout.blend.verify import open_decision
from heldout.config import load
from heldout.errors import UserError
from heldout.evaluate.collect import find_row
from heldout.files import REPOSITORY
from heldout.metrics.registry import get_metric
from tests.finished_runs import TINY
from tests.metrics.test_own import FILE

PAGE = (REPOSITORY / "docs" / "metrics.md").read_text(encoding="utf-8")
DOCUMENTED = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))


def test_the_documented_metric_ranks_a_run_and_a_blend(own_file, finish):
    own_file(DOCUMENTED)
    specs = [finish(f"{TINY},metric=soft_f1,lr={lr}", skill=skill) for lr, skill in ((0.1, 0.5), (0.2, 1.5))]
    rows = [find_row(spec) for spec in specs]
    assert rows[0].metric == "soft_f1"
    assert rows[0].score < rows[1].score
    assert 0 < rows[1].low < rows[1].score < rows[1].high < 1
    decision = blend(specs, "soft", trials=20, progress=False)
    assert decision.metric == "soft_f1"
    assert decision.search.metric_code == get_metric("soft_f1").code
    assert decision.members[1].weight > decision.members[0].weight
    assert find_row("soft").score == pytest.approx(decision.score.cross_fitted)
    own_file(DOCUMENTED.replace("2 * (y * p)", "1 * (y * p)"))
    assert find_row(specs[1]).score == pytest.approx(rows[1].score / 2)
    assert "not verified" in find_row("soft").note


def test_the_presets_of_the_page_are_metrics(own_file):
    own_file(DOCUMENTED)
    assert not get_metric("lumbar").higher_is_better
    assert get_metric("levels").code


def test_a_metric_of_all_classes_together_ranks_without_scores_of_single_classes(own_file, runs):
    own_file(
        "import numpy as np\nimport heldout as ho\n@ho.metric(higher_is_better=True)\n"
        "def second(cases):\n    return 1 - np.abs(cases.truth[:, 1] - cases.probability[:, 1]).mean()\n"
    )
    decision = blend(["exp911"], "both", metric="second", trials=4, progress=False)
    row = find_row("both")
    assert row.score == pytest.approx(decision.score.cross_fitted)
    assert row.by_class == {}


@pytest.mark.parametrize(("own", "built_in"), [("own_f1", "f1"), ("own_dice", "dice_pos")])
def test_thresholds_are_as_good_as_those_of_the_built_in_metric(own_file, runs, own, built_in):
    own_file("import numpy as np\n" + FILE)
    specs = ["exp914"] if built_in == "f1" else ["exp911", "exp912"]
    members = [load_member(spec) for spec in specs]
    weights = (1000,) if len(specs) == 1 else (400, 600)
    found, expected = (build_objective(members, name, progress=False).tune(weights)[0] for name in (own, built_in))
    assert found == pytest.approx(expected, abs=0.005)  # coordinate ascent, not every combination


def test_an_edited_metric_is_refused_with_a_sealed_decision(own_file, runs):
    own_file("import numpy as np\n" + FILE)
    blend(["exp911", "exp912"], "duo", trials=8, metric="own_dice", progress=False)
    freeze("duo")
    assert read_decision("duo").search.metric_code
    open_decision("duo")
    own_file("import numpy as np\n" + FILE.replace("dice = held * 2", "dice = held * 1"))
    with pytest.raises(UserError, match="the code of metric own_dice changed"):
        open_decision("duo")


def test_a_metric_that_chooses_checkpoints_is_code_of_the_run(own_file, home):
    from heldout.train.runs import _code

    own_file("import numpy as np\n" + FILE)
    plain, chosen = (load(f"exp004+metric=own_pf1{rest}") for rest in ("", ",checkpoint=best,validate_every=1"))
    assert "exps.metrics:own_pf1" not in _code(plain)
    assert "exps.metrics:own_pf1" in _code(chosen)
