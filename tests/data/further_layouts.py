"""Layouts of datasets with ids that no file is called, boxes in cells, and tables of several levels; small images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.data.dicom_toy import write_picture
from tests.data.miniatures import picture, save, save_volume, table, volume
from tests.data.to_submission import write_series


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, width and height of what is not 0."""
    rows, columns = np.nonzero(mask)
    return int(columns.min()), int(rows.min()), int(np.ptp(columns) + 1), int(np.ptp(rows) + 1)


def siim_covid(root: Path) -> None:
    """SIIM COVID-19: ids with an ending that no file has, boxes in cells, a table of studies beside one of images."""
    kinds = ("Negative for Pneumonia", "Typical Appearance", "Indeterminate Appearance", "Atypical Appearance")
    studies, images, sent = [], [], []
    for number in range(24):
        study, series = f"{number:012x}", f"{number + 500:012x}"
        kind = number % 4
        cells = ",".join(str(int(kind == place)) for place in range(4))
        studies.append(f"{study}_study,{cells}")
        for view in range(1 + (number % 6 == 5)):
            image, mask = picture(10 * number + view, min(kind, 2))
            name = f"{number * 16 + view + 9000:012x}"
            write_picture(root / f"train/{study}/{series if not view else series[::-1]}/{name}.dcm", image)
            if kind:
                x, y, w, h = _box(mask)
                boxes = f"\"[{{'x': {x}.25, 'y': {y}.25, 'width': {w - 0.5}, 'height': {h - 0.5}}}]\""
                label = f"opacity 1 {x}.25 {y}.5 {x + w - 0.25} {y + h}"
            else:
                boxes, label = "", "none 1 0 0 1 1"
            images.append(f"{name}_image,{boxes},{label},{study}")
    for number in range(3):
        study, name = f"{number + 90000:012x}", f"{number + 70000:012x}"
        write_picture(root / f"test/{study}/{number + 500:012x}/{name}.dcm", picture(300 + number, number)[0])
        sent += [f"{study}_study,negative 1 0 0 1 1", f"{name}_image,none 1 0 0 1 1"]
    table(root / "train_study_level.csv", f"id,{','.join(kinds)}", studies)
    table(root / "train_image_level.csv", "id,boxes,label,StudyInstanceUID", images)
    table(root / "sample_submission.csv", "id,PredictionString", sorted(sent, key=lambda s: ("_image" in s, s)))


def wheat(root: Path) -> None:
    """Global wheat: a list of four numbers in a cell, a row per box, images without a row."""
    rows = []
    for number in range(20):
        image, mask = picture(number, number % 3)
        save(root / f"train/{number:09x}.jpg", image)
        if mask.any():
            x, y, w, h = _box(mask)
            rows += [f'{number:09x},64,48,"[{x}.0, {y}.0, {w}.0, {h}.0]",usask_1'] * 1
            rows += [f'{number:09x},64,48,"[3.0, 2.0, 5.0, 6.0]",usask_1']
    for number in range(2):
        save(root / f"test/{900 + number:09x}.jpg", picture(900 + number, 1)[0])
    table(root / "train.csv", "image_id,width,height,bbox,source", rows)
    table(
        root / "sample_submission.csv", "image_id,PredictionString", [f"{900 + n:09x},1.0 0 0 50 50" for n in range(2)]
    )


def tbx11k(root: Path) -> None:
    """TBX11K: a dictionary in a cell, or ``none``; classes in columns of their own."""
    rows = []
    for number in range(24):
        kind = number % 3
        image, mask = picture(number, kind == 2)
        name, box = f"{('h', 's', 'tb')[kind]}{number:04d}.png", "none"
        save(root / f"tbx11k/images/{name}", image)
        if kind == 2:
            x, y, w, h = _box(mask)
            box = f"\"{{'xmin': {x}, 'ymin': {y}, 'width': {w}, 'height': {h}}}\""
        classes = ("no_tb,none,healthy", "no_tb,none,sick_but_no_tb", "tb,active_tb,tb")[kind]
        rows.append(f"{name},48,64,train,{box},{classes}")
    table(root / "tbx11k/data.csv", "fname,image_height,image_width,source,bbox,target,tb_type,image_type", rows)


