"""Lesion layouts: ATLAS v2, ISLES 2022 and phantoms in the ATLAS layout; BraTS volumes as slices."""

from __future__ import annotations

import hashlib
import shutil
import time

import nibabel
import numpy as np
import pytest

from heldout.data.checks import check_case, check_cases
from heldout.data.image import BadFile
from heldout.data.sources import brats_slices
from heldout.data.sources.phantom_lesions import PhantomLesions
from heldout.errors import UserError
from tests.data.toy import get_source


def volume(path, array, affine=(1.0, 1.0, 2.0)):
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([*affine, 1.0]) if len(affine) == 3 else affine
    nibabel.save(nibabel.Nifti1Image(np.asarray(array), affine), path)


def noise(shape=(6, 5, 4), seed=0):
    return np.random.default_rng(seed).integers(1, 900, shape).astype(np.int16)


def mask(shape=(6, 5, 4)):
    array = np.zeros(shape, np.uint8)
    array[1:3, 1:3, 1] = 1
    return array


# ATLAS


@pytest.fixture
def atlas(tmp_path):
    for number, (subject, session) in enumerate([("r001s001", "1"), ("r001s001", "2"), ("r002s007", "1")]):
        place = tmp_path / f"ATLAS_2/Training/R{subject[1:4]}/sub-{subject}/ses-{session}/anat"
        stem = f"sub-{subject}_ses-{session}_space-MNI152NLin2009aSym"
        volume(place / f"{stem}_T1w.nii.gz", noise(seed=number))
        volume(place / f"{stem}_label-L_desc-T1lesion_mask.nii.gz", mask())
    hidden = tmp_path / "ATLAS_2/Testing/R003/sub-r003s001/ses-1/anat"
    volume(hidden / "sub-r003s001_ses-1_space-MNI152NLin2009aSym_T1w.nii.gz", noise(seed=9))
    return tmp_path


def test_atlas_pairs_masks_keeps_subjects_together_and_leaves_the_testing_part_unlabeled(atlas):
    source = get_source("atlas", atlas, {})
    index = source.index().set_index("case_id")
    assert list(index.index) == [
        "sub-r003s001_ses-1",
        "sub-r001s001_ses-1",
        "sub-r001s001_ses-2",
        "sub-r002s007_ses-1",
    ]
    assert index["patient_id"].nunique() == 3
    assert index.loc["sub-r003s001_ses-1", "split"] == "submit"
    assert (index["split"] == "").sum() == 3
    row = {"case_id": "x", **index.iloc[1]}
    assert source.read_image(row).array.shape == (1, 6, 5, 4)
    assert source.read_mask(row).sum() == 4
    assert np.linalg.norm(source.voxel_axes(row), axis=0).tolist() == [1, 1, 2]
    assert source.report() == []


def test_atlas_in_one_flat_folder_without_subjects(tmp_path):
    for name in ("one", "two"):
        volume(tmp_path / f"{name}_T1w.nii.gz", noise())
        volume(tmp_path / f"{name}_label-L_desc-T1lesion_mask.nii.gz", mask())
    index = get_source("atlas", tmp_path, {}).index()
    assert list(index["case_id"]) == list(index["patient_id"]) == ["one_T1w", "two_T1w"]


def test_atlas_reports_what_has_no_partner(atlas):
    place = atlas / "ATLAS_2/Training/R002/sub-r002s007/ses-1/anat"
    (place / "sub-r002s007_ses-1_space-MNI152NLin2009aSym_label-L_desc-T1lesion_mask.nii.gz").unlink()
    volume(place / "sub-r009s001_ses-1_label-L_desc-T1lesion_mask.nii.gz", mask())
    report = "\n".join(get_source("atlas", atlas, {}).report())
    assert "sub-r002s007_ses-1: " in report
    assert "counts as unlabeled" in report
    assert "sub-r009s001_ses-1_label-L_desc-T1lesion_mask.nii.gz is a mask without its own image" in report


def test_atlas_masks_in_another_tree_are_found_nearest_first(tmp_path):
    name = "sub-a_ses-1_T1w.nii.gz"
    volume(tmp_path / f"raw/sub-a/{name}", noise())
    for tree in ("raw/masks", "copy/masks"):
        volume(tmp_path / f"{tree}/sub-a_ses-1_label-L_desc-T1lesion_mask.nii.gz", mask())
    assert get_source("atlas", tmp_path, {}).index()["mask"][0].startswith('["raw/masks/')


