"""Small datasets in the layouts of real competitions, written in a second: noise with bright disks."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image as Pillow

from heldout.data.rle import RunLengths

SIDES = (48, 64)


def picture(seed: int, disks: int, sides: tuple[int, int] = SIDES) -> tuple[np.ndarray, np.ndarray]:
    """A noisy image (H, W) with so many bright disks, and their mask."""
    generator = np.random.default_rng(seed)
    image = generator.normal(70, 14, sides) + 12 * np.sin(np.arange(sides[1]) / generator.uniform(3, 9))
    mask = np.zeros(sides, bool)
    rows, columns = np.indices(sides)
    for _ in range(disks):
        y, x, r = generator.uniform(12, sides[0] - 12), generator.uniform(12, sides[1] - 12), generator.uniform(5, 9)
        mask |= (rows - y) ** 2 + ((columns - x) * 0.7) ** 2 < r**2
    return np.clip(image + 110 * mask, 0, 255).astype(np.uint8), mask.astype(np.uint8)


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(array).save(path)


def table(path: Path, header: str, rows: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")


def volume(path: Path, seed: int, lesion: bool, shape: tuple[int, int, int] = (20, 24, 16)) -> np.ndarray:
    """Write a noisy volume with or without a bright ball; returns the ball's mask."""
    generator = np.random.default_rng(seed)
    grid = np.indices(shape)
    mask = (sum((axis - generator.integers(7, 10)) ** 2 for axis in grid) < 18) & lesion
    save_volume(path, (generator.normal(100, 15, shape) + 120 * mask).astype(np.float32))
    return mask.astype(np.uint8)


def save_volume(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([1.0, 1.0, 2.0, 1.0])), path)


def coco(root: Path) -> None:
    """Polygons, boxes and both kinds of run lengths in one file; unlabeled images in another."""
    from pycocotools import mask as coder

    images, marks = [], []
    for number in range(24):
        image, mask = picture(number, number % 3)
        save(root / f"images/train/{number:04d}.png", image)
        images.append({"id": number, "file_name": f"{number:04d}.png", "height": SIDES[0], "width": SIDES[1]})
        if not mask.any():
            continue
        rows, columns = np.nonzero(mask)
        box = [int(columns.min()), int(rows.min()), int(np.ptp(columns) + 1), int(np.ptp(rows) + 1)]
        packed = coder.encode(np.asfortranarray(mask))
        counts = RunLengths("columns", 0).encode(mask).split()
        plain, end = [], 0
        for start, length in zip(map(int, counts[::2]), map(int, counts[1::2]), strict=True):
            plain += [start - end, length]
            end = start + length
        x, y, w, h = box
        segment = (
            {"size": list(SIDES), "counts": packed["counts"].decode()},
            {"size": list(SIDES), "counts": [*plain, mask.size - end]},
            [[x, y, x + w, y, x + w, y + h, x, y + h]],
        )[len(marks) % 3]
        about = {"id": len(marks), "image_id": number, "category_id": 1 + number % 3, "bbox": box, "iscrowd": 0}
        marks.append({**about, "segmentation": segment, "area": int(mask.sum())})
    categories = [{"id": 2, "name": "fracture"}, {"id": 3, "name": "metal"}]
    files = {"train": (images, marks), "test": ([], [])}
    for number in range(4):
        save(root / f"images/test/t{number:03d}.png", picture(900 + number, 1)[0])
        files["test"][0].append(
            {"id": number, "file_name": f"t{number:03d}.png", "height": SIDES[0], "width": SIDES[1]}
        )
    for part, (listed, drawn) in files.items():
        content = {"images": listed, "annotations": drawn, "categories": categories}
        (root / "annotations").mkdir(exist_ok=True)
        (root / f"annotations/instances_{part}.json").write_text(json.dumps(content))


