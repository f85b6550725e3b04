"""Where a dataset comes from, as its source declares it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from heldout.errors import UserError

DIGITS = {"md5": 32, "sha256": 64}  # of a checksum


@dataclass(frozen=True)
class Download:
    """Where a dataset comes from: a file of a web server, or a slug of Kaggle.

    Attributes:
        url: Address of an archive, or of a single file.
        checksum: ``sha256:`` or ``md5:`` and the digits; "" where nobody stated one.
        size: Bytes of the file; None where nobody stated them.
        license: What the data may be used for, such as ``CC BY-SA 4.0``.
        kaggle: ``owner/dataset``, or the slug of a competition.
    """

    url: str = ""
    checksum: str = ""
    size: int | None = None
    license: str = ""
    kaggle: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot be downloaded.

        Raises:
            UserError: there is not exactly one place, or the address or checksum has another form.
        """
        if bool(self.url) == bool(self.kaggle):
            raise UserError("a download has either an address or a Kaggle slug: give one of --url and --kaggle")
        if self.url and urlsplit(self.url).scheme not in ("http", "https"):
            raise UserError(f"{self.url} is not an address that begins with https:// or http://: correct --url")
        method, _, digits = self.checksum.partition(":")
        if self.checksum and (DIGITS.get(method) != len(digits) or set(digits) - set("0123456789abcdef")):
            raise UserError(f"checksum {self.checksum!r} must be sha256: or md5: and lower-case hexadecimal digits")


_MIRROR = "https://msd-for-monai.s3-us-west-2.amazonaws.com"
_MD5 = {  # of the archives there, as MONAI checks them
    "Task01_BrainTumour": "240a19d752f0d9e9101544901065d872",
    "Task02_Heart": "06ee59366e1e5124267b774dbd654057",
    "Task03_Liver": "a90ec6c4aa7f6a3d087205e23d4e6397",
    "Task04_Hippocampus": "9d24dba78a72977dbd1d2e110310f31b",
    "Task05_Prostate": "35138f08b1efaef89d7424d2bcc928db",
    "Task06_Lung": "8afd997733c7fc0432f71255ba4e52dc",
    "Task07_Pancreas": "4f7080cfca169fa8066d17ce6eb061e4",
    "Task08_HepaticVessel": "641d79e80ec66453921d997fbf12a29c",
    "Task09_Spleen": "410d4a301da4e5b2f6f86ec3ddba524e",
    "Task10_Colon": "bad7a188931dc2f6acf72b08eb6202d0",
}
DECATHLON = {
    name: Download(f"{_MIRROR}/{name}.tar", f"md5:{digits}", license="CC BY-SA 4.0") for name, digits in _MD5.items()
}
