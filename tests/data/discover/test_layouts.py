"""``init`` tells layouts apart: what it proposes for miniatures of real competitions, and what it asks."""

from __future__ import annotations

import pytest

from heldout.data.checks import check_cases
from heldout.data.discover import discover
from heldout.data.sources import source_class
from heldout.errors import UserError
from tests.data.further_layouts import FURTHER, REFUSED
from tests.data.held_back import HELD_BACK
from tests.data.miniatures import LAYOUTS, picture, save, table
from tests.data.more_layouts import MORE
from tests.data.to_submission import TO_SUBMISSION

EVERY = {**LAYOUTS, **MORE, **HELD_BACK, **TO_SUBMISSION, **FURTHER}
_ORGANS = ("aorta", "liver", "spleen")
# layout: source, task, options that tell it apart, questions, classes
EXPECTED = {
    "coco": ("coco", "Segment2D", {}, ["labels"], ("fracture", "metal")),
    "siim": ("table", "Segment2D", {"rle_form": "gap", "rle_start": 0, "rle": "columns"}, [], ("foreground",)),
    "hubmap": ("table", "Segment2D", {"mask": "rle", "rle": "columns"}, [], ("foreground",)),
    "uw-madison": (
        "table",
        "Segment2D",
        {
            "path": "train/{case}/{case}_{day}/scans/slice_{slice}_*.png",
            "parts": "{case}_{day}_slice_{slice}",
            "patient": "case",
            "blank": "0",
        },
        [],
        ("large_bowel", "small_bowel", "stomach"),
    ),
    "nih": (
        "table",
        "Classify2D",
        {
            **{"separator": "|", "nothing": "No Finding", "patient": "Patient ID", "path": "images_*/images/{id}"},
            **{"labels": "Finding Labels", "test": "test_list.txt"},
        },
        ["labels"],
        ("Atelectasis", "Effusion", "Mass"),
    ),
    "bone-age": ("table", "Regress2D", {"targets": "boneage"}, [], ("boneage",)),
    "nnunet": ("msd", "Segment3D", {"splits": True}, [], ("lesion",)),
    "bids": ("table", "Classify3D", {"labels": "group", "nothing": "control"}, ["path", "labels"], ("patient",)),
    "aptos": (
        "table",
        "Classify2D",
        {"labels": "diagnosis", "submit": "test_images/{id}.png"},
        [],
        tuple(f"diagnosis_{grade}" for grade in range(5)),
    ),
    "isic_2019": (
        "table",
        "Classify2D",
        {"exclusive": True, "patient": "lesion_patient_id"},
        [],
        ("MEL", "NV", "BCC", "AK"),
    ),
    "siim_isic": ("table", "Classify2D", {"labels": "target", "patient": "patient_id"}, ["path"], ("target",)),
    "chexpert": (
        "table",
        "Classify2D",
        {"path": "train/{patient}/{study}/{file}", "uncertain": "1", "blank": "0"},
        ["uncertain", "blank"],
        ("No_Finding", "Cardiomegaly", "Edema", "Pleural_Effusion"),
    ),
    "vinbig": ("table", "Detect2D", {"corners": True, "class": "class_id", "nothing": "14"}, [], ("3", "5")),
    "rsna_pneumonia": ("table", "Detect2D", {"box": "x, y, width, height"}, [], ("foreground",)),
    "ranzcr": (
        "table",
        "Classify2D",
        {"patient": "PatientID"},
        [],
        ("ETT_-_Abnormal", "ETT_-_Normal", "CVC_-_Normal"),
    ),
    "panda": ("table", "Classify2D", {"labels": "isup_grade"}, [], tuple(f"isup_grade_{n}" for n in range(6))),
    "sartorius": ("table", "Segment2D", {"rle": "rows", "submit": "test/{id}.png"}, [], ("foreground",)),
    "oct_folders": (
        "folders",
        "Classify2D",
        {"image": "OCT2017/train/{class}/{patient}-{number}.jpeg"},
        ["patient"],
        ("CNV", "DME", "DRUSEN", "NORMAL"),
    ),
    "chest_xray": ("folders", "Classify2D", {"nothing": "NORMAL"}, [], ("PNEUMONIA",)),
    "brain_tumor_folders": (
        "folders",
        "Classify2D",
        {"test": "Testing/{class}/{id}.jpg"},
        [],
        ("glioma", "meningioma", "notumor", "pituitary"),
    ),
    "yes_no": ("brain_mri", "Classify2D", {}, [], ("tumor",)),
    "kvasir": ("folders", "Segment2D", {"threshold": 127}, [], ("foreground",)),
    "drive": (
        "folders",
        "Segment2D",
        {"mask": "DRIVE/training/1st_manual/{id}_manual1.gif", "submit": "DRIVE/test/images/{id}_test.tif"},
        ["mask"],
        ("foreground",),
    ),
    "kits": ("folders", "Segment3D", {"image": "{id}/imaging.nii.gz", "dimensions": 3}, [], ("foreground",)),
    "gold_standard": (
        "folders",
        "Segment3D",
        {"image": "MNI/{id}/FLAIR_brain_regtoMNI.nii.gz", "mask": "MNI/{id}/GOLD_STANDARD_regtoMNI.nii.gz"},
        [],
        ("foreground",),
    ),
    "knee_grades": ("folders", "Classify2D", {"test": "test/{class}/{id}.png"}, [], ("0", "1", "2")),
    "brats": ("folders", "Segment3D", {"values": "1, 2, 4"}, ["labels"], ("necrosis", "edema", "enhancing")),
    "cell_tissue_masks": (
        "folders",
        "Segment2D",
        {"image": "slices/{patient}/{id}.png", "values": "1, 3"},
        [],
        ("label_1", "label_3"),
    ),
    "semicolons": ("table", "Classify2D", {"path": "scans/{Patient}/{id}.png"}, [], ("large", "none", "small")),
    "ham10000": ("table", "Classify2D", {"labels": "dx", "patient": "lesion_id"}, [], ("bkl", "mel", "nv")),
    "hpa": (
        "table",
        "Classify2D",
        {
            "path": "train/{id}_red.png, train/{id}_green.png, train/{id}_blue.png, train/{id}_yellow.png",
            "submit": "test/{id}_red.png, test/{id}_green.png, test/{id}_blue.png, test/{id}_yellow.png",
        },
        [],
        ("Target_0", "Target_1", "Target_7", "Target_16"),
    ),
    "nerve": (
        "table",
        "Segment2D",
        {"id": "{subject}_{img}", "patient": "subject", "path": "train/{id}.tif", "submit": "test/{id}.tif"},
        ["blank"],
        ("foreground",),
    ),
    "retinopathy": (
        "table",
        "Classify2D",
        {"parts": "{patient}_{side}", "submit": "test/{id}.jpeg"},
        ["patient"],
        tuple(f"level_{grade}" for grade in range(5)),
    ),
    "rsna_mammography": (
        "table",
        "Classify2D",
        {"labels": "cancer", "patient": "patient_id", "submit": "test_images/{patient_id}/{id}.dcm"},
        [],
        ("cancer",),
    ),
    "rsna_lumbar": (
        "table",
        "Classify3D",
        {"path": "train_images/{id}/{series}", "patient": "study_id", "graded": True},
        [],
        tuple(
            f"{kind}_stenosis_{level}_{grade}"
            for kind in ("spinal_canal", "left_subarticular")
            for level in ("l1_l2", "l2_l3")
            for grade in ("Moderate", "Normal_Mild", "Severe")
        ),
    ),
    "rsna_hemorrhage": (
        "table",
        "Classify2D",
        {"id": "ID", "long": "Label", "path": "stage_2_train/{id}.dcm", "submit": "stage_2_test/{id}.dcm"},
        [],
        ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural", "any"),
    ),
    "rfmid": (
        "table",
        "Classify2D",
        {
            **{"file": "{part}/RFMiD_*_Labels.csv", "id": "{part}_{ID}", "path": "{part}/*/{ID}.png"},
            "test": "part=Test_Set",
        },
        [],
        ("Disease_Risk", "DR", "ARMD", "MH"),
    ),
    "cervical_spine": (
        "table",
        "Classify3D",
        {"labels": "patient_overall, C1, C2", "path": "train_images/{id}", "submit": "test_images/{id}"},
        [],
        ("patient_overall", "C1", "C2"),
    ),
    "abdominal_trauma": (
        "table",
        "Classify3D",
        {"path": "train_images/{id}/{series}", "patient": "patient_id"},
        [],
        ("bowel_healthy", "bowel_injury", "liver_healthy", "liver_low", "liver_high"),
    ),
    "idrid_segmentation": (
        "folders",
        "Segment2D",
        {"test": "A. Segmentation/1. Original Images/b. Testing Set/{id}.jpg"},
        ["mask"],
        ("Microaneurysms", "Haemorrhages", "Hard_Exudates"),
    ),
    "lits": (
        "folders",
        "Segment3D",
        {"image": "Training Batch */volume-{id}.nii", "mask": "Training Batch */segmentation-{id}.nii"},
        [],
        ("label_1", "label_2"),
    ),
    "yolo": ("yolo", "Segment2D", {}, ["labels"], ("mass", "calcification")),
    "luna": (
        "table",
        "Segment3D",
        {"point": "coordX, coordY, coordZ", "point_in": "lps", "empty": "subset*/{id}.mhd"},
        ["labels", "point_in", "unlisted"],
        ("foreground",),
    ),
    "busi": ("folders", "Segment2D", {}, [], ("foreground",)),
    "pcam": ("table", "Classify2D", {"labels": "label", "submit": "test/{id}.tif"}, [], ("label",)),
    "hubmap_organs": ("table", "Segment2D", {"mask": "rle", "submit": "test_images/{id}.tiff"}, [], ("foreground",)),
    "nuclei": (
        "table",
        "Segment2D",
        {"path": "stage1_train/{id}/images/{id}.png", "submit": "stage1_test/{id}/images/{id}.png", "rle": "columns"},
        [],
        ("foreground",),
    ),
    "idrid": (
        "table",
        "Classify2D",
        {"labels": "Retinopathy grade"},
        ["labels"],
        tuple(f"Retinopathy_grade_{grade}" for grade in range(5)),
    ),
    "brats_2023": (
        "folders",
        "Segment3D",
        {"labels": "label_1, label_2, label_3"},
        [],
        ("label_1", "label_2", "label_3"),
    ),
    "covid_radiography": (
        "folders",
        "Segment2D",
        {"image": "COVID-19_Radiography_Dataset/{class}/images/{id}.png"},
        [],
        ("foreground",),
    ),
    "acdc": (
        "folders",
        "Segment3D",
        {
            "image": "database/training/{patient}/{patient}_frame{number}.nii.gz",
            "mask": "database/*/{patient}/{patient}_frame{number}_gt.nii.gz",
            "test": "database/testing/{patient}/{patient}_frame{number}.nii.gz",
        },
        [],
        ("label_1", "label_2", "label_3"),
    ),
    "pad_ufes": (
        "table",
        "Classify2D",
        {"labels": "diagnostic", "patient": "patient_id"},
        [],
        ("ACK", "BCC", "MEL", "NEV", "SCC", "SEK"),
    ),
    "mura": (
        "folders",
        "Classify2D",
        {
            "image": "|".join(
                f"MURA-v1.1/{part}/*/{{patient}}/study*_{{class}}/{{id}}.png" for part in ("train", "valid")
            ),
            "nothing": "negative",
        },
        ["labels"],
        ("positive",),
    ),
    "siim_covid": (
        "table",
        "Detect2D",
        {
            **{"parts": "{image}_image", "path": "train/{StudyInstanceUID}/*/{image}.dcm", "box": "label"},
            **{"box_form": "class score", "corners": True, "nothing": "none", "patient": "StudyInstanceUID"},
            "submit": "test/{StudyInstanceUID}/*/{image}.dcm",
        },
        ["labels"],
        ("opacity",),
    ),
    "wheat": (
        "table",
        "Detect2D",
        {"box": "bbox", "corners": None, "empty": "train/{id}.jpg", "submit": "test/{id}.jpg"},
        ["unlisted"],
        ("foreground",),
    ),
    "tbx11k": ("table", "Segment2D", {"box": "bbox", "class": "target", "nothing": "no_tb"}, ["labels"], ("tb",)),
    "box_strings": (
        "table",
        "Detect2D",
        {"box": "PredictionString", "box_form": "class score", "corners": True, "nothing": "14"},
        [],
        ("3", "5"),
    ),
    "strip_ai": (
        "table",
        "Classify2D",
        {"file": "train.csv", "submit": "test/{id}.tif", "patient": "patient_id"},
        [],
        ("CE", "LAA"),
    ),
    "dsb_2017": ("table", "Classify3D", {"path": "stage1/{id}", "submit": "stage1/{id}"}, [], ("cancer",)),
    "cervical_types": (
        "folders",
        "Classify2D",
        {"image": "train/{class}/{id}.jpg", "submit": "test/{id}.jpg"},
        [],
        ("Type_1", "Type_2", "Type_3"),
    ),
    "vessels": (
        "folders",
        "Segment2D",
        {"mask": "train/{patient}/labels/{id}.tif", "submit": "test/{patient}/images/{id}.tif"},
        [],
        ("foreground",),
    ),
    "mimic": (
        "table",
        "Classify2D",
        {
            "file": "mimic-cxr-2.0.0-metadata.csv, mimic-cxr-2.0.0-chexpert.csv:study_id=study_id, "
            "mimic-cxr-2.0.0-split.csv",
            **{"id": "dicom_id", "patient": "subject_id", "test": "split=test", "split": ""},
        },
        ["uncertain", "blank"],
        ("Atelectasis", "Cardiomegaly", "No_Finding"),
    ),
    "padchest": (
        "table",
        "Classify2D",
        {"labels": "Labels", "separator": "[]", "nothing": "normal", "patient": "PatientID"},
        [],
        ("pleural_effusion", "pneumonia"),
    ),
    "vindr_mammo": (
        "table",
        "Segment2D",
        {"patient": "study_id", "test": "split=test", "class": "finding_categories"},
        ["labels"],
        ("Mass", "Suspicious_Calcification"),
    ),
    "odir": (
        "table",
        "Classify2D",
        {"id": "ID", "path": "Training Images/{Left-Fundus}, Training Images/{Right-Fundus}", "patient": None},
        ["path"],
        ("N", "D", "G"),
    ),
    "other_ending": (
        "table",
        "Classify2D",
        {"path": "images/{image}.png", "parts": "{image}.dcm"},
        [],
        ("fracture",),
    ),
    "zero_padded": ("table", "Classify2D", {"path": "images/img_{id:4}.png", "id": "image_number"}, [], ("fracture",)),
    "patients_table": (
        "table",
        "Classify2D",
        {"path": "scans/{id}/{image}.png", "patient": "patient_id"},
        [],
        ("malignant",),
    ),
    "rsna_pe": (
        "table",
        "Classify2D",
        {"patient": "StudyInstanceUID", "submit": "test/*/*/{id}.dcm"},
        [],
        ("pe_present_on_image", "negative_exam_for_pe", "leftsided_pe"),
    ),
    "breakhis": (
        "folders",
        "Classify2D",
        {"image": "BreaKHis_v1/histology_slides/breast/{class}/*/*/{patient}/*/{id}.png", "nothing": "benign"},
        ["labels"],
        ("malignant",),
    ),
    "totalsegmentator": (
        "folders",
        "Segment3D",
        {"image": "{id}/ct.nii.gz", "mask": ", ".join(f"{{id}}/segmentations/{one}.nii.gz" for one in _ORGANS)},
        ["labels", "mask"],
        _ORGANS,
    ),
    "picai": (
        "table",
        "Classify3D",
        {"path": "images/{id}/{id}_{study_id}_adc.nii.gz", "labels": "case_csPCa", "nothing": "NO"},
        ["path", "labels"],
        ("YES",),
    ),
    "dicom_series": ("table", "Classify3D", {"path": "train/{id}/FLAIR", "dimensions": 3}, [], ("MGMT_value",)),
}


