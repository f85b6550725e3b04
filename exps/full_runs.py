"""Full runs: the experiments of record of each dataset, which `full` trains, blends and seals under the dataset's name.

Of each experiment the minutes of training a fold on two cores are given: measured on an AMD EPYC with AVX512-bf16, or
estimated where they end in 5 or 0. A processor without bfloat16 takes two to four times as long.
"""

MINUTES = {
    "brain-mri": {"exp020_lite0": 1.5},
    "fracatlas": {"exp045_lite0": 20, "exp045_lite0_large": 20, "exp045_lite0_640": 20},
    "lgg": {"exp025_lite0_missing": 8},
    "hippocampus": {"exp039": 6.3},
    "adrenal": {"exp050@quick": 1, "exp050_flips@quick": 2, "exp050_shape@quick": 1.5},
}

# Options of `blend`, by full run.
BLENDS = {
    "brain-mri": ("--calibrate", "auto"),
    "fracatlas": ("--presence-metric", "roc_auc"),
    "adrenal": ("--calibrate", "auto"),
}
