"""A sealed blend with predictions that were made elsewhere is tested on the cases that came with them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from heldout.blend.freeze import freeze
from heldout.blend.ledger import test as evaluate
from heldout.blend.search import blend
from heldout.blend.verify import open_decision
from heldout.cli import run as command
from heldout.config import load
from heldout.data.cases import open_dataset
from heldout.errors import UserError
from heldout.train.import_run import import_oof
from heldout.train.imported import imported_folder
from tests.train.test_import_oof import exported


def test_a_sealed_blend_with_imported_predictions_is_tested_and_every_change_noticed(runs, tmp_path):
    table = exported("exp914", tmp_path / "out")
    dataset = open_dataset(load("exp914"))
    random = np.random.default_rng(0)
    names = [name for name in table if name.startswith("p_")]
    table[names] = np.clip(table[names] + random.normal(0, 0.05, (len(table), len(names))), 0, 1)
    table.to_csv(tmp_path / "oof.csv", index=False)
    tested = dataset.part("test")["case_id"].tolist()
    test = pd.DataFrame({"id": tested, **{name: random.random(len(tested)) for name in names}})
    test.to_csv(tmp_path / "test.csv", index=False)
    record = import_oof("ana", tmp_path / "oof.csv", "Ana", test=tmp_path / "test.csv", like="exp914")
    assert record.cases == len(tested)
    blend(["exp914", "ana"], "both", sampler="equal", metric="roc_auc", progress=False)
    freeze("both")
    opened = open_decision("both")
    result = evaluate(opened.decision)
    assert 0 <= result.score <= 1
    stored = pd.read_parquet(result.path).set_index("case_id")
    own = opened.members[0].predict(tested[0], dataset.read_image(tested[0]), dataset.exclusive)
    mean = np.mean([one.scores for one in own], 0)
    expected = (mean + test.loc[0, names].to_numpy(float)) / 2
    np.testing.assert_allclose(stored.loc[tested[0], names].to_numpy(float), expected, atol=1e-5)
    assert command(["kernel", "both", "--user", "me"]) == 2
    path = imported_folder("ana") / "imported.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"by": "Eve"}))
    with pytest.raises(UserError, match=r"is not the one that .* was made with"):
        list(open_decision("both").predict([(tested[0], dataset.read_image(tested[0]))]))