def box_strings(root: Path) -> None:
    """VinBigData as submitted: class, score and corners of all boxes as plain numbers in a cell."""
    rows = []
    for number in range(20):
        image, mask = picture(number, number % 2)
        save(root / f"train/{number:08x}.png", image)
        text = "14 1.0 0 0 1 1"
        if mask.any():
            x, y, w, h = _box(mask)
            text = f"{3 + 2 * (number % 4 // 2)} 1.0 {x} {y} {x + w} {y + h} 3 1.0 2 2 9 8"
        rows.append(f"{number:08x},{text}")
    for number in range(2):
        save(root / f"test/{900 + number:08x}.png", picture(900 + number, 1)[0])
    table(root / "train.csv", "image_id,PredictionString", rows)
    table(
        root / "sample_submission.csv", "image_id,PredictionString", [f"{900 + n:08x},14 1 0 0 1 1" for n in range(2)]
    )


def mimic(root: Path) -> None:
    """MIMIC-CXR: tables of studies, of images and of the parts."""
    labels, meta, split = [], [], []
    for patient in range(14):
        part = "train" if patient < 10 else "validate" if patient < 12 else "test"
        for number in range(2):
            study, kind = 50414267 + 10 * patient + number, (patient + number) % 3
            cells = (("1.0", "", ""), ("", "1.0", ""), ("", "-1.0" if number else "0.0", "1.0"))[kind]
            labels.append(f"{10000032 + patient},{study},{','.join(cells)}")
            for view in ("PA", "LATERAL"):
                name = f"{patient:08x}-{number}{view[:1]}-aaaa"
                save(root / f"files/p10/p{10000032 + patient}/s{study}/{name}.jpg", picture(2 * patient, kind)[0])
                meta.append(f"{name},{10000032 + patient},{study},{view},3056,2544")
                split.append(f"{name},{study},{10000032 + patient},{part}")
    table(root / "mimic-cxr-2.0.0-chexpert.csv", "subject_id,study_id,Atelectasis,Cardiomegaly,No Finding", labels)
    table(root / "mimic-cxr-2.0.0-metadata.csv", "dicom_id,subject_id,study_id,ViewPosition,Rows,Columns", meta)
    table(root / "mimic-cxr-2.0.0-split.csv", "dicom_id,study_id,subject_id,split", split)


def padchest(root: Path) -> None:
    """PadChest: lists of findings as Python writes them."""
    rows = []
    for n in range(30):
        name = f"{n:020d}_{n:06d}.png"
        save(root / f"images/{name}", picture(n, n % 3)[0])
        labels = ("['normal']", "['pneumonia', 'pleural effusion']", "['pneumonia']")[n % 3]
        rows.append(f'{n},{name},{n // 2},{n // 3},1950,"{labels}"')
    table(root / "PADCHEST_labels.csv", ",ImageID,StudyID,PatientID,PatientBirth,Labels", rows)