def test_every_layout_is_expected_to_be_found():
    assert set(EXPECTED) == set(EVERY)


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_layout_is_found_and_all_of_its_cases_are_sound(name, tmp_path):
    EVERY[name](tmp_path)
    asked = []

    def first(question):
        asked.append(question.about)
        assert len(question.choices) > 1
        assert all(choice.text for choice in question.choices)
        return question.choices[0]

    proposal = discover(tmp_path, first)
    source, task, options, questions, classes = EXPECTED[name]
    assert (proposal.source, proposal.task, asked) == (source, task, questions)
    assert {key: proposal.options.get(key) for key in options} == options
    found = source_class(source)(tmp_path, **proposal.options)
    index = found.index()
    assert found.classes == classes
    results, problems = check_cases(found, index, progress=False, workers=0)
    assert not problems
    labels = [result.labels for result, split in zip(results, index["split"], strict=True) if split != "submit"]
    if task.startswith("Regress"):
        assert all(30 <= value <= 191 for values in labels for value in values.values())
    elif task.startswith("Classify"):
        assert all({values[label] for values in labels} == {0.0, 1.0} for label in classes)
    else:
        assert all(any(values[label] for values in labels) for label in classes if name != "brats")


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("rsna_mammography", "{patient_id}_{laterality}"),
        ("rsna_lumbar", "patient"),
        ("abdominal_trauma", "patient"),
        ("cervical_spine", None),
        ("rsna_hemorrhage", None),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_what_a_sample_submission_asks_about_is_told(name, level, tmp_path):
    TO_SUBMISSION[name](tmp_path)
    fields = discover(tmp_path, lambda question: question.choices[0]).fields
    assert "sample_submission" in fields
    assert fields.get("level") == level


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("strip_ai", {"level": "patient"}),
        ("dsb_2017", {"sample_submission": "stage1_sample_submission.csv"}),
        ("cervical_types", {}),
        ("vessels", {"submission": "rle"}),
    ],
)
def test_folders_and_tables_of_several_parts_fill_their_sample_submission(name, fields, tmp_path):
    HELD_BACK[name](tmp_path)
    found = discover(tmp_path, lambda question: question.choices[0])
    assert found.fields.items() >= ({"sample_submission": "sample_submission.csv"} | fields).items()
    if name == "vessels":
        assert found.found["not read"] == "train_rles.csv: no column that names images"


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("id,rle", ["kidney_9_0000,1 1"]),
        ("id,dice", [f"kidney_5_{number:04d},0" for number in range(4)]),
    ],
)
def test_a_sample_submission_that_masks_of_folders_do_not_fill_is_left_out(header, rows, tmp_path):
    HELD_BACK["vessels"](tmp_path)
    table(tmp_path / "sample_submission.csv", header, rows)
    assert "sample_submission" not in discover(tmp_path, lambda question: question.choices[0]).fields


