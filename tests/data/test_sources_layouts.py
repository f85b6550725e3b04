"""One dataset layout each, with its oddities."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow

from heldout.data.image import BadFile
from heldout.errors import UserError
from tests.data.toy import get_source


def picture(path, array=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    if array is None:
        array = np.random.default_rng(len(path.name)).integers(0, 256, (12, 16), np.uint8)
    Pillow.fromarray(array).save(path, **options)


def volume(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([1, 1, 2, 1])), path)


# Medical Segmentation Decathlon


@pytest.fixture
def msd(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("h_1", "h_2"):
        volume(tmp_path / f"imagesTr/{name}.nii.gz", rng.random((4, 5, 6, 2)).astype(np.float32))
        volume(tmp_path / f"labelsTr/{name}.nii.gz", rng.integers(0, 3, (4, 5, 6)).astype(np.float32))
    volume(tmp_path / "imagesTs/h_3.nii.gz", rng.random((4, 5, 6, 2)).astype(np.float32))
    plan = {
        "labels": {"0": "background", "1": "Anterior", "2": "Whole tumor"},
        "numTraining": 2,
        "training": [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in ("h_1", "h_2")],
        "test": ["./imagesTs/h_3.nii.gz"],
    }
    write_plan(tmp_path, plan)
    return tmp_path, plan


def write_plan(folder, plan):
    (folder / "dataset.json").write_text(json.dumps(plan))


def test_msd_index_and_reading(msd):
    source = get_source("msd", msd[0], {})
    index = source.index()
    assert source.classes == ("anterior", "whole_tumor")
    assert list(index["case_id"]) == ["h_1", "h_2", "h_3"]
    assert list(index["split"]) == ["", "", "submit"]
    assert source.read_image(index.iloc[0]).array.shape == (2, 4, 5, 6)
    assert source.read_mask(index.iloc[0]).shape == (1, 4, 5, 6)
    assert index["y_anterior"].isna().all()
    assert source.report() == []


def test_msd_names_missing_unlisted_and_miscounted_files(msd):
    folder, plan = msd
    (folder / "imagesTr/h_2.nii.gz").unlink()
    volume(folder / "imagesTr/h_9.nii.gz", np.zeros((2, 2, 2), np.uint8))
    write_plan(folder, {**plan, "numTraining": 5})
    source = get_source("msd", folder, {})
    report = "\n".join(source.report())
    for words in (
        "imagesTr/h_2.nii.gz is missing",
        "h_9.nii.gz is not listed",
        "counts 5 training volumes but lists 2",
    ):
        assert words in report
    with pytest.raises(BadFile, match=r"h_2\.nii\.gz"):
        source.read_image(source.index().iloc[1])


def test_msd_label_values_with_gaps_are_numbered(msd):
    folder, plan = msd
    volume(folder / "labelsTr/h_1.nii.gz", np.array([0, 1, 2, 2, 4, 4], np.float32).reshape(1, 2, 3))
    write_plan(folder, {**plan, "labels": {"0": "background", "1": "a", "2": "b", "4": "c"}})
    source = get_source("msd", folder, {})
    assert source.read_mask(source.index().iloc[0]).ravel().tolist() == [0, 1, 2, 2, 3, 3]


def test_msd_file_unpacked_later_is_found(msd):
    import gzip

    packed = msd[0] / "imagesTr/h_1.nii.gz"
    packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    assert "imagesTr/h_1.nii" in get_source("msd", msd[0], {}).index()["image"][0]


def test_msd_loose_leaves_labels_out(msd):
    assert list(get_source("msd", msd[0], {}).loose(msd[0])["name"]) == [
        "imagesTr/h_1.nii.gz",
        "imagesTr/h_2.nii.gz",
        "imagesTs/h_3.nii.gz",
    ]


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ({"background": 0, "b": 2, "a": 1}, ("a", "b")),
        ({"background": "0", "a": "1", "b": "2"}, ("a", "b")),
        ({"0.0": "background", "1.0": "a", "2.0": "b"}, ("a", "b")),
        ({"background": 0, "a": 1.0, "b": 2, "ignore": 3}, ("a", "b")),
        ({"background": 0, "whole": [1, 2], "core": [2]}, ("whole", "core")),
    ],
)
def test_msd_labels_in_every_way_of_writing(msd, labels, classes):
    folder, plan = msd
    stored = np.array([0, 1, 2, 2, 1, 0], np.uint8).reshape(1, 2, 3)
    volume(folder / "labelsTr/h_1.nii.gz", stored)
    write_plan(folder, {**plan, "labels": labels, "regions_class_order": [1, 2]})
    source = get_source("msd", folder, {})
    mask = source.read_mask(source.index().iloc[0])
    assert (source.classes, source.exclusive) == (classes, "whole" not in classes)
    assert np.array_equal(mask, [stored > 0, stored == 2] if "whole" in classes else [stored])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"0": "background", "1": "a", "300": "c"}, "the label 300.*0 to 255.*renumber"),
        ({"0": "background", "1": "a", "2": "A"}, "calls two labels 'a'.*name of its own"),
        ({"0": "background", "1": "lesion", "2": "lesion"}, "calls two labels 'lesion'"),
        ({"background": 0, "a": 1, "b": 1}, "'a' and 'b' the same label 1: renumber"),
        ({"background": 0, "a": "one"}, "'a' the label 'one': write a whole number"),
        ({"background": 0, "a": None}, "'a' the label None: write a whole number"),
        ({"background": 0, "a": True}, "'a' the label True: write a whole number"),
        ({"background": 0, "a": -1}, "'a' the label -1.*renumber"),
        ({"background": 0, "a": [0, 1]}, r"region 'a' with the labels \[0, 1\]: list labels above 0"),
        ({"background": 0, "a": []}, "region 'a'.*list labels above 0"),
        ({"background": 0, "ignore": 1}, "no label above 0: add it"),
        ({"background": {"value": 0}}, "'background' the label {'value': 0}: write"),
        ("a, b", 'has no "labels" of the form'),
    ],
)
def test_msd_labels_without_sense_are_named_with_the_remedy(msd, labels, message):
    folder, plan = msd
    write_plan(folder, {**plan, "labels": labels})
    with pytest.raises(UserError, match=f"(?s)dataset.json.*{message}"):
        get_source("msd", folder, {}).index()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"background": 0, "a": 1}, "case h_1: its mask holds the label 2.*does not name: correct"),
        ({"background": 0, "a": 1, "ignore": 3}, "case h_1: its mask holds the label 2.*does not name: correct"),
        ({"background": 0, "a": [1]}, "case h_1: its mask holds the label 2.*no region: correct"),
    ],
)
def test_msd_masks_with_unknown_values_are_refused(msd, labels, message):
    folder, plan = msd
    volume(folder / "labelsTr/h_1.nii.gz", np.arange(3, dtype=np.uint8).reshape(1, 1, 3))
    write_plan(folder, {**plan, "labels": labels})
    source = get_source("msd", folder, {})
    with pytest.raises(BadFile, match=message):
        source.read_mask(source.index().iloc[0])


@pytest.mark.parametrize(
    ("labels", "read"),
    [
        ({"background": 0, "a": 1, "ignore": 2}, [[0, 1, 255]]),
        ({"background": 0, "a": 1, "ignore": [2]}, [[0, 1, 255]]),
        ({"background": 0, "whole": [1], "ignore": 2}, [[0, 1, 255]]),
        ({"background": 0, "whole": [1, 3], "core": [3], "ignore": 2}, [[0, 1, 255], [0, 0, 255]]),
    ],
)
def test_msd_ignore_label_of_nnunet_becomes_255_in_every_class(msd, labels, read):
    folder, plan = msd
    volume(folder / "labelsTr/h_1.nii.gz", np.arange(3, dtype=np.uint8).reshape(1, 1, 3))
    write_plan(folder, {**plan, "labels": labels})
    source = get_source("msd", folder, {})
    assert source.ignores
    assert source.read_mask(source.index().iloc[0])[:, 0, 0].tolist() == read


def test_msd_dataset_json_with_a_byte_order_mark_and_counts_as_text_is_read(msd):
    folder, plan = msd
    text = json.dumps({**plan, "numTraining": "2"}).encode()
    (folder / "dataset.json").write_bytes(b"\xef\xbb\xbf" + text)
    source = get_source("msd", folder, {})
    assert len(source.index()) == 3
    assert not [line for line in source.report() if "counts" in line]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": {"a": 0, "b": 1, "background": 2}}, "'background' the label 2: background is 0"),
        ({"labels": {"background": 0, "a": 1, "ignore": [2, 3]}}, r"'ignore' the labels \[2, 3\]: give it one"),
        ({"training": "twice"}, "lists imagesTr/h_1.nii.gz twice"),
    ],
)
def test_msd_contradictions_are_named(msd, change, message):
    folder, plan = msd
    if change.get("training") == "twice":
        change = {"training": [*plan["training"], plan["training"][0]]}
    write_plan(folder, {**plan, **change})
    with pytest.raises(UserError, match=f"dataset.json.*{message}"):
        get_source("msd", folder, {}).index()


@pytest.mark.parametrize("prefix", ["/data/raw/Task04/", "D:\\raw\\Task04\\", "../../Task04/", "./"])
def test_msd_paths_of_another_machine_are_found_in_the_folder(msd, prefix):
    folder, plan = msd
    before = get_source("msd", folder, {}).index()
    training = [{key: entry[key].replace("./", prefix) for key in entry} for entry in plan["training"]]
    if "\\" in prefix:
        training = [{key: entry[key].replace("/", "\\") for key in entry} for entry in training]
    write_plan(folder, {**plan, "training": training})
    source = get_source("msd", folder, {})
    assert source.index().equals(before)
    (folder / "imagesTr/h_2.nii.gz").unlink()
    assert "h_2: imagesTr/h_2.nii.gz is missing" in "\n".join(get_source("msd", folder, {}).report())


@pytest.fixture
def nnunet(tmp_path):
    """nnU-Net v2: two channels in files of their own, no list of cases."""
    rng = np.random.default_rng(0)
    for folder, names in (("imagesTr", ("c_1", "c_2")), ("imagesTs", ("c_3",))):
        for name in names:
            for channel in range(2):
                array = rng.random((4, 5, 6)).astype(np.float32)
                volume(tmp_path / f"{folder}/{name}_{channel:04d}.nii.gz", array)
    for name in ("c_1", "c_2"):
        volume(tmp_path / f"labelsTr/{name}.nii.gz", rng.integers(0, 3, (4, 5, 6)).astype(np.uint8))
    plan = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "a": 1, "b": 2},
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    write_plan(tmp_path, plan)
    return tmp_path, plan


def test_nnunet_cases_are_found_with_their_channels(nnunet):
    folder, plan = nnunet
    source = get_source("msd", folder, {})
    index = source.index()
    assert list(index["case_id"]) == ["c_1", "c_2", "c_3"]
    assert list(index["split"]) == ["", "", "submit"]
    assert index["image"][0] == '["imagesTr/c_1_0000.nii.gz", "imagesTr/c_1_0001.nii.gz"]'
    assert source.read_image(index.iloc[0]).array.shape == (2, 4, 5, 6)
    assert source.report() == []
    assert list(source.loose(folder / "imagesTs")["case_id"]) == ["c_3"]
    listed = [{"image": f"./imagesTr/c_{n}.nii.gz", "label": f"./labelsTr/c_{n}.nii.gz"} for n in (1, 2)]
    write_plan(folder, {**plan, "training": listed, "test": ["./imagesTs/c_3.nii.gz"]})  # as v1 lists them
    assert get_source("msd", folder, {}).index().equals(index)
    entries = {f"c_{n}": {"images": json.loads(index["image"][n - 1]), "label": listed[n - 1]["label"]} for n in (1, 2)}
    write_plan(folder, {**plan, "dataset": entries})
    assert get_source("msd", folder, {}).index().equals(index.iloc[:2])


def test_the_mask_of_an_entry_without_label_is_found_by_its_name(msd, nnunet):
    folder, plan = msd
    write_plan(folder, {**plan, "training": ["./imagesTr/h_1.nii.gz", {"image": "./imagesTr/h_2.nii.gz"}]})
    assert list(get_source("msd", folder, {}).index()["mask"][:2]) == [
        '["labelsTr/h_1.nii.gz"]',
        '["labelsTr/h_2.nii.gz"]',
    ]


def test_more_names_of_channels_than_files_are_named(nnunet):
    folder, plan = nnunet
    write_plan(folder, {**plan, "channel_names": {"0": "T1", "1": "T2", "2": "FLAIR"}})
    with pytest.raises(UserError, match=r"dataset\.json has 3 channel_names, but no file .* in _0002: correct"):
        get_source("msd", folder, {}).index()


def test_nnunet_cases_without_numbers_of_channels(nnunet):
    folder, plan = nnunet
    for number in (1, 2):
        (folder / f"imagesTr/c_{number}_0000.nii.gz").rename(folder / f"imagesTr/c_{number}.nii.gz")
        (folder / f"imagesTr/c_{number}_0001.nii.gz").unlink()
    write_plan(folder, {**plan, "channel_names": {"0": "T1"}})
    assert get_source("msd", folder, {}).index()["image"][0] == '["imagesTr/c_1.nii.gz"]'


def test_nnunet_defects_are_named(nnunet):
    folder, plan = nnunet
    (folder / "imagesTr/c_2_0001.nii.gz").unlink()
    (folder / "labelsTr/c_1.nii.gz").unlink()
    (folder / "splits_final.json").write_text("[]")
    source = get_source("msd", folder, {})
    report = "\n".join(source.report())
    for words in (
        "c_2: imagesTr/c_2_0001.nii.gz is missing",
        "imagesTr/c_1_0000.nii.gz has no mask of its name in labelsTr and is left out",
        "counts 2 training volumes but its folders hold 1",
        "splits_final.json is not used",
    ):
        assert words in report
    with pytest.raises(BadFile, match=r"c_2_0001\.nii\.gz"):
        source.read_image(source.index().iloc[0])
    write_plan(folder, {**plan, "file_ending": ".png"})
    with pytest.raises(UserError, match=r"dataset.json has file_ending = '.png'.*convert"):
        get_source("msd", folder, {}).index()
    write_plan(folder, {**plan, "training": "all"})
    with pytest.raises(UserError, match=r"dataset.json has a 'training' that is not a list"):
        get_source("msd", folder, {}).index()
    (folder / "labelsTr/c_2.nii.gz").unlink()
    write_plan(folder, plan)
    with pytest.raises(UserError, match=r"lists no training case.*labelsTr holds no .nii.gz: fill in"):
        get_source("msd", folder, {}).index()


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ([{"train": ["c_2"], "val": ["c_1"]}, {"train": ["c_1"], "val": ["c_2"]}], None),
        (
            [{"train": ["c_1"], "val": ["c_1"]}, {"train": [], "val": ["c_1", "c_2"]}],
            "c_1 is in two of its folds: correct",
        ),
        ([{"train": ["c_1"], "val": ["c_2"]}], "lacks case c_1: add it, or leave splits out"),
        ([{"train": [], "val": ["c_9"]}], "c_9 is not a training case: correct it"),
        ({"val": ["c_1"]}, "is not a list of folds"),
        ([["c_1"]], "is not a list of folds"),
    ],
)
def test_nnunet_folds_are_taken_where_they_are_asked_for(nnunet, splits, message):
    folder, _ = nnunet
    (folder / "splits_final.json").write_text(json.dumps(splits))
    source = get_source("msd", folder, {"splits": True})
    source.index()
    if message is None:
        assert source.folds() == {"c_1": 0, "c_2": 1}
        assert folder / "splits_final.json" in source.tables()
        return
    with pytest.raises(UserError, match=rf"splits_final.json:? {message}"):
        source.folds()


def test_the_order_of_nnunet_regions_is_checked(nnunet):
    folder, plan = nnunet
    plan["labels"] = {"background": 0, "whole": [1, 2], "core": [2]}
    write_plan(folder, {**plan, "regions_class_order": [1, 2]})
    assert "one file per region" in "\n".join(get_source("msd", folder, {}).report())
    for order in ([1], [1, 0], "12"):
        write_plan(folder, {**plan, "regions_class_order": order})
        with pytest.raises(
            UserError, match=r"dataset.json has regions_class_order = .*: list one label above 0 for each"
        ):
            get_source("msd", folder, {}).index()


@pytest.mark.parametrize(
    ("labels", "classes"),
    [(["background", "a", "b"], ("a", "b")), ({"0": "background", "1": "CVC - Normal"}, ("cvc_-_normal",))],
)
def test_labels_may_be_a_list_and_hold_blanks(nnunet, labels, classes):
    folder, plan = nnunet
    write_plan(folder, {**plan, "labels": labels})
    assert get_source("msd", folder, {}).classes == classes


# FracAtlas


def vgg_entry(name, *polygons):
    regions = {
        str(n): {"shape_attributes": {"name": "polygon", "all_points_x": xs, "all_points_y": ys}}
        for n, (xs, ys) in enumerate(polygons)
    }
    return {name: {"filename": name, "regions": regions}}


SQUARE = ([2, 6, 6, 2], [1, 1, 4, 4])


@pytest.fixture
def fracatlas(tmp_path):
    exif = Pillow.Exif()
    exif[0x0112] = 8
    picture(tmp_path / "images/Fractured/a.jpg")
    picture(tmp_path / "images/Fractured/turned.jpg", exif=exif)
    picture(tmp_path / "images/Fractured/denied.jpg")
    picture(tmp_path / "images/Non_fractured/b.jpg")
    rows = ["image_id,hand,fractured", "a.jpg,0,1", "turned.jpg,0,1", "denied.jpg,0,0", "b.jpg,1,0"]
    (tmp_path / "dataset.csv").write_text("\n".join(rows) + "\n")
    vgg = (
        vgg_entry("a.jpg", SQUARE)
        | vgg_entry("turned.jpg", ([2, 9, 9], [10, 10, 15]))
        | vgg_entry("denied.jpg", SQUARE)
    )
    write_vgg(tmp_path, vgg)
    return tmp_path, vgg


def write_vgg(folder, vgg):
    path = folder / "Annotations/VGG JSON/VGG_fracture_masks.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(vgg))


def rows_by_id(source):
    return {row["case_id"]: row for row in source.index().to_dict("records")}


def test_fracatlas_fills_outlines_in_the_displayed_picture(fracatlas):
    source = get_source("fracatlas", fracatlas[0], {})
    rows = rows_by_id(source)
    mask = source.read_mask(rows["a"])[0]
    assert mask.shape == (12, 16)
    assert mask[1:5, 2:7].all()
    assert mask.sum() == 20
    turned = source.read_mask(rows["turned"])
    assert turned.shape[1:] == source.read_image(rows["turned"]).array.shape[1:] == (16, 12)
    assert turned[0, 11, 5]
    assert not source.read_mask(rows["b"]).any()


@pytest.mark.parametrize(("rule", "label"), [("polygon", 1.0), ("csv", 0.0)])
def test_fracatlas_conflict_is_decided_by_the_option_and_reported(fracatlas, rule, label):
    source = get_source("fracatlas", fracatlas[0], {"label_from": rule})
    row = rows_by_id(source)["denied"]
    assert row["y_fracture"] == label
    assert source.read_mask(row).any() == bool(label)
    (line,) = source.report()
    assert "denied.jpg lies in Fractured/" in line
    assert rule in line


def test_fracatlas_fracture_without_an_outline(fracatlas):
    folder, vgg = fracatlas
    write_vgg(folder, {name: entry for name, entry in vgg.items() if name != "a.jpg"})
    assert rows_by_id(get_source("fracatlas", folder, {}))["a"]["y_fracture"] == 0
    source = get_source("fracatlas", folder, {"label_from": "csv"})
    with pytest.raises(BadFile, match=r"case a .*no outline"):
        source.read_mask(rows_by_id(source)["a"])


def test_fracatlas_takes_outlines_that_only_coco_has(fracatlas):
    folder = fracatlas[0]
    flat = [[2, 1, 6, 1, 6, 4, 2, 4], [10, 8, 14, 8, 14, 10]]
    path = folder / "Annotations/COCO JSON/COCO_fracture_masks.json"
    path.parent.mkdir()
    annotations = [{"image_id": 1, "segmentation": [points]} for points in flat]
    path.write_text(json.dumps({"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": annotations}))
    source = get_source("fracatlas", folder, {})
    assert source.read_mask(rows_by_id(source)["a"])[0, 9, 13]
    assert any("a.jpg: the COCO file has more outlines" in line for line in source.report())


def test_fracatlas_outline_outside_its_picture_is_refused(fracatlas):
    folder, vgg = fracatlas
    write_vgg(folder, vgg | vgg_entry("a.jpg", ([2, 60, 60], [1, 1, 4])))
    source = get_source("fracatlas", folder, {})
    with pytest.raises(BadFile, match=r"a\.jpg: an outline reaches to .*restore"):
        source.read_mask(rows_by_id(source)["a"])


def test_fracatlas_truncated_picture_keeps_a_mask_of_full_size(fracatlas):
    path = fracatlas[0] / "images/Non_fractured/b.jpg"
    picture(path, np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8))
    path.write_bytes(path.read_bytes()[:900])
    source = get_source("fracatlas", fracatlas[0], {})
    row = rows_by_id(source)["b"]
    with pytest.raises(BadFile, match=r"b\.jpg is truncated"):
        source.read_image(row)
    assert source.read_image(row, salvage=True).full_shape == source.read_mask(row).shape[1:] == (40, 40)


def test_fracatlas_missing_and_unlisted_files(fracatlas):
    (fracatlas[0] / "images/Non_fractured/b.jpg").rename(fracatlas[0] / "images/Non_fractured/c.jpg")
    source = get_source("fracatlas", fracatlas[0], {})
    rows = rows_by_id(source)
    assert rows["c"]["split"] == "submit"
    assert "b.jpg is missing, though dataset.csv lists it" in source.report()
    with pytest.raises(BadFile, match=r"b\.jpg"):
        source.read_image(rows["b"])


def test_fracatlas_images_alone_are_unlabeled(tmp_path):
    picture(tmp_path / "images/x.jpg")
    index = get_source("fracatlas", tmp_path, {}).index()
    assert list(index["split"]) == ["submit"]
    assert index["y_fracture"].isna().all()


def test_fracatlas_repeated_row_is_refused(fracatlas):
    with open(fracatlas[0] / "dataset.csv", "a") as handle:
        handle.write("a.jpg,0,1\n")
    with pytest.raises(UserError, match=r"dataset\.csv row 6 repeats a\.jpg"):
        get_source("fracatlas", fracatlas[0], {}).index()


# LGG


@pytest.fixture
def lgg(tmp_path):
    color = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    for patient, numbers in (("TCGA_CS_4941_19960909", (1, 2, 10)), ("TCGA_HT_A5RC_20000101", (1, 2))):
        for number in numbers:
            stem = tmp_path / "kaggle_3m" / patient / f"{patient}_{number}"
            picture(stem.with_name(f"{stem.name}.tif"), np.zeros_like(color) if number == 1 else color)
            picture(stem.with_name(f"{stem.name}_mask.tif"), np.full((8, 8), 255 * (number == 2), np.uint8))
    (tmp_path / "kaggle_3m/data.csv").write_text("Patient,x\nTCGA_CS_4941,1\nTCGA_CS_4942,1\nTCGA_HT_A5RC,1\n")
    return tmp_path


def test_lgg_slices_sort_naturally_and_gaps_are_named(lgg):
    source = get_source("lgg", lgg, {})
    index = source.index()
    assert [case.rpartition("_")[2] for case in index["case_id"]] == ["1", "2", "10", "1", "2"]
    assert list(index["patient_id"].unique()) == ["TCGA_CS_4941", "TCGA_HT_A5RC"]
    assert source.report() == [
        "TCGA_CS_4941_19960909 lacks 7 of 10 slices: 3, 4, 5, 6, 7, 8, 9",
        "data.csv lists 1 of 3 patients without slices here",
    ]
    assert {source.read_image(row).array.shape for row in index.to_dict("records")} == {(3, 8, 8)}
    assert [int(source.read_mask(row).max()) for row in index.to_dict("records")] == [0, 1, 0, 0, 1]


def test_lgg_missing_mask_is_reported_and_bad(lgg):
    next(lgg.rglob("TCGA_CS*_2_mask.tif")).unlink()
    source = get_source("lgg", lgg, {})
    index = source.index()
    assert len(index) == 5
    assert any("4941_19960909_2.tif has no mask" in line for line in source.report())
    with pytest.raises(BadFile, match=r"_2_mask\.tif"):
        source.read_mask(index.iloc[1])


def test_lgg_loose_knows_masks_and_patients(lgg):
    loose = get_source("lgg", lgg, {}).loose(lgg / "kaggle_3m")
    assert len(loose) == 5
    assert loose["patient_id"].iloc[0] == "TCGA_CS_4941"


# Brain MRI


def test_brain_mri_labels_by_folder_with_distinct_ids(tmp_path):
    for name in ("yes/Y1.jpg", "yes/y1.JPG", "yes/Y1.png", "no/1 no.jpeg", "unknown.jpg"):
        picture(tmp_path / name)
    (tmp_path / "no/png inside.jpg").write_bytes((tmp_path / "yes/Y1.png").read_bytes())
    source = get_source("brain_mri", tmp_path, {})
    index = source.index()
    assert list(index["y_tumor"].dropna()) == [0, 0, 1, 1, 1]
    assert list(index["split"]) == [""] * 5 + ["submit"]
    assert index["case_id"].str.casefold().is_unique
    assert index["case_id"].str.fullmatch(r"[A-Za-z0-9._-]+").all()
    assert any("no/png inside.jpg is a PNG file" in line for line in source.report())
    assert any("file type predicts the label" in line for line in source.caveats)


def test_brain_mri_with_one_folder_is_refused(tmp_path):
    picture(tmp_path / "yes/Y1.jpg")
    with pytest.raises(UserError, match="only one of the folders"):
        get_source("brain_mri", tmp_path, {}).index()


# MedMNIST


def medmnist(folder, labels, **more):
    arrays = {"train_images": np.arange(5 * 64, dtype=np.uint8).reshape(5, 4, 4, 4), "train_labels": labels}
    np.savez_compressed(folder / "x.npz", **arrays, **more)
    return get_source("medmnist3d", folder, {})


def test_medmnist_parts(tmp_path):
    images = np.ones((2, 4, 4, 4), np.uint8)
    labels = np.array([[0], [1], [0], [1], [1]])
    source = medmnist(tmp_path, labels, val_images=images, val_labels=labels[:2], test_images=images)
    index = source.index()
    assert (source.classes, source.exclusive) == (("positive",), True)
    assert dict(index["split"].value_counts()) == {"": 7, "submit": 2}
    assert source.read_image(index.iloc[1]).array.ravel()[0] == 64
    assert list(index["y_positive"][:5]) == [0, 1, 0, 1, 1]
    assert len(source.loose(tmp_path)) == 9


def test_medmnist_labelled_test_part_is_kept_or_pooled(tmp_path):
    labels = np.array([[0], [1], [0], [1], [1]])
    source = medmnist(tmp_path, labels, test_images=np.ones((2, 4, 4, 4), np.uint8), test_labels=labels[:2])
    assert (source.index()["split"] == "test").sum() == 2
    assert (get_source("medmnist3d", tmp_path, {"keep_test": False}).index()["split"] == "").all()


def test_medmnist_several_classes(tmp_path):
    source = medmnist(tmp_path, np.array([[0], [2], [1], [1], [0]]))
    index = source.index()
    assert source.classes == ("class_0", "class_1", "class_2")
    assert index[["y_class_0", "y_class_1", "y_class_2"]].to_numpy().argmax(1).tolist() == [0, 2, 1, 1, 0]
    assert not medmnist(tmp_path, np.array([[0, 1]] * 5)).exclusive


def test_medmnist_defects(tmp_path):
    with pytest.raises(UserError, match=r"x\.npz has 5 train images but 4 labels"):
        medmnist(tmp_path, np.zeros((4, 1), int)).index()
    np.savez(tmp_path / "y.npz", a=np.zeros(1))
    with pytest.raises(UserError, match=r"x\.npz, y\.npz: name it"):
        get_source("medmnist3d", tmp_path, {}).index()
    with pytest.raises(UserError, match=r"z\.npz does not exist"):
        get_source("medmnist3d", tmp_path, {"file": "z.npz"}).index()
