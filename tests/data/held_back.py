"""Layouts of competitions that ``init`` was first tried on after it was written, with small images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from heldout.data.rle import RunLengths
from tests.data.miniatures import SIDES, picture, save, save_volume, table, volume
from tests.data.to_submission import write_series


def nerve(root: Path) -> None:
    """Ultrasound nerve: two columns name an image together, masks lie beside the images too."""
    coder, rows = RunLengths("columns", 1), []
    for subject in range(1, 7):
        for number in range(1, 7):
            image, mask = picture(10 * subject + number, number % 2)
            save(root / f"train/{subject}_{number}.tif", image)
            save(root / f"train/{subject}_{number}_mask.tif", mask * 255)
            rows.append(f"{subject},{number},{coder.encode(mask)}")
    for number in range(1, 9):
        save(root / f"test/{number}.tif", picture(number, number % 2)[0])
    table(root / "train_masks.csv", "subject,img,pixels", rows)
    table(root / "sample_submission.csv", "img,pixels", [f"{number},1 1" for number in range(1, 9)])


def retinopathy(root: Path) -> None:
    """Diabetic retinopathy 2015: both eyes of a patient, in the names alone."""
    rows = []
    for patient in range(24):
        for side in ("left", "right"):
            part, name = ("train" if patient < 20 else "test"), f"{10 + 3 * patient}_{side}"
            save(root / f"{part}/{name}.jpeg", picture(2 * patient + (side == "left"), patient % 3)[0])
            rows.append(f"{name},{(patient + (side == 'left')) % 5}")
    table(root / "trainLabels.csv", "image,level", rows[:40])
    table(root / "sampleSubmission.csv", "image,level", [f"{row.partition(',')[0]},0" for row in rows[40:]])


def nuclei(root: Path) -> None:
    """Data Science Bowl 2018: a folder per image, a mask per nucleus, run lengths in several rows."""
    coder, random, rows = RunLengths("columns", 1), np.random.default_rng(0), []
    for number in range(12):
        name, image = random.bytes(16).hex(), picture(number, 0)[0]
        for place in range(1 + number % 3):
            mask = np.zeros(SIDES, np.uint8)
            mask[6 + 12 * place : 14 + 12 * place, 8 + 9 * place : 17 + 9 * place] = 1
            image = np.where(mask > 0, 220, image).astype(np.uint8)
            save(root / f"stage1_train/{name}/masks/{random.bytes(16).hex()}.png", mask * 255)
            rows.append(f"{name},{coder.encode(mask)}")
        save(root / f"stage1_train/{name}/images/{name}.png", image)
    for _ in range(2):
        name = random.bytes(16).hex()
        save(root / f"stage1_test/{name}/images/{name}.png", picture(99, 1)[0])
    table(root / "stage1_train_labels.csv", "ImageId,EncodedPixels", rows)


def idrid(root: Path) -> None:
    """IDRiD: blanks in names of folders and columns, commas at the ends of the lines."""
    base, rows = root / "B. Disease Grading", []
    for number in range(30):
        save(base / f"1. Original Images/a. Training Set/IDRiD_{number + 1:03d}.jpg", picture(number, number % 3)[0])
        rows.append(f"IDRiD_{number + 1:03d},{number % 5},{number % 3},,,,,")
    header = "Image name,Retinopathy grade,Risk of macular edema ,,,,,"
    table(base / "2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv", header, rows)


def brats_2023(root: Path) -> None:
    """BraTS 2023: other suffixes, a validation part without masks."""
    for number in range(8 + 2):
        part = "Training" if number < 8 else "Validation"
        name = f"BraTS-GLI-{number:05d}-000"
        start = root / f"ASNR-MICCAI-BraTS2023-GLI-Challenge-{part}Data/{name}/{name}"
        for position, kind in enumerate(("t1c", "t1n", "t2f", "t2w")):
            mask = volume(Path(f"{start}-{kind}.nii.gz"), 10 * number + position, True)
        if part == "Training":
            mask[9:][mask[9:] > 0] = 1 + number % 3
            save_volume(Path(f"{start}-seg.nii.gz"), mask)


def covid_radiography(root: Path) -> None:
    """COVID-19 radiography: masks below folders of classes, which are no patients."""
    for kind in ("COVID", "Lung_Opacity", "Normal", "Viral Pneumonia"):
        for number in range(6):
            image, mask = picture(number + len(kind), 1 + number % 2)
            for folder, array in (("images", image), ("masks", mask * 255)):
                save(root / f"COVID-19_Radiography_Dataset/{kind}/{folder}/{kind}-{number + 1}.png", array)


def acdc(root: Path) -> None:
    """ACDC: two frames of a patient with masks, a film without, and a labeled test part."""
    for patient in (*range(1, 9), 101, 102):
        folder = root / f"database/{'training' if patient < 100 else 'testing'}/patient{patient:03d}"
        for frame in (1, 12):
            mask = volume(folder / f"patient{patient:03d}_frame{frame:02d}.nii.gz", 10 * patient + frame, True)
            mask[9:][mask[9:] > 0] = 1 + patient % 3
            save_volume(folder / f"patient{patient:03d}_frame{frame:02d}_gt.nii.gz", mask)
        film = np.random.default_rng(patient).normal(size=(20, 24, 16, 4)).astype(np.float32)
        save_volume(folder / f"patient{patient:03d}_4d.nii.gz", film)


def pad_ufes(root: Path) -> None:
    """PAD-UFES-20: many columns of true and false, patients beside lesions."""
    rows = []
    for number in range(36):
        name, patient = f"PAT_{8 + number // 2}_{15 + number}_{881 + number}.png", f"PAT_{8 + number // 2}"
        save(root / f"imgs_part_{1 + number % 3}/imgs_part_{1 + number % 3}/{name}", picture(number, number % 3)[0])
        kind = ("NEV", "BCC", "ACK", "SEK", "SCC", "MEL")[number % 6]
        about = f"{'False' if number % 2 else ''},{number % 4 == 0},{40 + number // 2},{number % 2 == 0},FEMALE"
        rows.append(f"{patient},{15 + number},{about},{('ARM', 'NECK')[number % 2]},{kind},{name},{number % 3 == 0}")
    header = "patient_id,lesion_id,smoke,drink,age,pesticide,gender,region,diagnostic,img_id,biopsed"
    table(root / "metadata.csv", header, rows)


def strip_ai(root: Path) -> None:
    """Mayo Clinic STRIP AI: several images of a patient, other images beside, a row per patient to submit."""
    parts: dict[str, list[str]] = {"train": [], "other": [], "test": []}
    for number in range(28):
        part = "train" if number < 20 else "other" if number < 24 else "test"
        patient, label = f"{0x6BAF51 + number // 2 * 977:06x}", ("CE", "LAA")[number // 2 % 2]
        save(root / f"{part}/{patient}_{number % 2}.tif", picture(number, number // 2 % 2)[0])
        last = {"train": f",{label}", "other": ",Unknown", "test": ""}[part]
        parts[part].append(f"{patient}_{number % 2},{patient},{number % 2}{last}")
    for part, rows in parts.items():
        table(root / f"{part}.csv", "image_id,patient_id,image_num" + ",label" * (part != "test"), rows)
    sent = dict.fromkeys(row.split(",")[1] for row in parts["test"])
    table(root / "sample_submission.csv", "patient_id,CE,LAA", [f"{patient},0.5,0.5" for patient in sent])


def dsb_2017(root: Path) -> None:
    """Data Science Bowl 2017: series with and without labels in one folder."""
    names = [f"{number * 0x1234567 + 0xABC00000:032x}" for number in range(16)]
    for number, name in enumerate(names):
        write_series(root / f"stage1/{name}", number, bright=number % 3 == 0)
    table(root / "stage1_labels.csv", "id,cancer", [f"{name},{int(n % 3 == 0)}" for n, name in enumerate(names[:12])])
    table(root / "stage1_sample_submission.csv", "id,cancer", [f"{name},0.5" for name in names[12:]])


def cervical_types(root: Path) -> None:
    """Intel and MobileODT cervical cancer screening: more images in folders of their own, test images in one folder."""
    for kind in (1, 2, 3):
        for number in range(6):
            save(root / f"train/Type_{kind}/{100 * kind + number}.jpg", picture(100 * kind + number, kind - 1)[0])
        save(root / f"additional_Type_{kind}_v2/Type_{kind}/{1000 * kind}.jpg", picture(1000 * kind, kind - 1)[0])
    for number in range(3):
        save(root / f"test/{number}.jpg", picture(number, 1)[0])
    rows = [f"{number}.jpg,0.2,0.5,0.3" for number in range(3)]
    table(root / "sample_submission.csv", "image_name,Type_1,Type_2,Type_3", rows)


def vessels(root: Path) -> None:
    """SenNet + HOA: stacks of slices with masks beside, a row of run lengths per slice to submit."""
    rows, sent = [], []
    for kidney in ("kidney_1_dense", "kidney_2", "kidney_3_sparse", "kidney_5"):
        for number in range(4):
            image, mask = picture(len(kidney) + number, number % 2)
            part = "test" if kidney == "kidney_5" else "train"
            save(root / f"{part}/{kidney}/images/{number:04d}.tif", image)
            if part == "train":
                save(root / f"{part}/{kidney}/labels/{number:04d}.tif", mask * 255)
            (rows if part == "train" else sent).append(f"{kidney}_{number:04d},1 1")
    table(root / "train_rles.csv", "id,rle", rows)
    table(root / "sample_submission.csv", "id,rle", sent)


HELD_BACK = {
    name: function
    for name, function in list(globals().items())
    if callable(function) and getattr(function, "__module__", "") == __name__
}
