"""Experiments inherit by bare assignment, and refuse every field, type or pair that makes no sense."""

from __future__ import annotations

import importlib
import sys
from typing import ClassVar

import pytest

from heldout import config as configuration
from heldout.config import BaseConfig, difference
from heldout.errors import UserError
from heldout.tasks import Classify2D, Classify3D, Segment2D, Segment3D

PARENT = '''"""Parent of the family."""
from typing import ClassVar
from heldout.config import BaseConfig

class Exp900(BaseConfig):
    dimensions: ClassVar[int] = 2
    dataset = "phantom"
    lr = 3e-4
    epochs = 8
    budgets = {"quick": {"epochs": 2, "image_size": (64, 64)}}

    def build_loss(self):
        return "parent"
'''


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write experiment files into a package ``exps`` of their own."""
    package = tmp_path / "exps"
    package.mkdir()
    (package / "__init__.py").touch()
    saved = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "exps"}
    for name in saved:
        del sys.modules[name]
    monkeypatch.syspath_prepend(str(tmp_path))

    def add(name: str, text: str) -> None:
        (package / f"{name}.py").write_text(text)
        sys.modules.pop(f"exps.{name}", None)
        importlib.invalidate_caches()

    add("exp900", PARENT)
    yield add
    for name in [name for name in sys.modules if name.partition(".")[0] == "exps"]:
        del sys.modules[name]
    sys.modules.update(saved)


def child(write, body: str, doc: str = "Child.") -> BaseConfig:
    write("exp901", f'"""{doc}"""\nfrom exps.exp900 import Exp900\n\nclass Exp901(Exp900):\n{body}\n')
    return configuration.load("exp901")


def test_bare_assignment_overrides_and_the_rest_is_inherited(write):
    experiment = child(write, "    lr = 1e-2")
    assert (experiment.lr, experiment.epochs, experiment.title) == (1e-2, 8, "Child.")
    assert (experiment.spec, experiment.parent_name(), experiment.task_name()) == ("exp901", "exp900", "BaseConfig")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("    learning_rates = 1", "unknown field 'learning_rates'"),
        ("    epoch = 3", "did you mean 'epochs'"),
        ("    lr = 'fast'", "lr = 'fast'"),
        ("    batch_size = 2.5", "batch_size = 2.5"),
        ("    fold_count = 1", "fold_count = 1"),
        ("    channels = 1000", "channels = 1000: Input should be less than or equal to 128"),
        ("    batch_size = 100_000_000", "batch_size = 100000000: Input should be less than or equal to 8192"),
        ("    predict_batch_size = 100_000_000", "should be less than or equal to 8192"),
        ("    checkpoint = 'best'", "needs validate_every"),
        ("    folds = (0, 7)", "lie outside"),
        ("    seeds = (1, 1)", "repeat"),
        ("    folds = ()", "folds = ()"),
        ("    percentiles = (99.0, 1.0)", "ascending and within 0 ... 100"),
        ("    percentiles = (-5.0, 99.0)", "ascending and within 0 ... 100"),
        ("    window = (40.0, 0.0)", "a width that is not positive"),
        ("    image_size = (100_000, 100_000)", "more than the 536870912 values allowed"),
        ("    patch_size = (8, 8, 8)", "needs 2"),
        (
            "    normalize = 'window'\n    windows = ((40, 80), (600, 2800))",
            "2 windows need normalize = 'window' and channels = 2, not 'window' and 1",
        ),
        ("    channels = 1\n    windows = ((40, 80),)", "1 windows need normalize = 'window'"),
        ("    normalize = 'window'\n    windows = ((40, 0),)", "a width that is not positive"),
        ("    tta = 'x'", "may hold each of 'vhr'"),
        ("    budgets = {'quick': {'epoch': 1}}", "unknown field 'epoch'"),
        ("    budgets = {'quick': {'epochs': 0}}", "under its budget 'quick': epochs = 0"),
        ("    hard_negative_fraction = 0.5\n    positive_fraction = 0.5", "under its budget 'quick': mine_every = 5"),
        ("    search_space = {'lr': ('log', 1e-4, float('inf'))}", "search_space lr = ('log', 0.0001, inf): write"),
        ("    def lr(self): return 1", "lr is a field"),
    ],
)
def test_a_wrong_experiment_is_refused_at_import(write, body, message):
    with pytest.raises(UserError, match=r"exps\.exp901") as caught:
        child(write, body)
    assert message in str(caught.value)


def test_it_is_frozen_and_hashable(write):
    experiment = child(write, "    lr = 1e-2")
    with pytest.raises(ValueError, match="frozen"):
        experiment.lr = 1.0
    assert len({experiment, configuration.load("exp901"), configuration.load("exp900")}) == 2


def test_the_identity_sees_fields_and_hooks_but_no_comment(write):
    plain = child(write, "    lr = 1e-2").identity_hash()
    hook = "    lr = 1e-2\n    def build_loss(self):\n        return 'child'"
    changed = child(write, hook).identity_hash()
    commented = child(write, hook.replace("return", "# why\n        return"), doc="Another title.").identity_hash()
    assert plain != changed
    assert changed == commented
    assert child(write, "    lr = 1e-2\n    workers = 0\n    seeds = (5,)").identity_hash() == plain


def test_budget_and_overrides_make_a_way_to_run_of_their_own(write):
    experiment = configuration.load("exp900", budget="quick", overrides=["lr=1e-2", "patch_size=(32, 32)"])
    assert (experiment.epochs, experiment.lr, experiment.patch_size) == (2, 0.01, (32, 32))
    again = configuration.load(experiment.spec)
    assert experiment.spec == "exp900@quick+lr=0.01,patch_size=(32,32)"
    assert (again.spec, again.identity_hash()) == (experiment.spec, experiment.identity_hash())


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("spacing=[3.0, 3.0, 3.0]", "spacing", (3.0, 3.0, 3.0)),
        ("patch_size=[32, 32]", "patch_size", (32, 32)),
        ("percentiles=[2.0,98.0]", "percentiles", (2.0, 98.0)),
    ],
)
def test_a_list_does_for_a_tuple_as_tables_print_one(write, text, field, value):
    listed = configuration.load("exp900", overrides=[text])
    plain = configuration.load("exp900", overrides=[f"{field}={value}"])
    assert getattr(listed, field) == value
    assert (listed.spec, listed.identity_hash()) == (plain.spec, plain.identity_hash())
    assert getattr(child(write, f"    {text.replace('=', ' = ', 1)}"), field) == value


def test_lists_within_a_list_become_tuples_too(write):
    text = ["normalize=window", "channels=2", "windows=[[40.0, 80.0], [600.0, 2800.0]]"]
    assert configuration.load("exp900", overrides=text).windows == ((40.0, 80.0), (600.0, 2800.0))


@pytest.mark.parametrize(
    ("spec", "overrides", "message"),
    [
        ("exp9", [], "not an experiment"),
        ("exp999", [], "exps/exp999.py does not exist"),
        ("exp900@huge", [], "it has quick"),
        ("exp900", ["lr"], "write field=value"),
        ("exp900", ["lrr=1"], "did you mean 'lr'"),
        ("exp900", ["epochs=many"], "epochs = 'many'"),
        ("exp900", ["image_size=64"], "image_size = 64: Input should be a valid tuple: write (value, value, ...)"),
        ("exp900", ["dataset=a/b"], "make an experiment file"),
        ("exp900", ["dataset=" + 200 * "a"], "200 bytes"),
    ],
)
def test_a_wrong_call_names_the_remedy(write, spec, overrides, message):
    with pytest.raises(UserError) as caught:
        configuration.load(spec, overrides=overrides)
    assert message in str(caught.value)


def test_two_budgets_contradict_each_other(write):
    assert configuration.load("exp900@quick", budget="quick").epochs == 2
    with pytest.raises(UserError, match="already names the budget quick: leave out --budget nope"):
        configuration.load("exp900@quick", budget="nope")


def test_difference_lists_what_changed():
    old = {"fields": {"lr": 0.1, "epochs": 3}, "task": "Segment2D"}
    assert difference(old, {"fields": {"lr": 0.2, "epochs": 3}, "task": "Segment2D"}) == ["lr: 0.1 -> 0.2"]


def test_dimensions_decide_the_flip_axes():
    class Flat(BaseConfig):
        dimensions: ClassVar[int] = 2

    class Deep(BaseConfig):
        dimensions: ClassVar[int] = 3

    assert (Flat().flip_axes, Deep().flip_axes) == ("vh", "xyz")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\nundefined_name\n", r"exps/exp901\.py line 2 fails with NameError"),
        ("def broken(:\n", r"exps/exp901\.py line 1 fails with SyntaxError"),
        ("import no_such_package\n", r"exps/exp901\.py imports no_such_package, which does not exist"),
    ],
    ids=["name", "syntax", "import"],
)
def test_a_broken_experiment_file_is_named_with_its_line(write, text, message):
    write("exp901", text)
    with pytest.raises(UserError, match=message):
        configuration.load("exp901")


def test_a_record_older_than_a_field_counts_as_having_had_its_default():
    config = configuration.load("exp040")
    recorded = config.identity()
    for name in ("accumulate", "positive_fraction"):
        del recorded["fields"][name]
    assert difference(config.complete(recorded), config.identity()) == ["positive_fraction: None -> 0.5"]


def test_budgets_of_a_child_merge_with_those_of_its_parent(write):
    experiment = child(write, "    budgets = {'quick': {'epochs': 3}, 'long': {'epochs': 99}}")
    assert experiment.budgets == {"quick": {"epochs": 3, "image_size": (64, 64)}, "long": {"epochs": 99}}
    write("exp902", "from exps.exp901 import Exp901\n\nclass Exp902(Exp901):\n    budgets = {'quick': None}\n")
    assert configuration.load("exp902").budgets == {"long": {"epochs": 99}}


def test_an_earlier_name_of_a_hook_is_taken_with_a_note_and_runs_made_under_it_stay_valid(write, capsys):
    earlier = child(write, "    def judge(self, outputs):\n        return outputs['label']")
    assert "judge is now called classify_head" in capsys.readouterr().err
    assert earlier.classify_head({"label": 3}) == 3
    identity = earlier.identity()
    names = {"classify_head": "judge"}
    recorded = {**identity, "hooks": {names.get(name, name): digest for name, digest in identity["hooks"].items()}}
    assert difference(earlier.complete(recorded), identity) == []
    today = child(write, "    def classify_head(self, outputs):\n        return outputs['label']")
    assert difference(today.complete(recorded), today.identity()) == []


def test_an_earlier_spelling_of_a_field_is_taken_with_a_note(write, capsys):
    body = "    normalise = 'unit'\n    budgets = {'quick': {'normalise': 'zscore'}}"
    experiment = child(write, body)
    assert "normalise is now called normalize" in capsys.readouterr().err
    assert (experiment.normalize, configuration.load("exp901@quick").normalize) == ("unit", "zscore")
    again = configuration.load("exp901", overrides=["normalise=window"])
    assert (again.normalize, again.spec) == ("window", "exp901+normalize=window")


def test_an_earlier_name_of_an_experiment_means_the_same(write):
    child(write, "    lr = 1e-2")
    write("aliases", 'ALIASES = {"exp900a": "exp901"}')
    assert configuration.load("exp900a@quick+normalise=unit").spec == "exp901@quick+normalize=unit"


def test_a_record_with_earlier_names_is_today_s():
    config = BaseConfig()
    recorded = config.identity()
    fields = dict(recorded["fields"])
    fields["normalise"] = fields.pop("normalize")
    fields["first_stage_share"] = fields.pop("first_stage_fraction")
    assert difference(config.complete({**recorded, "fields": fields}), config.identity()) == []


@pytest.mark.parametrize("task", [Classify2D, Classify3D, Segment2D, Segment3D], ids=lambda task: task.__name__)
def test_every_field_has_a_description(task):
    assert [name for name, field in task.model_fields.items() if not field.description] == []