def test_a_sample_submission_about_something_else_is_left_out_and_said(tmp_path):
    TO_SUBMISSION["pcam"](tmp_path)
    table(tmp_path / "sample_submission.csv", "id,label", ["slide_7,0", "slide_8,0"])
    proposal = discover(tmp_path, lambda question: question.choices[0])
    assert "sample_submission" not in proposal.fields
    assert "is not filled: it asks for slide_7, which is no case" in proposal.found["submission"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("osic", "train.csv names 'ID7637202177411956430' in several rows, so that an image has several labels"),
        (
            "chaos",
            "no image is called like the mask Train_Sets/CT/1/Ground/liver_GT_000.png, such as .*/1.dcm",
        ),
    ],
)
def test_what_cannot_be_decided_is_said_with_an_example(tmp_path, name, message):
    REFUSED[name](tmp_path)
    with pytest.raises(UserError, match=message):
        discover(tmp_path, lambda question: question.choices[0])


def test_labels_of_studies_are_offered_for_their_images(tmp_path):
    FURTHER["siim_covid"](tmp_path)
    proposal = discover(tmp_path, lambda question: question.choices[-1])
    assert proposal.task == "Classify2D"
    source = source_class("table")(tmp_path, **proposal.options)
    index = source.index()
    labeled = index[index["split"] == ""]
    assert source.classes[0] == "Negative_for_Pneumonia"
    assert labeled["patient_id"].nunique() == 24 < len(labeled)
    names = [f"y_{name}" for name in source.classes]
    assert (labeled[names].sum(axis=1) == 1).all()
    study = labeled[labeled["patient_id"] == f"{5:012x}"]  # of two images, and the second class
    assert len(study) == 2
    assert (study["y_Typical_Appearance"] == 1).all()
    assert "asks for 000000015f90_study, which is no case" in proposal.found["submission"]
    assert "as are 3 of its 6 ids" in proposal.found["submission"]