def test_atlas_without_images_names_the_folder(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path} has no .*_T1w.nii.gz"):
        get_source("atlas", tmp_path, {}).index()


def test_atlas_takes_loose_volumes_of_any_name_and_leaves_truths_out(tmp_path, atlas):
    loose = tmp_path / "loose"
    volume(loose / "patient07/FLAIR_brain.nii.gz", noise())
    volume(loose / "patient07/GOLD_STANDARD_brain.nii.gz", mask())
    volume(loose / "patient07/brain_mask.nii.gz", mask())
    assert list(get_source("atlas", atlas, {}).loose(loose)["name"]) == ["patient07/FLAIR_brain.nii.gz"]


def second_lesion(shape=(6, 5, 4)):
    array = np.zeros(shape, np.uint8)
    array[4, 3, 2:] = 1
    return array


@pytest.mark.parametrize("name", ["desc-T1lesion2_mask", "desc-T1lesion_mask-2", "desc-T1lesion-2_mask"])
def test_atlas_merges_all_masks_of_a_case(atlas, name):
    path = next(atlas.rglob("sub-r002s007*T1lesion_mask.nii.gz"))
    volume(path.with_name(path.name.replace("desc-T1lesion_mask", name)), second_lesion())
    source = get_source("atlas", atlas, {})
    rows = {row["patient_id"]: row for row in source.index().to_dict("records")}
    assert np.array_equal(source.read_mask(rows["sub-r002s007"])[0], mask() | second_lesion())
    assert check_case(source, rows["sub-r002s007"]).labels == {"lesion": 1.0}
    assert source.report() == []


def test_atlas_lists_every_volume_that_no_rule_used(atlas):
    path = next(atlas.rglob("sub-r002s007*T1lesion_mask.nii.gz"))
    volume(path.with_name("sub-r002s007_ses-1_space-MNI152NLin2009aSym_lesion-b.nii.gz"), second_lesion())
    (line,) = get_source("atlas", atlas, {}).report()
    assert "lesion-b.nii.gz belongs to no case and is not used: rename it" in line


# ISLES


@pytest.fixture
def isles(tmp_path):
    root = tmp_path / "ISLES-2022"
    for number in (1, 2):
        subject = f"sub-strokecase{number:04d}"
        stem = f"{subject}_ses-0001"
        volume(root / f"{subject}/ses-0001/dwi/{stem}_dwi.nii.gz", noise(seed=number))
        volume(root / f"{subject}/ses-0001/dwi/{stem}_adc.nii.gz", noise(seed=number + 10))
        ramp = np.arange(12, dtype=np.float32)[:, None, None] * np.ones((12, 10, 8), np.float32)
        volume(root / f"{subject}/ses-0001/anat/{stem}_FLAIR.nii.gz", ramp, (0.5, 0.5, 1.0))
        volume(root / f"derivatives/{subject}/ses-0001/{stem}_msk.nii.gz", mask())
    return root


def test_isles_reads_dwi_and_adc_as_channels(isles):
    source = get_source("isles", isles, {})
    index = source.index()
    assert list(index["case_id"]) == ["sub-strokecase0001_ses-0001", "sub-strokecase0002_ses-0001"]
    assert list(index["patient_id"]) == ["sub-strokecase0001", "sub-strokecase0002"]
    image = source.read_image(index.iloc[0])
    assert np.array_equal(image.array, np.stack([noise(seed=1), noise(seed=11)]))
    assert check_case(source, index.iloc[0].to_dict()).labels == {"lesion": 1.0}


@pytest.mark.parametrize("name", ["mask-2", "desc-2_msk", "msk-2", "desc-lesion2_msk"])
def test_isles_merges_all_masks_of_a_case_and_lists_what_no_rule_used(isles, name):
    path = next(isles.rglob("sub-strokecase0002*_msk.nii.gz"))
    volume(path.with_name(path.name.replace("msk", name)), second_lesion())
    volume(path.with_name(path.name.replace("msk", "brain")), mask())
    source = get_source("isles", isles, {})
    rows = source.index().to_dict("records")
    assert np.array_equal(source.read_mask(rows[1])[0], mask() | second_lesion())
    assert np.array_equal(source.read_mask(rows[0])[0], mask())
    (line,) = source.report()
    assert "ses-0001_brain.nii.gz belongs to no case and is not used: rename it" in line


def test_isles_brings_the_flair_to_the_grid_of_the_dwi(isles):
    source = get_source("isles", isles, {"flair": True})
    image = source.read_image(source.index().iloc[0])
    assert image.array.shape == (3, 6, 5, 4)
    # voxel i of the DWI lies at i mm, where the FLAIR's ramp of one per half millimeter has the value 2 i
    assert np.allclose(image.array[2], (2 * np.arange(6))[:, None, None], atol=1e-4)


