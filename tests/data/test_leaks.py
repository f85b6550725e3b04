import cv2
import numpy as np
import pandas as pd
import pytest

from heldout.data.copies import candidate_pairs, local_features
from heldout.data.image import Image
from heldout.data.leaks import find_duplicates, group_ids
from heldout.data.signature import content_hash, signature


def scene(seed: int, size: int = 160) -> np.ndarray:
    """A round body with a few organs, as different between seeds as two patients in one pose are."""
    generator = np.random.default_rng(seed)
    picture = np.zeros((size, size), np.float32)
    cv2.ellipse(picture, (size // 2, size // 2), (size // 3, size // 2 - 8), 0, 0, 360, 120, -1)
    for _ in range(12):
        center = generator.integers(size // 4, 3 * size // 4, 2).tolist()
        cv2.circle(picture, center, int(generator.integers(3, 14)), float(generator.integers(40, 255)), -1)
    return cv2.GaussianBlur(picture, (0, 0), 1.0)[None].clip(0, 255).astype(np.uint8)


def find(images, patients=None, labels=None, near=True):
    names = [f"c{i}" for i in range(len(images))]
    frame = pd.DataFrame({"case_id": names, "patient_id": patients or names})
    frame["content_hash"] = [content_hash(image) for image in images]
    frame["y_x"] = labels or [0.0] * len(images)
    prints = [signature(Image(image, np.eye(4) if image.ndim == 4 else None)) for image in images]
    found = find_duplicates(frame, prints, images[0].ndim - 1, near)
    return found, group_ids(frame, found).tolist()


def brighter(image):
    return (image * 0.8 + 20).astype(np.uint8)


def smaller(image):
    return cv2.resize(image[0], (100, 100), interpolation=cv2.INTER_AREA)[None]


def recompressed(image):
    return cv2.imdecode(cv2.imencode(".jpg", image[0], [cv2.IMWRITE_JPEG_QUALITY, 40])[1], 0)[None]


def annotated(image):
    picture = image[0].copy()
    cv2.putText(picture, "L", (4, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 255, 2)
    return picture[None]


def test_equal_pixels_are_found_also_between_gray_and_rgb():
    images = [scene(1), scene(2), np.repeat(scene(1), 3, axis=0)]
    found, groups = find(images)
    assert found.exact == [["c0", "c2"]]
    assert found.near == []
    assert groups == ["c0", "c1", "c0"]


def tissue(seed: int) -> np.ndarray:
    """A scene with the texture of real tissue."""
    grain = cv2.GaussianBlur(
        np.random.default_rng(1000 + seed).normal(0, 60, (160, 160)).astype(np.float32), (0, 0), 1.5
    )
    return np.clip(scene(seed) + grain * (scene(seed) > 30), 0, 255).astype(np.uint8)


def sharpened(image):
    return np.clip(255 * (image / 255.0) ** 0.6, 0, 255).astype(np.uint8)


def rotated(image):
    turn = cv2.getRotationMatrix2D((80, 80), 8, 1)
    return brighter(cv2.warpAffine(image[0], turn, (160, 160))[None])


CHANGES = {
    "flipped": lambda image: image[:, :, ::-1],
    "upside down": lambda image: image[:, ::-1],
    "turned": lambda image: np.rot90(image, axes=(1, 2)),
    "rotated and brighter": rotated,
    "cut": lambda image: image[:, 12:150, 10:],
    "gamma": sharpened,
    "recompressed": recompressed,
    "smaller": smaller,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_copies_are_found_that_were_transformed_and_no_others(change):
    images = [tissue(1), tissue(2), np.ascontiguousarray(change(tissue(1))), tissue(3)]
    found, groups = find(images)
    assert found.near == [["c0", "c2"]]
    assert groups == ["c0", "c1", "c0", "c3"]


def test_copies_are_found_among_many_and_the_order_plays_no_part():
    images = [tissue(seed) for seed in range(48)] + [np.ascontiguousarray(tissue(5)[:, :, ::-1])]
    found, _ = find(images)
    assert found.near == [["c48", "c5"]]
    assert find(images[::-1])[0].near == [["c0", "c43"]]


def test_pictures_without_detail_are_copies_of_nothing():
    flat = [np.full((1, 64, 64), 10 * seed, np.uint8) for seed in range(1, 4)]
    for seed, image in enumerate(flat):
        image[0, 30 + seed, 30] += 1
    assert find([*flat, scene(1)])[0].near == find([*flat, scene(1)], near=True)[0].near
    features = [local_features(image[0]) for image in flat]
    assert candidate_pairs(features, ["a", "b", "c"]) == []


@pytest.mark.parametrize("change", [brighter, smaller, recompressed, annotated])
def test_near_copies_are_found_and_need_not_be_looked_for(change):
    images = [scene(1), scene(2), change(scene(1)), scene(3)]
    found, groups = find(images)
    assert found.exact == []
    assert found.near == [["c0", "c2"]]
    assert groups == ["c0", "c1", "c0", "c3"]
    assert find(images, near=False)[0].near == []


def test_different_patients_in_one_pose_are_not_chained():
    found, groups = find([scene(seed) for seed in range(150)])
    assert found.near == found.exact == []
    assert len(set(groups)) == 150


def test_patients_who_share_copies_become_one_group():
    images = [scene(1), scene(2), brighter(scene(2)), scene(3), scene(3), scene(9)]
    _, groups = find(images, ["a", "a", "b", "b", "c", "d"])
    assert groups == ["a", "a", "a", "a", "a", "d"]


def test_likeness_within_one_patient_is_no_finding():
    found, _ = find([scene(1), brighter(scene(1))], ["a", "a"])
    assert found.near == []


def test_copies_with_different_labels_are_reported_by_name():
    images = [scene(1), scene(1), scene(2), brighter(scene(2)), scene(3), scene(3)]
    found, _ = find(images, labels=[0.0, 1.0, 1.0, 0.0, 1.0, 1.0])
    assert found.conflicts == [["c0", "c1"], ["c2", "c3"]]


def test_volumes_exact_near_and_binary_shapes():
    generator = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 28)] * 3, indexing="ij"))
    blobs = [
        ((grid**2).sum(0) < 0.4 + 0.2 * (grid * generator.normal(size=(3, 1, 1, 1))).sum(0)).astype(np.uint8)[None]
        for _ in range(60)
    ]
    noisy = generator.normal(100, 20, (1, 20, 22, 18)).astype(np.float32)
    found, _ = find([*blobs, noisy, noisy + generator.normal(0, 2, noisy.shape).astype(np.float32), blobs[0]])
    assert found.exact == [["c0", "c62"]]
    assert ["c60", "c61"] in found.near


def test_four_thousand_images_take_seconds():
    import time

    from heldout.data.signature import ImageSignature

    generator = np.random.default_rng(0)
    base = generator.normal(size=(8, 1024))  # few kinds of images: many candidate pairs
    prints = []
    for number in range(4000):
        coarse = base[number % 8] + 0.3 * generator.normal(size=1024)
        detail = generator.normal(size=4096)
        prints.append(
            ImageSignature(
                number % 8,
                (coarse / np.linalg.norm(coarse)).astype(np.float16),
                (detail / np.linalg.norm(detail)).astype(np.float16),
            )
        )
    frame = pd.DataFrame({"case_id": [f"c{i}" for i in range(4000)], "content_hash": np.arange(4000).astype(str)})
    frame["patient_id"] = frame["case_id"]
    frame["y_x"] = 0.0
    begin = time.process_time()  # of this process: the machine may be busy with others
    assert find_duplicates(frame, prints, 2).near == []
    assert time.process_time() - begin < 15
