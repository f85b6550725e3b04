"""The layouts by name; a module is imported when its layout is asked for."""

SOURCES = {
    "phantom": "Phantom",
    "msd": "Msd",
    "fracatlas": "FracAtlas",
    "lgg": "Lgg",
    "brain_mri": "BrainMri",
    "medmnist3d": "MedMnist3d",
    "table": "Table",
    "folders": "Folders",
    "coco": "Coco",
    "yolo": "Yolo",
    "rsna_aneurysm": "RsnaAneurysm",
    "rsna_points": "RsnaAneurysmPoints",
    "phantom_aneurysm": "PhantomAneurysm",
    "atlas": "Atlas",
    "isles": "Isles",
    "phantom_lesions": "PhantomLesions",
    "brats_slices": "BratsSlices",
    "slides": "Slides",
}