def test_boxes_of_cells_lie_where_the_table_says(tmp_path):
    FURTHER["siim_covid"](tmp_path)
    answers = {"labels": 1}
    proposal = discover(tmp_path, lambda question: question.choices[answers.get(question.about, 0)])
    assert (proposal.task, proposal.options["box"]) == ("Segment2D", "boxes")
    source = source_class("table")(tmp_path, **proposal.options)
    rows = {row["case_id"]: row for row in source.index().to_dict("records")}
    for number in (0, 1, 2):
        row = rows[f"{number * 16 + 9000:012x}_image"]
        drawn = source.read_mask(row)[0]
        _, mask = picture(10 * number, number)
        assert (drawn >= mask).all()
        assert drawn.any() == mask.any()


def test_files_that_no_layout_knows_are_named(tmp_path):
    FURTHER["patients_table"](tmp_path)
    (tmp_path / "outlines.jsonl").write_text("{}")
    (tmp_path / "images.hdf5").write_bytes(b"x")
    found = discover(tmp_path, lambda question: question.choices[0]).found
    assert found["not read"] == "images.hdf5 and 1 more, in no format that is known here"


def test_a_table_without_labels_and_one_without_images_are_told_apart(tmp_path):
    for number in range(6):
        save(tmp_path / f"images/{number}.png", picture(number, 1)[0])
    table(tmp_path / "images.csv", "image,viewer", [f"{number}.png,A" for number in range(6)])
    table(tmp_path / "labels.csv", "person,sick", [f"{'abcdef'[number] * 4},{number % 2}" for number in range(6)])
    with pytest.raises(UserError) as caught:
        discover(tmp_path, lambda question: question.choices[0])
    assert "images.csv names images, and has no column of labels: image, viewer" in str(caught.value)
    assert "no column of labels.csv names images such as images/0.png, its first row has person = aaaa" in str(
        caught.value
    )