def siim(root: Path) -> None:
    """SIIM-ACR pneumothorax: DICOM files in folders of studies, gaps and lengths by columns, ``-1`` for none."""
    from tests.data.dicom_toy import write_picture

    runs, rows = RunLengths("columns", 0, "gap"), []
    for number in range(24):
        image, mask = picture(number, number % 2, (56, 56))
        uid = f"1.2.276.0.7230010.3.1.4.8323329.{number:04d}"
        write_picture(root / f"dicom-images-train/{uid}.1/{uid}.2/{uid}.dcm", image)
        rows.append(f"{uid}, {runs.encode(mask) or '-1'}")
    for number in range(4):
        uid = f"1.2.276.0.7230010.3.1.4.8323329.9{number:03d}"
        write_picture(root / f"dicom-images-test/{uid}.1/{uid}.2/{uid}.dcm", picture(800 + number, 1, (56, 56))[0])
    table(root / "train-rle.csv", "ImageId, EncodedPixels", rows)
    table(
        root / "sample_submission.csv",
        "ImageId,EncodedPixels",
        [f"1.2.276.0.7230010.3.1.4.8323329.9{n:03d},-1" for n in range(4)],
    )


def hubmap(root: Path) -> None:
    """HuBMAP + HPA: a TIFF per tissue, run lengths by columns from 1, much about the donor."""
    rows = []
    for number in range(20):
        image, mask = picture(number, 1 + number % 2)
        save(root / f"train_images/{100 + number}.tiff", np.stack([image, image // 2, image // 3], axis=2))
        organ = ("kidney", "lung")[number % 2]
        rows.append(f"{100 + number},{organ},HPA,48,64,0.4,4,{RunLengths().encode(mask)},{50 + number % 7},Male")
    for number in range(3):
        image, _ = picture(700 + number, 1)
        save(root / f"test_images/{900 + number}.tiff", np.stack([image, image // 2, image // 3], axis=2))
    about = "organ,data_source,img_height,img_width,pixel_size,tissue_thickness"
    table(root / "train.csv", f"id,{about},rle,age,sex", rows)
    table(root / "test.csv", f"id,{about}", [f"{900 + n},kidney,HPA,48,64,0.4,4" for n in range(3)])
    table(root / "sample_submission.csv", "id,rle", [f"{900 + n}," for n in range(3)])


def uw_madison(root: Path) -> None:
    """UW-Madison GI tract: a row per slice and class, ids made of case, day and slice."""
    rows = []
    for case in range(8):
        for day in (0, 20):
            for number in range(1, 4):
                seed = 1000 * case + 10 * day + number
                image, mask = picture(seed, 1 + number % 2)
                name = f"case{case + 1}_day{day}"
                file = f"train/case{case + 1}/{name}/scans/slice_{number:04d}_64_48_1.50_1.50.png"
                save(root / file, image)
                masks = {"large_bowel": mask, "small_bowel": 0 * mask, "stomach": 0 * mask}
                masks["stomach" if number == 1 else "small_bowel"][4:9, 5:30] = 1
                for label, one in masks.items():
                    shown = RunLengths().encode(one) if number < 3 else ""
                    rows.append(f"{name}_slice_{number:04d},{label},{shown}")
    for number in range(2):
        save(root / f"test/case99/case99_day7/scans/slice_{number:04d}_64_48_1.50_1.50.png", picture(77 + number, 1)[0])
    table(root / "train.csv", "id,class,segmentation", rows)
    asked = [
        f"case99_day7_slice_{n:04d},{label}," for n in range(2) for label in ("large_bowel", "small_bowel", "stomach")
    ]
    table(root / "sample_submission.csv", "id,class,predicted", asked)


def nih(root: Path) -> None:
    """NIH ChestX-ray14: lists of findings, folders images_001 and on, a patient's follow-ups, lists of the parts.

    As in the archive, headings and lines end with a comma, two headings hold one, some pictures have four channels,
    and a second table has boxes. The last patients have no finding here, so that there is something to submit.
    """
    names, rows, boxes, parts = ("Atelectasis", "Effusion", "Mass"), [], [], (list[str](), list[str]())
    for number in range(48):
        patient, disks = number // 2, number % 4
        name, image = f"{patient:08d}_{number % 2:03d}.png", picture(number, disks)[0]
        if patient % 7 == 3:
            image = np.dstack([image, image, image, np.full_like(image, 255)])
        save(root / f"images_{1 + number // 16:03d}/images/{name}", image)
        findings = {0: "No Finding", 1: names[0], 2: f"{names[0]}|{names[1]}", 3: names[patient % 3]}[disks]
        findings = findings if patient < 22 else ""
        about = f"{number % 2},{patient},{40 + patient:03d}Y,{'MF'[patient % 2]},{('PA', 'AP')[number % 2]}"
        rows.append(f"{name},{findings},{about},2682,2749,0.143,0.143,")
        if findings and disks:
            boxes.append(f"{name},{findings.partition('|')[0]},225.08,547.01,86.77,79.18,,,")
        if patient < 22:
            parts[patient >= 18].append(name)
    header = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position"
    table(root / "Data_Entry_2017.csv", f"{header},OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],", rows)
    table(root / "BBox_List_2017.csv", "Image Index,Finding Label,Bbox [x,y,w,h],,,", boxes)
    for name, listed in zip(("train_val_list.txt", "test_list.txt"), parts, strict=True):
        (root / name).write_text("\n".join(listed))


def bone_age(root: Path) -> None:
    """RSNA bone age: months to predict, and the sex."""
    rows = []
    for number in range(24):
        save(
            root / f"boneage-training-dataset/boneage-training-dataset/{1377 + number}.png",
            picture(number, number % 3)[0],
        )
        rows.append(f"{1377 + number},{30 + 7 * number},{number % 2 == 0}")
    for number in range(3):
        save(root / f"boneage-test-dataset/boneage-test-dataset/{4360 + number}.png", picture(600 + number, 1)[0])
    table(root / "boneage-training-dataset.csv", "id,boneage,male", rows)
    table(root / "boneage-test-dataset.csv", "Case ID,Sex", ["4360,M", "4361,M", "4362,F"])


def nnunet(root: Path) -> None:
    """nnU-Net v2: two channels, labels by name, folds in splits_final.json."""
    names = [f"heart_{number:03d}" for number in range(10)]
    for number, name in enumerate(names):
        mask = volume(root / f"imagesTr/{name}_0000.nii.gz", number, True)
        volume(root / f"imagesTr/{name}_0001.nii.gz", 100 + number, False)
        save_volume(root / f"labelsTr/{name}.nii.gz", mask)
    for number in range(2):
        for channel in range(2):
            volume(root / f"imagesTs/heart_{900 + number}_{channel:04d}.nii.gz", 200 + 10 * number + channel, True)
    plan = {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "lesion": 1}, "numTraining": 10}
    (root / "dataset.json").write_text(json.dumps({**plan, "file_ending": ".nii.gz"}))
    folds = [{"train": [n for n in names if n not in names[k::2]], "val": names[k::2]} for k in range(2)]
    (root / "splits_final.json").write_text(json.dumps(folds))


def bids(root: Path) -> None:
    """BIDS: sessions of subjects, groups in participants.tsv, another modality beside."""
    rows = []
    for number in range(14):
        subject, sick = f"sub-{number + 1:02d}", number % 2 == 1
        for session in ("ses-01", "ses-02"):
            start = f"{subject}/{session}/anat/{subject}_{session}"
            volume(root / f"{start}_T1w.nii.gz", 10 * number + int(session[-1]), sick)
            volume(root / f"{start}_FLAIR.nii.gz", 500 + 10 * number + int(session[-1]), sick)
        group = "n/a" if number >= 12 else "patient" if sick else "control"
        rows.append(f"{subject}\t{30 + number}\tF\t{group}")
    table(root / "participants.tsv", "participant_id\tage\tsex\tgroup", rows)
    (root / "dataset_description.json").write_text('{"Name": "toy", "BIDSVersion": "1.8.0"}')


LAYOUTS = {
    "coco": coco,
    "siim": siim,
    "hubmap": hubmap,
    "uw-madison": uw_madison,
    "nih": nih,
    "bone-age": bone_age,
    "nnunet": nnunet,
    "bids": bids,
}
