"""Layouts of competitions with small images, each brought from ``init`` to what its sample submission asks for."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from heldout.data.rle import RunLengths
from tests.data.dicom_toy import plane, write_picture
from tests.data.miniatures import picture, save, save_volume, table, volume


def write_series(folder: Path, seed: int, slices: int = 3, bright: bool = False) -> None:
    """A DICOM series of files 1.dcm and on."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(slices):
        array = picture(7919 * seed + number, 2 * bright, (32, 32))[0].astype(np.uint16) * 16
        plane(array, number, SeriesInstanceUID=f"1.2.{seed}").save_as(
            folder / f"{number + 1}.dcm", enforce_file_format=True
        )


def rsna_hemorrhage(root: Path) -> None:
    """RSNA intracranial hemorrhage: a row per image and class, in the sample submission too."""
    kinds = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural", "any")
    rows, sent = [], []
    for number in range(30 + 4):
        name, part = f"ID_{0x12CADC6AF + 7 * number:09x}", "train" if number < 30 else "test"
        write_picture(root / f"stage_2_{part}/{name}.dcm", picture(number, number % 3)[0])
        for place, kind in enumerate(kinds):
            positive = int(number % 3 > 0 and (kind == "any" or place == number % 5))
            (rows if number < 30 else sent).append(f"{name}_{kind},{positive if number < 30 else 0.5}")
    table(root / "stage_2_train.csv", "ID,Label", rows)
    table(root / "stage_2_sample_submission.csv", "ID,Label", sent)


def mura(root: Path) -> None:
    """MURA: tables without headings; a body part, a patient and a study as folders, the last with the label."""
    for part, first in (("train", 0), ("valid", 40)):
        paths, studies = [], []
        for number in range(24 if part == "train" else 6):
            label, bone = ("positive", "negative", "negative")[number % 3], ("ELBOW", "WRIST")[number % 2]
            folder = f"MURA-v1.1/{part}/XR_{bone}/patient{first + number + 1:05d}/study1_{label}"
            studies.append(f"{folder}/,{int(label == 'positive')}")
            for view in (1, 2):
                save(root / f"{folder}/image{view}.png", picture(2 * (first + number) + view, 1 - number % 3)[0])
                paths.append(f"{folder}/image{view}.png")
        (root / f"MURA-v1.1/{part}_image_paths.csv").write_text("\n".join(paths) + "\n")
        (root / f"MURA-v1.1/{part}_labeled_studies.csv").write_text("\n".join(studies) + "\n")


def hpa(root: Path) -> None:
    """Human Protein Atlas 2018: four channels in files of their own, blank-separated numbers to be submitted too."""
    rows = []
    for number in range(30 + 4):
        name = f"{number:08x}-bbad-11e8-b2ba-ac1f6b6435d0"
        for color in ("red", "green", "blue", "yellow"):
            save(root / f"{'train' if number < 30 else 'test'}/{name}_{color}.png", picture(number, number % 3)[0])
        rows.append(f"{name},{('0', '16 0', '7 1 0', '16')[number % 4]}")
    table(root / "train.csv", "Id,Target", rows[:30])
    table(root / "sample_submission.csv", "Id,Predicted", [f"{row.partition(',')[0]},0" for row in rows[30:]])


def rsna_mammography(root: Path) -> None:
    """RSNA breast cancer: one of many label columns is asked for, per patient and side."""
    rows, tested, sent = [], [], []
    for patient in range(18):
        for side in "LR":
            for view in ("CC", "MLO"):
                name, part = 10**8 + patient * 1000 + ord(side) * 10 + len(view), "train" if patient < 16 else "test"
                cancer = int(patient % 3 == 0 and side == "L")
                write_picture(root / f"{part}_images/{10006 + 5 * patient}/{name}.dcm", picture(name % 997, cancer)[0])
                about = f"{1 + patient % 2},{10006 + 5 * patient},{name},{side},{view},{60 + patient}.0"
                if patient < 16:
                    more = f"{cancer},{cancer},{cancer},,0,{'BCD'[patient % 3]},29,False"
                    rows.append(f"{about},{more}")
                else:
                    tested.append(f"{about},0,29,{10006 + 5 * patient}_{side}")
            if patient >= 16:
                sent.append(f"{10006 + 5 * patient}_{side},0.02")
    about = "site_id,patient_id,image_id,laterality,view,age"
    table(
        root / "train.csv",
        f"{about},cancer,biopsy,invasive,BIRADS,implant,density,machine_id,difficult_negative_case",
        rows,
    )
    table(root / "test.csv", f"{about},implant,machine_id,prediction_id", tested)
    table(root / "sample_submission.csv", "prediction_id,cancer", sent)


