"""Prediction: whole or in windows, flipped or not, in whatever company, a case gets its own answer on its own grid."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch
from torch import nn

from heldout.data.geometry import Geometry
from heldout.data.patches import cut_patch
from heldout.errors import UserError
from heldout.predict.run import predict_cases
from heldout.tasks import Classify2D, Segment2D, Segment3D
from heldout.train.sampling import draw_patch

RANDOM = np.random.default_rng(0)


def grid(shape, **changes) -> Geometry:
    """Geometry of a case whose prepared grid is its own."""
    shape, zero = tuple(shape), (0,) * len(shape)
    same = {
        "original": shape,
        "content_start": zero,
        "content": shape,
        "axes": tuple(range(len(shape))),
        "flips": (False,) * len(shape),
        "start": zero,
        "cropped": shape,
        "resized": shape,
        "offset": zero,
        "prepared": shape,
    }
    return Geometry(**same | changes)


class Pointwise(nn.Module):
    """A 1 x 1 convolution: sees no neighbors, so windows, flips and padding cannot change its answer."""

    def __init__(self, dimensions: int, channels: int = 1, classes: int = 2, key: str = "mask") -> None:
        super().__init__()
        self.key = key
        self.layer = (nn.Conv2d if dimensions == 2 else nn.Conv3d)(channels, classes, 1)
        with torch.no_grad():
            self.layer.weight.copy_(torch.linspace(-4, 5, self.layer.weight.numel()).view_as(self.layer.weight))
            self.layer.bias.fill_(0.3)

    def forward(self, image):
        return {self.key: self.layer(image)}

    def expected(self, case: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            image = torch.from_numpy(case.astype(np.float32) / (255 if case.dtype == np.uint8 else 1))
            return np.rint(255 * torch.sigmoid(self.layer(image[None]))[0].numpy())


def run(config, model, arrays, exclusive=False, geometries=None, **options):
    geometries = geometries or [grid(array.shape[1:]) for array in arrays]
    cases = ((f"case{n}", array, geometry) for n, (array, geometry) in enumerate(zip(arrays, geometries, strict=True)))
    return [answer[0] for answer in predict_cases(config, [model], cases, exclusive=exclusive, **options)]


def images(*shapes) -> list[np.ndarray]:
    return [RANDOM.integers(0, 256, (1, *shape)).astype(np.uint8) for shape in shapes]


def volumes(*shapes) -> list[np.ndarray]:
    return [RANDOM.random((1, *shape)).astype(np.float16) for shape in shapes]


@pytest.mark.parametrize("tta", ["", "h", "v", "hv"])
@pytest.mark.parametrize("patch_size", [None, (16, 16), (8, 40), (64, 64)])
def test_windows_and_flips_of_an_image_change_nothing_for_a_pointwise_network(tta, patch_size):
    config = Segment2D.create(overrides={"patch_size": patch_size, "predict_batch_size": 3})
    model, arrays = Pointwise(2), images((20, 30), (20, 30), (33, 17), (20, 30))
    for array, answer in zip(arrays, run(config, model, arrays, tta=tta), strict=True):
        assert np.abs(answer.map - model.expected(array)).max() <= 1
        assert answer.map.dtype == np.uint8


@pytest.mark.parametrize("tta", ["", "xz", "xyz"])
@pytest.mark.parametrize("patch_size", [None, (8, 8, 8), (6, 40, 9)])
def test_windows_and_flips_of_a_volume_change_nothing_for_a_pointwise_network(tta, patch_size):
    config = Segment3D.create(overrides={"patch_size": patch_size, "overlap": 0.25})
    model, arrays = Pointwise(3), volumes((12, 9, 10), (7, 7, 7))
    for array, answer in zip(arrays, run(config, model, arrays, tta=tta), strict=True):
        assert np.abs(answer.map - model.expected(array)).max() <= 1


@pytest.mark.parametrize(
    ("shape", "seen"),
    [((20, 16), {(20, 16)}), ((21, 16), {(16, 16)}), ((40, 9), {(16, 16)}), ((5, 7), {(16, 16)})],
    ids=str,
)
def test_windows_have_the_size_of_the_patch_and_begin_a_quarter_beyond_it(shape, seen):
    sizes = set()

    class Watched(Pointwise):
        def forward(self, image):
            sizes.add(tuple(image.shape[2:]))
            return super().forward(image)

    run(Segment2D.create(overrides={"patch_size": (16, 16)}), Watched(2), images(shape))
    assert sizes == seen


def test_a_case_smaller_than_the_patch_is_seen_as_in_training():
    seen = []

    class Watched(Pointwise):
        def forward(self, image):
            seen.append(image[0].numpy())
            return super().forward(image)

    (array,) = volumes((5, 9, 4))
    run(Segment3D.create(overrides={"patch_size": (8, 8, 8)}), Watched(3), [array], tta="")
    start = draw_patch(array.shape[1:], (8, 9, 8), None, np.random.default_rng(0))
    np.testing.assert_array_equal(seen[0], cut_patch(array, start, (8, 9, 8)).astype(np.float32))


@pytest.mark.parametrize(("letter", "axis"), [("v", 1), ("h", 2)])
def test_flips_average_over_the_named_axis(letter, axis):
    class Ramp(Pointwise):
        """Knows rows from columns: its answer grows along both, each at its own pace."""

        def forward(self, image):
            rows, columns = torch.meshgrid(*(torch.arange(n).float() for n in image.shape[2:]), indexing="ij")
            return {"mask": (rows - 2 * columns).expand(len(image), 1, -1, -1) / 4 + 0 * self.layer(image)[:, :1]}

    (array,) = images((6, 9))
    config = Segment2D.create()
    plain = 1 / (1 + np.exp(-(np.arange(6)[:, None] - 2 * np.arange(9)) / 4))[None]
    answer = run(config, Ramp(2), [array], tta=letter)[0].map
    np.testing.assert_allclose(answer, 255 * (plain + np.flip(plain, axis)) / 2, atol=0.51)


def test_flipping_the_image_flips_the_prediction_under_tta():
    torch.manual_seed(0)
    config = Segment2D.create(overrides={"tta": "hv"})
    model = config.build_model(1, False)
    (array,) = images((32, 64))
    straight, flipped = run(config, model, [array, array[:, ::-1, ::-1].copy()])
    assert np.abs(straight.map.astype(int) - flipped.map[:, ::-1, ::-1]).max() <= 1
    plain, turned = run(config, model, [array, array[:, ::-1, ::-1].copy()], tta="")
    assert np.abs(plain.map.astype(int) - turned.map[:, ::-1, ::-1]).max() > 1


def test_predictions_return_to_the_grid_of_the_file():
    # a file of (5, 12), turned and mirrored, cropped to (10, 4), enlarged twice and put into a frame of (24, 8)
    geometry = grid(
        (5, 12),
        axes=(1, 0),
        flips=(True, False),
        start=(1, 1),
        cropped=(10, 4),
        resized=(20, 8),
        offset=(2, 0),
        prepared=(24, 8),
    )
    config, model = Segment2D.create(), Pointwise(2, classes=1)
    array = np.zeros((1, 24, 8), np.uint8)
    array[:, 2:22] = 255
    (answer,) = run(config, model, [array], geometries=[geometry])
    assert answer.map.shape == (1, 5, 12)
    foreground = model.expected(np.full((1, 1, 1), 255, np.uint8))[0, 0, 0]
    expected = np.zeros((5, 12))
    expected[1:5, 1:11] = foreground
    np.testing.assert_array_equal(answer.map[0], expected)


def test_repeating_a_run_gives_the_same_bits():
    torch.manual_seed(0)
    config = Segment3D.create(overrides={"filters": (4, 6, 8), "patch_size": (16, 16, 16), "tta": "x"})
    model, arrays = config.build_model(2, True), volumes((16, 15, 14), (16, 15, 14), (20, 18, 9))
    first, second = run(config, model, arrays, True), run(config, model, arrays, True)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.map, other.map)
        np.testing.assert_array_equal(one.scores, other.scores)


def test_company_in_the_batch_hardly_matters():
    torch.manual_seed(0)
    config = Segment2D.create()
    model, arrays = config.build_model(1, False), images((40, 32), (40, 32), (32, 40), (40, 32))
    together = run(config, model, arrays)
    for array, answer in zip(arrays, together, strict=True):
        (alone,) = run(config, model, [array])
        assert np.abs(alone.map.astype(int) - answer.map).max() <= 1


def test_batch_normalisation_and_dropout_are_at_rest():
    torch.manual_seed(0)
    config = Classify2D.create(overrides={"encoder": "mobilenetv3_small_050", "dropout": 0.5})
    model = config.build_model(2, True).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    cases = [(str(n), array, None) for n, array in enumerate(images(*[(32, 32)] * 5))]
    answers = [[answer for (answer,) in predict_cases(config, [model], cases, exclusive=True)] for _ in range(2)]
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    for one, other in zip(*answers, strict=True):
        np.testing.assert_array_equal(one.scores, other.scores)
        assert one.map is None
        assert one.scores.sum() == pytest.approx(1, abs=1e-5)


def test_computing_in_float32_under_the_callers_autocast():
    torch.manual_seed(0)
    config = Segment2D.create()
    model, arrays = config.build_model(1, False), images((32, 32))
    (plain,) = run(config, model, arrays)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (inside,) = run(config, model, arrays)
    np.testing.assert_array_equal(plain.map, inside.map)


def test_several_networks_answer_in_their_order():
    config, arrays = Segment2D.create(), images((8, 8), (9, 9))
    models = [Pointwise(2), Pointwise(2)]
    nn.init.zeros_(models[1].layer.weight)
    cases = [(str(n), array, grid(array.shape[1:])) for n, array in enumerate(arrays)]
    for (case_id, array, _), answers in zip(cases, predict_cases(config, models, cases, exclusive=False), strict=True):
        assert [answer.case_id for answer in answers] == [case_id] * 2
        np.testing.assert_array_equal(answers[1].map, models[1].expected(array))


def test_only_the_batches_at_work_are_held():
    alive: list[weakref.ref] = []
    most = 0

    def cases():
        nonlocal most
        for number in range(40):
            most = max(most, sum(reference() is not None for reference in alive))
            array = np.zeros((1, 8, 8), np.uint8)
            alive.append(weakref.ref(array))
            yield str(number), array, grid((8, 8))

    config = Segment2D.create(overrides={"predict_batch_size": 4})
    assert sum(1 for _ in predict_cases(config, [Pointwise(2)], cases(), exclusive=False)) == 40
    assert most <= 12


def test_a_broken_network_is_named_not_stored():
    model = Pointwise(2)
    nn.init.constant_(model.layer.bias, float("nan"))
    with pytest.raises(UserError, match="prediction of case case0 is not finite"):
        run(Segment2D.create(), model, images((8, 8)))


def test_an_axis_that_does_not_exist_is_refused():
    with pytest.raises(UserError, match="tta = 'x' may hold each of 'vhr' once"):
        run(Segment2D.create(), Pointwise(2), images((8, 8)), tta="x")
