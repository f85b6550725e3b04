"""File names and tables of further competitions and datasets, with small images: what ``init`` has to tell apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from heldout.data.rle import RunLengths
from tests.data.dicom_toy import write_picture
from tests.data.miniatures import picture, save, save_volume, table, volume


def aptos(root: Path) -> None:
    rows = []
    for number in range(20):
        save(root / f"train_images/{number:012x}.png", picture(number, number % 3)[0])
        rows.append(f"{number:012x},{number % 5}")
    for number in range(3):
        save(root / f"test_images/{900 + number:012x}.png", picture(900 + number, 1)[0])
    table(root / "train.csv", "id_code,diagnosis", rows)
    table(root / "test.csv", "id_code", [f"{900 + number:012x}" for number in range(3)])
    table(root / "sample_submission.csv", "id_code,diagnosis", [f"{900 + number:012x},0" for number in range(3)])


def isic_2019(root: Path) -> None:
    names = ("MEL", "NV", "BCC", "AK")
    labels, about = [], []
    for number in range(24):
        image = f"ISIC_{number:07d}"
        save(root / f"ISIC_2019_Training_Input/{image}.jpg", picture(number, number % 4)[0])
        labels.append(f"{image}," + ",".join(str(float(number % 4 == k)) for k in range(4)))
        about.append(f"{image},{20 + number}.0,anterior torso,BCN_{number // 3:07d},male")
    table(root / "ISIC_2019_Training_GroundTruth.csv", f"image,{','.join(names)}", labels)
    table(root / "ISIC_2019_Training_Metadata.csv", "image,age_approx,anatom_site_general,lesion_patient_id,sex", about)


def siim_isic(root: Path) -> None:
    rows = []
    for number in range(24):
        image = f"ISIC_{number:07d}"
        save(root / f"jpeg/train/{image}.jpg", picture(number, number % 2)[0])
        write_picture(root / f"train/{image}.dcm", picture(number, number % 2)[0])
        kind = ("unknown,benign", "melanoma,malignant")[number % 2]
        rows.append(f"{image},IP_{number // 2:07d},male,{20 + 5 * (number % 4)}.0,torso,{kind},{number % 2}")
    for number in range(3):
        save(root / f"jpeg/test/ISIC_{900 + number:07d}.jpg", picture(900 + number, 1)[0])
        write_picture(root / f"test/ISIC_{900 + number:07d}.dcm", picture(900 + number, 1)[0])
    table(
        root / "train.csv",
        "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target",
        rows,
    )
    table(
        root / "test.csv",
        "image_name,patient_id,sex,age_approx,anatom_site_general_challenge",
        [f"ISIC_{900 + n:07d},IP_9,male,30.0,torso" for n in range(3)],
    )
    table(root / "sample_submission.csv", "image_name,target", [f"ISIC_{900 + n:07d},0" for n in range(3)])


def chexpert(root: Path) -> None:
    names = ("No Finding", "Cardiomegaly", "Edema", "Pleural Effusion")
    rows = []
    for number in range(24):
        path = f"train/patient{number // 2:05d}/study{1 + number % 2}/view1_frontal.jpg"
        save(root / path, picture(number, number % 3)[0])
        cells = [
            ("1.0", "", "")[number % 3],
            ("", "1.0", "-1.0")[number % 3],
            ("0.0", "", "1.0")[number % 3],
            ("", "1.0", "0.0")[number % 3],
        ]
        rows.append(f"CheXpert-v1.0-small/{path},Male,{40 + number},Frontal,AP,{','.join(cells)}")
    table(root / "train.csv", f"Path,Sex,Age,Frontal/Lateral,AP/PA,{','.join(names)}", rows)


def vinbig(root: Path) -> None:
    rows = []
    for number in range(20):
        write_picture(root / f"train/{number:032x}.dicom", picture(number, number % 2)[0])
        if number % 2:
            for reader in range(2):
                kind = ("Cardiomegaly,3", "Nodule/Mass,5")[number % 4 // 2]
                rows.append(f"{number:032x},{kind},R{reader},{5 + reader}.0,6.0,30.0,40.0")
        else:
            rows.append(f"{number:032x},No finding,14,R1,,,,")
    for number in range(2):
        write_picture(root / f"test/{900 + number:032x}.dicom", picture(900 + number, 1)[0])
    table(root / "train.csv", "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max", rows)
    table(
        root / "sample_submission.csv", "image_id,PredictionString", [f"{900 + n:032x},14 1 0 0 1 1" for n in range(2)]
    )


def rsna_pneumonia(root: Path) -> None:
    rows, details = [], []
    for number in range(20):
        name = f"{number:08x}-0000-4000-8000-000000000000"
        write_picture(root / f"stage_2_train_images/{name}.dcm", picture(number, number % 2)[0])
        boxes = ["5.0,6.0,20.0,25.0", "30.0,6.0,20.0,25.0"] if number % 2 else [",,,"]
        rows += [f"{name},{box},{number % 2}" for box in boxes]
        details += [f"{name},{('Normal', 'Lung Opacity')[number % 2]}" for _ in boxes]
    for number in range(2):
        write_picture(root / f"stage_2_test_images/{900 + number:08x}-0000.dcm", picture(900 + number, 1)[0])
    table(root / "stage_2_train_labels.csv", "patientId,x,y,width,height,Target", rows)
    table(root / "stage_2_detailed_class_info.csv", "patientId,class", details)
    table(
        root / "stage_2_sample_submission.csv",
        "patientId,PredictionString",
        [f"{900 + n:08x}-0000,0.5 0 0 9 9" for n in range(2)],
    )


def ranzcr(root: Path) -> None:
    names = ("ETT - Abnormal", "ETT - Normal", "CVC - Normal")
    rows, marks = [], []
    for number in range(24):
        uid = f"1.2.826.0.1.3680043.8.498.{26697628953273228189375557799582420561 + number}"
        save(root / f"train/{uid}.jpg", picture(number, number % 3)[0])
        rows.append(f"{uid},{number % 3 == 0:d},{number % 3 == 1:d},{number % 2:d},{number // 3:08x}")
        marks.append(f'{uid},CVC - Normal,"[[1, 2], [3, 4]]"')
    table(root / "train.csv", f"StudyInstanceUID,{','.join(names)},PatientID", rows)
    table(root / "train_annotations.csv", "StudyInstanceUID,label,data", marks)


def panda(root: Path) -> None:
    rows = []
    for number in range(24):
        save(root / f"train_images/{number:032x}.tiff", np.stack([picture(number, number % 3)[0]] * 3, axis=2))
        save(root / f"train_label_masks/{number:032x}_mask.tiff", picture(number, number % 3)[1])
        rows.append(f"{number:032x},{('karolinska', 'radboud')[number % 2]},{number % 6},{number % 4}+{number % 3}")
    table(root / "train.csv", "image_id,data_provider,isup_grade,gleason_score", rows)
    table(root / "sample_submission.csv", "image_id,isup_grade", [f"{900 + n:032x},0" for n in range(2)])


def sartorius(root: Path) -> None:
    rows = []
    for number in range(16):
        _, mask = picture(number, 1 + number % 2)
        image, _ = picture(number, 0)
        save(root / f"train/{number:012x}.png", np.clip(image + 100 * mask, 0, 255).astype(np.uint8))
        half = mask.copy()
        half[:, 32:] = 0
        for part in (half, mask - half):
            if part.any():
                rows.append(
                    f"{number:012x},{RunLengths('rows').encode(part)},64,48,shsy5y,D1,1900-01-01,shsy5y[diff],s"
                )
    table(
        root / "train.csv",
        "id,annotation,width,height,cell_type,plate_time,sample_date,sample_id,elapsed_timedelta",
        rows,
    )
    save(root / "test/ffff.png", picture(99, 1)[0])
    table(root / "sample_submission.csv", "id,predicted", ["ffff,1 1"])


def oct_folders(root: Path) -> None:
    for number in range(32):
        kind = ("CNV", "DME", "DRUSEN", "NORMAL")[number % 4]
        part = "test" if number >= 24 else "train"
        save(root / f"OCT2017/{part}/{kind}/{kind}-{1000 + number // 8}-{number}.jpeg", picture(number, number % 4)[0])


def chest_xray(root: Path) -> None:
    for number in range(30):
        part = ("train", "train", "val", "test")[number % 4]
        kind = ("NORMAL", "PNEUMONIA")[number % 3 == 1]
        save(root / f"chest_xray/{part}/{kind}/IM-{number:04d}.jpeg", picture(number, number % 2)[0])


def brain_tumor_folders(root: Path) -> None:
    for part, start in (("Training", 0), ("Testing", 500)):
        for number in range(16):
            kind = ("glioma", "meningioma", "notumor", "pituitary")[number % 4]
            save(root / f"{part}/{kind}/{part[:2]}-{kind[:2]}_{number:04d}.jpg", picture(start + number, number % 4)[0])


def yes_no(root: Path) -> None:
    for number in range(20):
        save(root / f"{('no', 'yes')[number % 2]}/{'NY'[number % 2]}{number}.jpg", picture(number, number % 2)[0])


def kvasir(root: Path) -> None:
    for number in range(16):
        image, mask = picture(number, 1 + number % 2)
        save(root / f"Kvasir-SEG/images/cju{number:04d}.jpg", np.stack([image, image // 2, image // 3], axis=2))
        save(root / f"Kvasir-SEG/masks/cju{number:04d}.jpg", np.stack([255 * mask] * 3, axis=2))


def drive(root: Path) -> None:
    for number in range(1, 17):
        image, mask = picture(number, 1)
        part = "training" if number > 4 else "test"
        save(root / f"DRIVE/{part}/images/{number:02d}_{part}.tif", np.stack([image, image // 2, image // 3], axis=2))
        view = np.ones_like(mask) * 255
        view[:3] = 0
        save(root / f"DRIVE/{part}/mask/{number:02d}_{part}_mask.gif", view)
        if part == "training":
            save(root / f"DRIVE/{part}/1st_manual/{number:02d}_manual1.gif", 255 * mask)


def kits(root: Path) -> None:
    for number in range(9):
        folder = root / f"case_{number:05d}"
        mask = volume(folder / "imaging.nii.gz", number, True)
        if number < 7:
            save_volume(folder / "segmentation.nii.gz", mask)


def gold_standard(root: Path) -> None:
    """A folder per patient, whose files have the same names everywhere."""
    for number in range(8):
        folder = root / f"MNI/patient{number:02d}"
        mask = volume(folder / "FLAIR_brain_regtoMNI.nii.gz", number, True)
        save_volume(folder / "GOLD_STANDARD_regtoMNI.nii.gz", mask)


def knee_grades(root: Path) -> None:
    """A folder per grade."""
    for number in range(30):
        part = ("train", "train", "val", "test")[number % 4]
        save(root / f"{part}/{number % 3}/{9000000 + number}{'LR'[number % 2]}.png", picture(number, number % 3)[0])


def brats(root: Path) -> None:
    for number in range(8):
        name = f"BraTS20_Training_{number:03d}"
        start = root / f"MICCAI_BraTS2020_TrainingData/{name}/{name}"
        for position, kind in enumerate(("flair", "t1", "t1ce", "t2")):
            mask = volume(Path(f"{start}_{kind}.nii.gz"), 10 * number + position, True)
        save_volume(Path(f"{start}_seg.nii.gz"), 4 * mask)


def cell_tissue_masks(root: Path) -> None:
    """Slices of patients with masks beside them, several label values."""
    for number in range(24):
        image, mask = picture(number, 1 + number % 2)
        mask[20:30, 3:9] = 3
        save(root / f"slices/P{number // 3:03d}/P{number // 3:03d}_{number % 3}.png", image)
        save(root / f"slices/P{number // 3:03d}/P{number // 3:03d}_{number % 3}_seg.png", mask)


def semicolons(root: Path) -> None:
    """A table with semicolons and upper-case headings, class names, patients as folders."""
    rows = []
    for number in range(24):
        save(root / f"scans/A{number // 3}/{number:03d}.png", picture(number, number % 3)[0])
        rows.append(f"{number:03d};A{number // 3};{('none', 'small', 'large')[number % 3]};{40 + number}")
    table(root / "befund.csv", "Scan;Patient;Class;Age", rows)


def ham10000(root: Path) -> None:
    rows = []
    for number in range(24):
        save(root / f"HAM10000_images_part_{1 + number % 2}/ISIC_{number:07d}.jpg", picture(number, number % 3)[0])
        kind = ("nv", "mel", "bkl")[number % 3]
        rows.append(f"HAM_{number // 2:07d},ISIC_{number:07d},{kind},histo,{40 + number}.0,male,back")
    table(root / "HAM10000_metadata.csv", "lesion_id,image_id,dx,dx_type,age,sex,localization", rows)


def dicom_series(root: Path) -> None:
    """RSNA-MICCAI: folders of patients and sequences with a table of ids."""
    from tests.data.dicom_toy import plane

    rows = []
    for number in range(12):
        for slice_number in range(4):
            path = root / f"train/{number:05d}/FLAIR/Image-{slice_number + 1}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            array = np.random.default_rng(10 * number + slice_number).integers(0, 4000, (16, 16)).astype(np.uint16)
            plane(array, slice_number, SeriesInstanceUID=f"1.2.{number + 1}").save_as(path, enforce_file_format=True)
        rows.append(f"{number:05d},{number % 2}")
    table(root / "train_labels.csv", "BraTS21ID,MGMT_value", rows)


MORE = {
    name: function
    for name, function in list(globals().items())
    if callable(function) and getattr(function, "__module__", "") == __name__
}
