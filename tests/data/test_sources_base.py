"""What all sources share: options, ids, natural order, loose folders."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as Pillow

from heldout.data.sources import SOURCES, Source, natural_key, source_class, unique_ids
from heldout.errors import UserError
from tests.data.toy import get_source


def picture(path, value=7, size=(8, 9)):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.full(size, value, np.uint8)
    array[0, 0] = 255 - value
    Pillow.fromarray(array).save(path)


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_can_be_made_and_refuses_unknown_options(tmp_path, name):
    assert isinstance(get_source(name, tmp_path, {}), Source)
    with pytest.raises(UserError, match="no option 'color'"):
        get_source(name, tmp_path, {"color": 1})


def test_unknown_source_and_option_values(tmp_path):
    with pytest.raises(UserError, match="did you mean 'fracatlas'"):
        source_class("fracatlass")
    with pytest.raises(UserError, match="did you mean 'label_from'"):
        get_source("fracatlas", tmp_path, {"labels_from": "csv"})
    with pytest.raises(UserError, match="choose one of 'polygon', 'csv'"):
        get_source("fracatlas", tmp_path, {"label_from": "folder"})
    with pytest.raises(UserError, match="must be of type int"):
        get_source("phantom", tmp_path, {"patients": "many"})


@pytest.mark.parametrize("name", [name for name in SOURCES if name != "phantom"])
def test_an_empty_folder_is_refused_by_name(tmp_path, name):
    with pytest.raises(UserError, match=str(tmp_path)):
        get_source(name, tmp_path, {}).index()


def test_ids_are_unique_and_do_not_depend_on_the_other_names():
    names = ["yes/Y1.jpg", "yes/y1.JPG", "yes/Y1.png", "yes/Y 2.jpg", "a.b.nii.gz", "ä.png"]
    ids = unique_ids(names)
    assert len({text.casefold() for text in ids}) == len(names)
    assert ids[3:] == ["yes_Y_2", "a.b", "case"]
    assert unique_ids(names[:3])[0] == ids[0]


def test_natural_order():
    assert sorted(["s10", "s9", "S1", "t", "s1_2", "s1_10"], key=natural_key) == [
        "S1",
        "s1_2",
        "s1_10",
        "s9",
        "s10",
        "t",
    ]


def test_loose_files_come_by_content_in_natural_order(tmp_path):
    for name in ("b/slice10.png", "b/slice9.png", "a.JPG", "a.png", ".hidden/x.png"):
        picture(tmp_path / name)
    (tmp_path / "b/slice9.png").rename(tmp_path / "b/slice9.dat")
    (tmp_path / "b/notes.txt").write_text("notes")
    (tmp_path / "empty.png").write_bytes(b"")
    source = get_source("brain_mri", tmp_path / "nowhere", {})
    loose = source.loose(tmp_path)
    assert list(loose["name"]) == ["a.JPG", "a.png", "b/slice9.dat", "b/slice10.png", "empty.png"]
    assert loose["case_id"].is_unique
    assert source.read_image(loose.iloc[2]).array.shape == (1, 8, 9)
    with pytest.raises(UserError, match=r"empty\.png"):
        source.read_image(loose.iloc[4])


@pytest.mark.parametrize(
    ("name", "own", "mask"), [("lgg", "a.png", "a_mask.gif"), ("atlas", "a.nii.gz", "a_mask_1.gif")]
)
def test_images_of_kinds_that_are_not_read_are_named_and_nothing_else(tmp_path, name, own, mask):
    files = ["a.png", "a.nii.gz", "b.GIF", "c.nrrd", "notes.txt", "table.csv", "facts.json", ".x.gif", mask]
    for file in files:
        (tmp_path / file).write_bytes(b"content")
    source = get_source(name, tmp_path, {})
    unread = source.unread(tmp_path, source.loose(tmp_path).to_dict("records"))
    assert set(unread) == {"a.png", "a.nii.gz", "b.GIF", "c.nrrd"} - {own}
    assert f"{tmp_path / 'b.GIF'} is not an image that source {name} reads: convert it" in unread["b.GIF"]


def test_a_file_that_is_read_whatever_its_name_says_is_not_called_unread(tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.gif")
    source = get_source("lgg", tmp_path, {})
    assert source.unread(tmp_path, source.loose(tmp_path).to_dict("records")) == {}


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("notes")
    source = get_source("lgg", tmp_path, {})
    with pytest.raises(UserError, match="no readable file"):
        source.loose(tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        source.loose(tmp_path / "gone")


@pytest.mark.parametrize("degrees", [0, 5, 18.5, 30])
def test_the_volume_of_a_voxel_is_the_determinant_of_its_axes(tmp_path, degrees):
    import nibabel

    affine = np.diag([0.5, 0.5, 4.0, 1])
    affine[1, 2] = 4.0 * np.tan(np.radians(degrees))
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), affine), tmp_path / "a.nii")
    axes = get_source("table", tmp_path, {"dimensions": 3}).voxel_axes({"image": "a.nii"})
    assert abs(np.linalg.det(axes)) == pytest.approx(1.0)


def test_images_that_belong_to_no_case_are_listed_by_every_source(tmp_path):
    for name in ("images/a.png", "images/b.png", "images/odd.jpg", ".hidden.png", "notes/scan.png"):
        picture(tmp_path / name)
    (tmp_path / "notes/scan.png").rename(tmp_path / "notes/scan.nii.gz")
    for number in range(5):
        picture(tmp_path / f"copy/deep/{number}.png")
    (tmp_path / "cases.csv").write_text("id,path,mask\na,images/a.png,images/b.png\n")
    source = get_source("table", tmp_path, {})
    source.index()
    assert source.report() == [
        "copy/ holds 5 images that belong to no case and are not used, such as 0.png",
        "images/odd.jpg belongs to no case and is not used: rename it as the layout asks, or delete it",
        "notes/scan.nii.gz belongs to no case and is not used: rename it as the layout asks, or delete it",
    ]
    for label in ("yes", "no"):
        picture(tmp_path / f"brain/{label}/{label}.png")
    picture(tmp_path / "brain/maybe/third.png")
    source = get_source("brain_mri", tmp_path / "brain", {})
    source.index()
    assert "maybe/third.png belongs to no case" in source.report()[-1]