def test_folders_beside_a_table_that_names_no_image_are_asked_about(tmp_path):
    rows = []
    for number in range(24):
        cells, plate, well = ("HEPG2-01", "RPE-01")[number % 2], number // 12 + 1, f"B{number // 2:02}"
        save(tmp_path / f"train/{cells}/Plate{plate}/{well}_s1_w1.png", picture(number, 1)[0])
        rows.append(f"{cells}_{plate}_{well},{cells},{plate},{well},{number % 5}")
    table(tmp_path / "train.csv", "id_code,experiment,plate,well,sirna", rows)
    asked = []

    def folders(question):
        asked.append(question)
        return question.choices[0]

    assert discover(tmp_path, folders).source == "folders"
    texts = [choice.text for choice in asked[0].choices]
    assert texts[0].startswith("the folders: HEPG2-01 12, RPE-01 12")
    assert (
        "a column of train.csv, whose rows name no image as they are: 24 rows such as id_code = HEPG2-01_1" in texts[1]
    )
    with pytest.raises(UserError, match=r"no column of train.csv names images .* add a column of their paths"):
        discover(tmp_path, lambda question: question.choices[-1])


def test_numbers_of_a_box_are_asked_for_where_both_readings_fit(tmp_path):
    rows = []
    for number in range(12):
        save(tmp_path / f"images/{number}.png", picture(number, 1)[0])
        rows.append(f"{number},5 6 10 12")
    table(tmp_path / "train.csv", "image,bbox", rows)
    questions = []

    def last(question):
        questions.append(question)
        return question.choices[-1]

    options = discover(tmp_path, last).options
    assert [question.about for question in questions] == ["labels", "corners"]
    assert "such as 5 6 10 12? Both readings fit." in questions[1].text
    assert options["corners"]