def test_isles_in_the_challenges_flat_folders(tmp_path):
    stem = "sub-strokecase0003_ses-0001"
    place = tmp_path / "dataset/rawdata/sub-strokecase0003/ses-0001"
    for kind in ("dwi", "adc", "flair"):
        volume(place / f"{stem}_{kind}.nii.gz", noise(seed=len(kind)))
    volume(tmp_path / f"dataset/derivatives/sub-strokecase0003/ses-0001/{stem}_msk.nii.gz", mask())
    index = get_source("isles", tmp_path, {"flair": True}).index()
    assert index["image"][0].count("nii.gz") == 3
    assert "derivatives" in index["mask"][0]


def test_isles_leaves_a_case_without_adc_out_and_says_so(isles):
    (isles / "sub-strokecase0002/ses-0001/dwi/sub-strokecase0002_ses-0001_adc.nii.gz").unlink()
    source = get_source("isles", isles, {})
    assert len(source.index()) == 1
    assert "sub-strokecase0002_ses-0001 is left out" in source.report()[0]
    assert "no ADC of its name" in source.report()[0]


def test_isles_predicts_loose_folders_by_pairs(isles):
    loose = get_source("isles", isles, {}).loose(isles / "sub-strokecase0001")
    assert list(loose["name"]) == ["ses-0001/dwi/sub-strokecase0001_ses-0001_dwi.nii.gz"]
    assert get_source("isles", isles, {}).read_image(loose.iloc[0]).array.shape == (2, 6, 5, 4)


@pytest.mark.parametrize("lost", ["dwi", "adc"])
def test_isles_incomplete_loose_pairs_are_cases_that_name_the_missing_file(isles, lost):
    (isles / f"sub-strokecase0002/ses-0001/dwi/sub-strokecase0002_ses-0001_{lost}.nii.gz").unlink()
    source = get_source("isles", isles, {})
    loose = source.loose(isles)
    assert len(loose) == 2
    with pytest.raises(BadFile, match=rf"dwi/sub-strokecase0002_ses-0001_{lost}\.nii\.gz .*: restore the file"):
        source.read_image(loose.iloc[1])


def test_isles_namesakes_of_two_sites_are_two_cases_and_never_share_a_file(isles):
    for site in ("siteA", "siteB"):
        shutil.copytree(isles / "sub-strokecase0001", isles / "new" / site / "sub-strokecase0001")
    source = get_source("isles", isles, {})
    assert source.loose(isles / "new")["case_id"].nunique() == 2
    next(isles.glob("new/siteA/**/*_adc.nii.gz")).unlink()
    with pytest.raises(BadFile, match=r"siteA/.*_adc\.nii\.gz .*: restore the file"):
        source.read_image(source.loose(isles / "new").iloc[0])


# Phantoms with lesions


def test_phantom_lesions_are_written_in_the_layout_and_read_by_its_source(home):
    start = time.perf_counter()
    options = {"patients": 8, "size": 32}
    root = PhantomLesions.locate("", options)
    assert time.perf_counter() - start < 20  # two seconds on an idle machine
    assert root == home / "input/phantom_lesions"
    source = get_source("phantom_lesions", root, options)
    plain = get_source("atlas", root, {}).index()
    assert plain.equals(source.index())
    known = plain[plain["split"] == ""]
    assert len(known) == 8
    assert len(plain) == 10
    shares = []
    for row in known.to_dict("records"):
        image, truth = source.read_image(row), source.read_mask(row)
        assert truth.shape == image.array.shape
        assert (image.array == 0).mean() > 0.2
        shares.append(truth.mean())
    assert 0 < np.max(shares) < 0.02
    assert shares.count(0) == 1  # the healthy one


def test_phantom_lesions_are_the_same_bytes_every_time(home):
    roots = [PhantomLesions.locate(name, {"patients": 8, "size": 32}) for name in ("a", "b")]
    digests = []
    for root in roots:
        content = b"".join(path.read_bytes() for path in sorted(root.rglob("*.nii.gz")))
        digests.append(hashlib.sha256(content).hexdigest())
    assert digests[0] == digests[1]
    with pytest.raises(UserError, match="made with seed = 0, not 3"):
        PhantomLesions.locate("a", {"patients": 8, "size": 32, "seed": 3})


# BraTS