def rsna_lumbar(root: Path) -> None:
    """RSNA lumbar spine: several series of a study, a column of grades per condition and level."""
    grades = ("Normal/Mild", "Moderate", "Severe")
    places = [
        f"{kind}_{level}"
        for kind in ("spinal_canal_stenosis", "left_subarticular_stenosis")
        for level in ("l1_l2", "l2_l3")
    ]
    rows, series_rows, tested, sent, points = [], [], [], [], []
    for number in range(16 + 2):
        study, part = 4003253 + 71 * number, "train" if number < 16 else "test"
        for series in (702807833 + number, 1054713880 + number):
            write_series(root / f"{part}_images/{study}/{series}", series, bright=number % 3 == 2)
            (series_rows if part == "train" else tested).append(f"{study},{series},Sagittal T1")
        if part == "test":
            sent += [f"{study}_{place},0.333,0.333,0.333" for place in sorted(places)]
            continue
        rows.append(f"{study}," + ",".join(grades[(number + place) % 3] for place in range(len(places))))
        points += [f"{study},{702807833 + number},2,Spinal Canal Stenosis,L1/L2,10.2,8.7"]
    table(root / "train.csv", f"study_id,{','.join(places)}", rows)
    table(root / "train_series_descriptions.csv", "study_id,series_id,series_description", series_rows)
    table(root / "test_series_descriptions.csv", "study_id,series_id,series_description", tested)
    table(root / "train_label_coordinates.csv", "study_id,series_id,instance_number,condition,level,x,y", points)
    table(root / "sample_submission.csv", "row_id,normal_mild,moderate,severe", sent)


def rfmid(root: Path) -> None:
    """RFMiD: parts in folders of their own, each with a table; the numbers of the images begin anew in each."""
    kinds = ("Disease_Risk", "DR", "ARMD", "MH")
    for folder, inner, word, first, count in (
        ("Training_Set", "Training", "Training", 0, 24),
        ("Evaluation_Set", "Validation", "Validation", 50, 8),
        ("Test_Set", "Test", "Testing", 70, 8),
    ):
        rows = []
        for number in range(count):
            save(root / f"{folder}/{inner}/{number + 1}.png", picture(first + number, number % 3)[0])
            cells = [int(number % 4 > 0), *(int(number % 4 == place) for place in (1, 2, 3))]
            rows.append(f"{number + 1},{','.join(map(str, cells))}")
        table(root / f"{folder}/RFMiD_{word}_Labels.csv", f"ID,{','.join(kinds)}", rows)


def cervical_spine(root: Path) -> None:
    """RSNA cervical spine: a column per vertebra; the sample submission has a row per study and vertebra."""
    kinds = ("patient_overall", "C1", "C2")
    rows, tested, sent = [], [], []
    for number in range(18 + 2):
        study, part = f"1.2.826.0.1.3680043.{6200 + number}", "train" if number < 18 else "test"
        write_series(root / f"{part}_images/{study}", 500 + 10 * number, bright=number % 3 > 0)
        cells = [int(number % 3 > 0), int(number % 3 == 1), int(number % 3 == 2)]
        if part == "train":
            rows.append(f"{study},{','.join(map(str, cells))}")
        else:
            tested += [f"{study}_{kind},{study},{kind}" for kind in kinds]
            sent += [f"{study}_{kind},0.5" for kind in kinds]
    table(root / "train.csv", f"StudyInstanceUID,{','.join(kinds)}", rows)
    table(root / "test.csv", "row_id,StudyInstanceUID,prediction_type", tested)
    table(root / "sample_submission.csv", "row_id,fractured", sent)


