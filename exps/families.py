"""The real experiments of each dataset, in the order in which `full` trains them: a time limit cuts the end off."""

FAMILIES = {
    "fracatlas": (
        *("exp040@baseline", "exp049@baseline", "exp047@baseline", "exp045@baseline", "exp043@baseline"),
        *("exp042@baseline", "exp041@baseline", "exp046@baseline"),
    ),
    "hippocampus": ("exp037", "exp036", "exp034", "exp030"),
    "adrenal": ("exp050", "exp053", "exp054", "exp051"),
    "brain-mri": ("exp020", "exp021", "exp022"),
}