@pytest.fixture
def brats(tmp_path):
    brats_slices._volume.cache_clear()
    affine = np.diag([-1.0, -1.0, 3.0, 1.0])  # LPS, as BraTS has it
    for number, patient in enumerate(("TCGA-1", "TCGA-2")):
        for modality in brats_slices.MODALITIES:
            array = noise((10, 8, 6), seed=number * 10 + len(modality))
            array[..., 0] = array[..., 5] = 0
            volume(tmp_path / f"{patient}/{patient}_{modality}.nii.gz", array, affine)
        labels = np.zeros((10, 8, 6), np.uint8)
        labels[2:5, 3, 2], labels[3, 3, 2], labels[5, 5, 3] = 2, 4, 1
        volume(tmp_path / f"{patient}/{patient}_seg.nii.gz", labels, affine)
    return tmp_path


def test_brats_slices_with_brain_become_cases_of_one_patient(brats):
    source = get_source("brats_slices", brats, {})
    index = source.index()
    assert list(index["case_id"]) == [f"TCGA-{p}_{z:03d}" for p in (1, 2) for z in (1, 2, 3, 4)]
    assert index["patient_id"].nunique() == 2
    row = index.iloc[1]
    volumes = [nibabel.load(brats / f"TCGA-1/TCGA-1_{m}.nii.gz") for m in brats_slices.MODALITIES]
    # a row runs to the patient's left, a column to his back: x and y of LPS
    expected = np.stack([np.asarray(one.dataobj)[..., 2].T for one in volumes])
    assert np.array_equal(source.read_image(row).array, expected)
    assert source.read_mask(row).sum() == 3
    assert source.read_mask(index.iloc[0]).sum() == 0
    assert np.linalg.norm(source.voxel_axes(row), axis=0).tolist() == [1, 1, 3]
    assert any("lgg-mri-segmentation" in line for line in source.caveats)


def test_brats_orientation_of_the_file_does_not_matter(brats):
    expected = get_source("brats_slices", brats, {}).read_image(get_source("brats_slices", brats, {}).index().iloc[0])
    for path in brats.glob("*/*.nii.gz"):
        image = nibabel.load(path)
        turn = nibabel.orientations.axcodes2ornt("SAR")
        start = nibabel.orientations.io_orientation(image.affine)
        turned = image.as_reoriented(nibabel.orientations.ornt_transform(start, turn))
        data = np.asarray(turned.dataobj)
        nibabel.save(nibabel.Nifti1Image(data, turned.affine), path)
    source = get_source("brats_slices", brats, {})
    assert np.array_equal(source.read_image(source.index().iloc[0]).array, expected.array)
    assert np.linalg.norm(source.voxel_axes(source.index().iloc[0]), axis=0).tolist() == [1, 1, 3]


def test_brats_regions_overlap_and_labels_exclude_each_other(brats):
    regions, labels = (get_source("brats_slices", brats, {"target": name}) for name in ("regions", "labels"))
    assert regions.classes == ("whole", "core", "enhancing")
    assert not regions.exclusive
    row = regions.index().iloc[1]
    assert regions.read_mask(row).sum((1, 2)).tolist() == [3, 1, 1]
    assert np.bincount(labels.read_mask(row).ravel()).tolist() == [77, 0, 2, 1]
    assert labels.exclusive


def test_brats_unknown_labels_are_refused_by_case(brats):
    path = brats / "TCGA-1/TCGA-1_seg.nii.gz"
    image = nibabel.load(path)
    array = np.asarray(image.dataobj).copy()
    array[0, 0, 2] = 3
    nibabel.save(nibabel.Nifti1Image(array, image.affine), path)
    for target in ("whole", "regions", "labels"):
        source = get_source("brats_slices", brats, {"target": target})
        with pytest.raises(BadFile, match="case TCGA-1_002: its mask holds the unknown label 255"):
            check_case(source, source.index().iloc[1].to_dict())


def test_brats_empty_slices_are_thinned_out_always_alike_and_said(brats):
    none = get_source("brats_slices", brats, {"empty_share": 0.0})
    assert list(none.index()["case_id"]) == [f"TCGA-{p}_{z:03d}" for p in (1, 2) for z in (2, 3)]
    assert "2 slices without tumor are left out" in none.report()[0]
    some = [get_source("brats_slices", brats, {"empty_share": 0.5}).index() for _ in range(2)]
    assert some[0].equals(some[1])
    with pytest.raises(UserError, match=r"empty_share = 2\.0"):
        get_source("brats_slices", brats, {"empty_share": 2.0})