def abdominal_trauma(root: Path) -> None:
    """RSNA abdominal trauma: groups of columns, one of each is 1; several series of a patient."""
    kinds = ("bowel_healthy", "bowel_injury", "liver_healthy", "liver_low", "liver_high")
    rows, tested, sent = [], [], []
    for number in range(18 + 2):
        patient, part = 10004 + 31 * number, "train" if number < 18 else "test"
        for series in range(1 + number % 2):
            write_series(root / f"{part}_images/{patient}/{21057 + 2 * number + series}", 900 + 20 * number + series)
            (rows if part == "train" else tested).append(f"{patient},{21057 + 2 * number + series},150.0,0")
        if part == "test":
            sent.append(f"{patient},{','.join(['0.5'] * len(kinds))}")
    labels = []
    for number in range(18):
        cells = [int(number % 2 == 0), number % 2, *(int(number % 3 == place) for place in range(3))]
        labels.append(f"{10004 + 31 * number},{','.join(map(str, cells))},{int(number % 6 > 0)}")
    table(root / "train.csv", f"patient_id,{','.join(kinds)},any_injury", labels)
    table(root / "train_series_meta.csv", "patient_id,series_id,aortic_hu,incomplete_organ", rows)
    table(root / "test_series_meta.csv", "patient_id,series_id,aortic_hu,incomplete_organ", tested)
    table(root / "sample_submission.csv", f"patient_id,{','.join(kinds)}", sent)


def busi(root: Path) -> None:
    """BUSI: masks beside the images in folders of classes, several masks of some."""
    for kind, count in (("benign", 12), ("malignant", 8), ("normal", 6)):
        for number in range(1, count + 1):
            image, mask = picture(number + 100 * len(kind), 0 if kind == "normal" else 2)
            save(root / f"Dataset_BUSI_with_GT/{kind}/{kind} ({number}).png", image)
            save(root / f"Dataset_BUSI_with_GT/{kind}/{kind} ({number})_mask.png", mask * 255)
            if kind == "benign" and number == 3:
                save(root / f"Dataset_BUSI_with_GT/{kind}/{kind} ({number})_mask_1.png", np.roll(mask, 9, 1) * 255)


def pcam(root: Path) -> None:
    """Histopathologic cancer detection: TIFF patches by their hash."""
    rows = []
    for number in range(24 + 3):
        name, part = f"{0xF38A6374C348F90B587E046AAC6079959ADF3835 + number:040x}", "train" if number < 24 else "test"
        save(root / f"{part}/{name}.tif", picture(number, number % 2)[0])
        rows.append(f"{name},{number % 2}")
    table(root / "train_labels.csv", "id,label", rows[:24])
    table(root / "sample_submission.csv", "id,label", [f"{row[:-2]},0" for row in rows[24:]])


def hubmap_organs(root: Path) -> None:
    """HuBMAP + HPA 2022: organs beside run lengths, sizes of the images as columns."""
    coder, rows = RunLengths("columns", 1), []
    for number in range(16):
        image, mask = picture(number, 1 + number % 2)
        save(root / f"train_images/{10044 + 13 * number}.tiff", image)
        organ = ("prostate", "spleen", "lung")[number % 3]
        about = f"{10044 + 13 * number},{organ},HPA,64,48,0.4,4,{coder.encode(mask)},{40 + number}.0,Male"
        rows.append(about)
    save(root / "test_images/10078.tiff", picture(99, 1)[0])
    header = "id,organ,data_source,img_height,img_width,pixel_size,tissue_thickness,rle,age,sex"
    table(root / "train.csv", header, rows)
    table(
        root / "test.csv",
        "id,organ,data_source,img_height,img_width,pixel_size,tissue_thickness",
        ["10078,spleen,Hubmap,64,48,0.4945,4"],
    )
    table(root / "sample_submission.csv", "id,rle", ["10078,1 1"])


def idrid_segmentation(root: Path) -> None:
    """IDRiD: a folder of masks for each kind of lesion, not every image in each; a labeled test part."""
    kinds = (("1. Microaneurysms", "MA"), ("2. Haemorrhages", "HE"), ("3. Hard Exudates", "EX"))
    for part, first, count in (("a. Training Set", 1, 20), ("b. Testing Set", 55, 6)):
        for number in range(first, first + count):
            image, mask = picture(number, 1 + number % 2)
            save(root / f"A. Segmentation/1. Original Images/{part}/IDRiD_{number:02d}.jpg", image)
            for place, (folder, word) in enumerate(kinds):
                if place and number % 3 == place:
                    continue
                name = f"IDRiD_{number:02d}_{word}.tif"
                own = np.roll(mask, 5 * place, axis=1)
                save(root / f"A. Segmentation/2. All Segmentation Groundtruths/{part}/{folder}/{name}", own * 255)