def test_run_lengths_come_out_as_they_were_drawn(tmp_path):
    for name, sides in (("siim", (56, 56)), ("hubmap", (48, 64))):
        root = tmp_path / name
        root.mkdir()
        LAYOUTS[name](root)
        proposal = discover(root, lambda question: question.choices[0])
        source = source_class("table")(root, **proposal.options)
        rows = [row for row in source.index().to_dict("records") if row["split"] == ""]
        for number, row in enumerate(rows):
            _, mask = picture(number, number % 2 if name == "siim" else 1 + number % 2, sides)
            assert (source.read_mask(row)[0] == mask).all(), (name, number)


def test_boxes_and_polygons_cover_what_they_name(tmp_path):
    for name in ("rsna_pneumonia", "vinbig"):
        root = tmp_path / name
        root.mkdir()
        MORE[name](root)
        proposal = discover(root, lambda question: question.choices[0])
        source = source_class("table")(root, **proposal.options)
        rows = source.index().to_dict("records")
        empty, boxed = source.read_mask(rows[0]), source.read_mask(rows[1])
        assert not empty.any()
        box = (slice(6, 31), slice(5, 25)) if name == "rsna_pneumonia" else (slice(6, 40), slice(5, 30))
        assert boxed.max(0)[box].all()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "is empty: unpack the dataset there"),
        (["notes.txt"], "holds no image .*1 .txt.*: unpack the dataset there"),
        (
            ["stage_2_train/a.png", "stage_2_train/b.png", "stage_2_test/c.png", "stage_2_test/d.png"],
            "nothing says what",
        ),
        (["a.png", "b.png"], "holds 2 images, but nothing says what they show: add a table"),
    ],
)
def test_a_folder_that_says_nothing_is_refused(tmp_path, names, message):
    for name in names:
        save(tmp_path / name, picture(0, 1)[0]) if name.endswith("png") else (tmp_path / name).write_text("x")
    with pytest.raises(UserError, match=message):
        discover(tmp_path, lambda question: question.choices[0])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.csv", b"id,x\n1,2,3\n", r"train.csv cannot be read as a table .*: save it as UTF-8 CSV"),
        ("train.csv", b"id,x\n\xff\xfe,2\n", r"train.csv cannot be read as a table .*: save it as UTF-8 CSV"),
        ("dataset.json", b"{", r"dataset.json .* restore it from its source"),
        ("a.json", b'{"images": [], "annotations": [], "categories": [', r"a.json .* restore it from its source"),
    ],
)
def test_a_damaged_table_or_description_is_named(tmp_path, name, content, message):
    save(tmp_path / "images/1.png", picture(0, 1)[0])
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        discover(tmp_path, lambda question: question.choices[0])


def test_labels_that_leave_a_choice_are_asked_with_their_evidence(tmp_path):
    rows = []
    for number in range(24):
        save(tmp_path / f"images/{number}.png", picture(number, number % 2)[0])
        rows.append(f"{number},{number % 2},{('mild', 'severe', 'none')[number % 3]}")
    table(tmp_path / "train.csv", "image,fracture,severity", rows)
    questions = []

    def second(question):
        questions.append(question)
        return question.choices[1]

    proposal = discover(tmp_path, second)
    assert [question.about for question in questions] == ["labels"]
    texts = [choice.text for choice in questions[0].choices]
    assert "0 and 1 in fracture (12 of 24 positive)" in texts
    assert "3 classes in severity: mild 8, none 8, severe 8" in texts
    assert proposal.options["labels"] in texts[1]