def test_brats_decodes_a_volume_once_and_again_only_when_the_file_changed(brats):
    source = get_source("brats_slices", brats, {"modalities": "flair"})
    index = source.index()
    before = brats_slices._volume.cache_info().misses
    for row in index[index["patient_id"] == "TCGA-2"].to_dict("records"):
        source.read_image(row)
        source.read_mask(row)
    assert brats_slices._volume.cache_info().misses == before
    path = brats / "TCGA-2/TCGA-2_flair.nii.gz"
    volume(path, noise((10, 8, 7), seed=99), np.diag([-1.0, -1.0, 3.0, 1.0]))
    read = source.read_image(index[index["case_id"] == "TCGA-2_002"].iloc[0])
    assert np.array_equal(read.array[0], noise((10, 8, 7), seed=99)[..., 2].T)


def test_brats_incomplete_patients_and_wrong_options(brats):
    (brats / "TCGA-1/TCGA-1_t1.nii.gz").unlink()
    source = get_source("brats_slices", brats, {})
    assert source.index()["patient_id"].unique().tolist() == ["TCGA-2"]
    assert "TCGA-1 is left out: TCGA-1_t1.nii.gz is missing" in source.report()[0]
    with pytest.raises(UserError, match="modalities = 'flair,t9'"):
        get_source("brats_slices", brats, {"modalities": "flair,t9"})


def test_brats_without_segmentation_are_unlabeled_and_loose_folders_are_sliced(brats):
    (brats / "TCGA-1/TCGA-1_seg.nii.gz").unlink()
    source = get_source("brats_slices", brats, {})
    index = source.index()
    assert set(index["split"][index["patient_id"] == "TCGA-1"]) == {"submit"}
    loose = source.loose(brats / "TCGA-1")
    assert list(loose["name"]) == [f"TCGA-1_{z:03d}.png" for z in (1, 2, 3, 4)]
    assert source.read_image(loose.iloc[0]).array.shape == (4, 8, 10)


def test_brats_namesakes_of_two_sites_have_ids_and_names_of_their_own(brats):
    for site in ("siteA", "siteB"):
        shutil.copytree(brats / "TCGA-1", brats / "new" / site)
    loose = get_source("brats_slices", brats, {}).loose(brats / "new")
    assert len(loose) == loose["case_id"].nunique() == loose["name"].nunique() == 8
    assert loose["case_id"][0] == "siteA_TCGA-1_001"


@pytest.mark.parametrize("lost", ["flair", "t2"])
def test_brats_an_incomplete_loose_patient_is_a_case_that_names_the_missing_file(brats, lost):
    (brats / f"TCGA-2/TCGA-2_{lost}.nii.gz").unlink()
    source = get_source("brats_slices", brats, {})
    loose = source.loose(brats)
    assert list(loose["name"][:4]) == [f"TCGA-1/TCGA-1_{z:03d}.png" for z in (1, 2, 3, 4)]
    assert len(loose) == 5
    with pytest.raises(BadFile, match=rf"TCGA-2/TCGA-2_{lost}\.nii\.gz .*: restore the file"):
        source.read_image(loose.iloc[4])


def test_brats_a_segmentation_of_another_shape_is_a_case_refused_by_name(brats):
    volume(brats / "TCGA-1/TCGA-1_seg.nii.gz", np.ones((10, 8, 3), np.uint8), np.diag([-1.0, -1.0, 3.0, 1.0]))
    source = get_source("brats_slices", brats, {})
    index = source.index()
    assert list(index["case_id"][index["patient_id"] == "TCGA-1"]) == ["TCGA-1_001"]
    with pytest.raises(BadFile, match=r"TCGA-1_seg\.nii\.gz has the shape .* 3\), .*TCGA-1_flair.* 6\): restore"):
        source.read_mask(index.iloc[0])


@pytest.mark.parametrize("name", ["flair", "seg"])
def test_brats_a_damaged_volume_is_a_case_that_can_be_set_aside(brats, name):
    path = brats / f"TCGA-1/TCGA-1_{name}.nii.gz"
    path.write_bytes(path.read_bytes()[:100])
    source = get_source("brats_slices", brats, {})
    index = source.index()
    results, problems = check_cases(source, index, progress=False, workers=1)
    assert [index["patient_id"][index["case_id"] == problem.case_id].item() for problem in problems] == ["TCGA-1"]
    assert f"TCGA-1_{name}.nii.gz" in problems[0].reason
    assert sum(result is not None for result in results) == len(index) - 1 > 0