def lits(root: Path) -> None:
    """LiTS: numbers after the kind, in folders of batches."""
    for number in range(10):
        mask = volume(root / f"Training Batch {1 + number // 5}/volume-{number}.nii", number, True)
        mask[9:][mask[9:] > 0] = 2
        save_volume(root / f"Training Batch {1 + number // 5}/segmentation-{number}.nii", mask)
    for number in range(2):
        volume(root / f"Test-Data/test-volume-{number}.nii", 50 + number, True)


def luna(root: Path) -> None:
    """LUNA16: MetaImage volumes, points and diameters in millimeters."""
    rows, candidates = [], []
    for number in range(16):
        uid = f"1.3.6.1.4.1.14519.5.2.1.6279.6001.{105756658031515062000744821260 + number}"
        folder = root / f"subset{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        array = np.random.default_rng(number).integers(-1000, -700, (16, 24, 20)).astype("<i2")  # z, y, x
        offset, spacing = (-10.0, -20.0, -100.0 + number), (1.0, 1.0, 2.0)
        for place in range(number % 3):
            z, y, x = 5 + 5 * place, 8 + 6 * place, 7 + 5 * place
            array[z - 1 : z + 2, y - 2 : y + 3, x - 2 : x + 3] = 100
            world = [o + s * v for o, s, v in zip(offset, spacing, (x, y, z), strict=True)]
            rows.append(f"{uid},{','.join(map(str, world))},{4.5 + place}")
            candidates.append(f"{uid},{','.join(map(str, world))},1")
        candidates.append(f"{uid},{offset[0] + 3},{offset[1] + 3},{offset[2] + 6},0")
        (folder / f"{uid}.raw").write_bytes(array.tobytes())
        (folder / f"{uid}.mhd").write_text(
            "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
            "TransformMatrix = 1 0 0 0 1 0 0 0 1\n"
            f"Offset = {' '.join(map(str, offset))}\nCenterOfRotation = 0 0 0\nAnatomicalOrientation = RAI\n"
            f"ElementSpacing = {' '.join(map(str, spacing))}\nDimSize = 20 24 16\nElementType = MET_SHORT\n"
            f"ElementDataFile = {uid}.raw\n"
        )
    table(root / "annotations.csv", "seriesuid,coordX,coordY,coordZ,diameter_mm", rows)
    table(root / "candidates.csv", "seriesuid,coordX,coordY,coordZ,class", candidates)


def yolo(root: Path) -> None:
    """YOLO: a text file of boxes beside each image, names of the classes in data.yaml; test images without."""
    for number in range(24):
        image, mask = picture(number, number % 3)
        part = "val" if number % 4 == 0 else "train"
        save(root / f"images/{part}/scan_{number:03d}.jpg", image)
        lines = []
        if mask.any():
            rows, columns = np.nonzero(mask)
            left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            height, width = mask.shape
            center = f"{(left + right) / 2 / width:.6f} {(top + bottom) / 2 / height:.6f}"
            lines = [f"{number % 2} {center} {(right - left) / width:.6f} {(bottom - top) / height:.6f}"]
        (root / f"labels/{part}").mkdir(parents=True, exist_ok=True)
        (root / f"labels/{part}/scan_{number:03d}.txt").write_text("\n".join(lines))
    for number in range(3):
        save(root / f"images/test/scan_{900 + number}.jpg", picture(900 + number, 1)[0])
    (root / "data.yaml").write_text(
        "path: ../datasets/scans\ntrain: images/train\nval: images/val\ntest: images/test\nnc: 2\n"
        "names:\n  0: mass\n  1: calcification\n"
    )


TO_SUBMISSION = {
    name: function
    for name, function in list(globals().items())
    if callable(function) and getattr(function, "__module__", "") == __name__ and name != "write_series"
}