def vindr_mammo(root: Path) -> None:
    """VinDr-Mammo: a column of the parts, lists of findings, boxes, studies but no patients."""
    rows, finds = [], []
    for study in range(16):
        for place, (side, view) in enumerate((("L", "CC"), ("L", "MLO"), ("R", "CC"), ("R", "MLO"))):
            name, uid = f"{study * 4 + place:032x}", f"{study:032x}"[::-1]
            image, mask = picture(study * 4 + place, (study + place) % 2)
            write_picture(root / f"images/{uid}/{name}.dicom", image)
            part, grade = ("training" if study < 12 else "test"), f"BI-RADS {1 + (study + place) % 3}"
            about = f"{uid},{77 + study},{side},{view},{name},48,64,{grade},DENSITY {'BCD'[study % 3]}"
            rows.append(f"{about},{part}")
            found = "\"['No Finding']\",,,,,"
            if mask.any():
                x, y, w, h = _box(mask)
                kind = ("Mass", "Suspicious Calcification")[study % 2]
                found = f"\"['{kind}']\",BI-RADS 4,{x},{y},{x + w},{y + h}"
            finds.append(f"{about},{found},{part}")
    about = "study_id,series_id,laterality,view_position,image_id,height,width,breast_birads,breast_density"
    table(root / "breast-level_annotations.csv", f"{about},split", rows)
    found = "finding_categories,finding_birads,xmin,ymin,xmax,ymax"
    table(root / "finding_annotations.csv", f"{about},{found},split", finds)


def odir(root: Path) -> None:
    """ODIR: both eyes of a patient in columns of one row."""
    rows = []
    for number in range(20):
        for side in ("left", "right"):
            save(root / f"Training Images/{number}_{side}.jpg", picture(2 * number + (side == "left"), number % 3)[0])
        cells = ",".join(str(int(number % 3 == place)) for place in range(3))
        names = f"{number}_left.jpg,{number}_right.jpg"
        rows.append(f"{number},{40 + number},Female,{names},normal fundus,mild retinopathy,{cells}")
    about = "Left-Fundus,Right-Fundus,Left-Diagnostic Keywords,Right-Diagnostic Keywords"
    table(root / "train.csv", f"ID,Patient Age,Patient Sex,{about},N,D,G", rows)


def other_ending(root: Path) -> None:
    """Names of DICOM files in the table of PNG files."""
    rows = []
    for n in range(24):
        save(root / f"images/scan{n:03d}.png", picture(n, n % 2)[0])
        rows.append(f"scan{n:03d}.dcm,P{n // 2},{n % 2}")
    table(root / "labels.csv", "filename,patient,fracture", rows)


def zero_padded(root: Path) -> None:
    """Numbers as ids, with zeros before them and a word in the files' names."""
    rows = []
    for n in range(24):
        save(root / f"images/img_{n:04d}.png", picture(n, n % 2)[0])
        rows.append(f"{n},{n // 2},{n % 2}")
    table(root / "labels.csv", "image_number,patient,fracture", rows)


def patients_table(root: Path) -> None:
    """A table of patients, whose folders hold some images each."""
    rows = []
    for n in range(16):
        for k in range(1 + n % 3):
            save(root / f"scans/PT{n:03d}/view{k}.png", picture(10 * n + k, n % 2)[0])
        rows.append(f"PT{n:03d},{40 + n},{n % 2}")
    table(root / "clinical.csv", "patient_id,age,malignant", rows)


def rsna_pe(root: Path) -> None:
    """RSNA pulmonary embolism: labels of images and studies in one row, no patients."""
    rows, tested, sent = [], [], []
    for study in range(14):
        part, uid, own = ("train" if study < 12 else "test"), f"{study:012x}", f"{study + 100:012x}"
        for place in range(4):
            name, positive = f"{study * 10 + place + 500:012x}", int(study % 2 == 1 and place > 1)
            write_picture(root / f"{part}/{uid}/{own}/{name}.dcm", picture(study * 10 + place, positive)[0])
            about = f"{uid},{own},{name}"
            if part == "train":
                rows.append(f"{about},{positive},{int(study % 2 == 0)},{int(study % 4 == 1)}")
            else:
                tested.append(about)
                sent.append(f"{name},0.5")
        if part == "test":
            sent += [f"{uid}_negative_exam_for_pe,0.5", f"{uid}_leftsided_pe,0.5"]
    about = "StudyInstanceUID,SeriesInstanceUID,SOPInstanceUID"
    table(root / "train.csv", f"{about},pe_present_on_image,negative_exam_for_pe,leftsided_pe", rows)
    table(root / "test.csv", about, tested)
    table(root / "sample_submission.csv", "id,label", sent)


def breakhis(root: Path) -> None:
    """BreakHis: classes, kinds, patients and magnifications as folders."""
    for number in range(24):
        kind = ("benign", "malignant")[number % 2]
        tumor = (("adenosis", "fibroadenoma"), ("ductal_carcinoma", "lobular_carcinoma"))[number % 2][number // 2 % 2]
        patient = f"SOB_{kind[0].upper()}_{tumor[0].upper()}_14-{22549 + number}AB"
        for zoom in ("40X", "100X"):
            folder = root / f"BreaKHis_v1/histology_slides/breast/{kind}/SOB/{tumor}/{patient}/{zoom}"
            for place in range(2):
                save(folder / f"{patient}-{zoom[:-1]}-{place + 1:03d}.png", picture(10 * number + place, number % 2)[0])


def totalsegmentator(root: Path) -> None:
    """TotalSegmentator: a folder of masks below each case's, and a table that says no label."""
    rows = []
    for number in range(8):
        mask = volume(root / f"s{number:04d}/ct.nii.gz", number, True)
        for place, organ in enumerate(("aorta", "liver", "spleen")):
            save_volume(root / f"s{number:04d}/segmentations/{organ}.nii.gz", np.roll(mask, place, 0))
        rows.append(f"s{number:04d};{40 + number};m;A;ct thorax;{('train', 'test')[number > 5]}")
    table(root / "meta.csv", "image_id;age;gender;institute;study_type;split", rows)


def picai(root: Path) -> None:
    """PI-CAI: sequences of a patient's study in files of their own, a diagnosis and masks."""
    rows = []
    for number in range(10):
        name = f"{10000 + number}_{1000000 + number}"
        for kind in ("t2w", "adc"):
            mask = volume(root / f"images/{10000 + number}/{name}_{kind}.nii.gz", number, number % 2 == 0)
        save_volume(root / f"picai_labels/csPCa/{name}.nii.gz", mask)
        rows.append(f"{10000 + number},{1000000 + number},{60 + number},7.7,{('YES', 'NO')[number % 2]},RUMC")
    about = "patient_id,study_id,patient_age,psa,case_csPCa,center"
    table(root / "picai_labels/clinical_information/marksheet.csv", about, rows)


def osic(root: Path) -> None:
    """OSIC: several rows of a patient, whose numbers differ."""
    rows, sent = [], []
    for number in range(12):
        name = f"ID{7637202177411956430 + number}"
        write_series(root / f"train/{name}", 40 + number)
        for week in (-4, 5, 7, 9):
            about = f"{60 + number},Male,Ex-smoker"
            rows.append(f"{name},{week},{2300 + 30 * number + week},{58 + number + week / 8:.6f},{about}")
    tested = [rows[0], rows[4]]
    for row in tested:
        who = row.partition(",")[0]
        write_series(root / f"test/{who}", 40)
        sent += [f"{who}_{week},2000,100" for week in range(-12, 3)]
    about = "Patient,Weeks,FVC,Percent,Age,Sex,SmokingStatus"
    table(root / "train.csv", about, rows)
    table(root / "test.csv", about, tested)
    table(root / "sample_submission.csv", "Patient_Week,FVC,Confidence", sent)


def chaos(root: Path) -> None:
    """CHAOS: DICOM series with masks as pictures of other names."""
    for number in (1, 2, 5, 8):
        write_series(root / f"Train_Sets/CT/{number}/DICOM_anon", number)
        for s in range(3):
            save(root / f"Train_Sets/CT/{number}/Ground/liver_GT_{s:03d}.png", picture(number, 1, (32, 32))[1] * 255)


REFUSED = {"osic": osic, "chaos": chaos}
FURTHER = {
    name: function
    for name, function in list(globals().items())
    if callable(function)
    and getattr(function, "__module__", "") == __name__
    and not name.startswith("_")
    and name not in REFUSED
}
