"""The attributes that the reader looks at, by the keywords of the DICOM data dictionary (PS3.6)."""

from __future__ import annotations

TAGS = {
    "TransferSyntaxUID": 0x00020010,
    "ImageType": 0x00080008,
    "SOPClassUID": 0x00080016,
    "SOPInstanceUID": 0x00080018,
    "AcquisitionTime": 0x00080032,
    "Modality": 0x00080060,
    "FrameType": 0x00089007,
    "PatientID": 0x00100020,
    "SliceThickness": 0x00180050,
    "EchoTime": 0x00180081,
    "SpacingBetweenSlices": 0x00180088,
    "TriggerTime": 0x00181060,
    "EffectiveEchoTime": 0x00189082,
    "DiffusionBValue": 0x00189087,
    "MRImageFrameTypeSequence": 0x00189226,
    "MREchoSequence": 0x00189114,
    "MRDiffusionSequence": 0x00189117,
    "CTImageFrameTypeSequence": 0x00189329,
    "SeriesInstanceUID": 0x0020000E,
    "AcquisitionNumber": 0x00200012,
    "InstanceNumber": 0x00200013,
    "ImagePositionPatient": 0x00200032,
    "ImageOrientationPatient": 0x00200037,
    "TemporalPositionIdentifier": 0x00200100,
    "StackID": 0x00209056,
    "FrameContentSequence": 0x00209111,
    "PlanePositionSequence": 0x00209113,
    "PlaneOrientationSequence": 0x00209116,
    "TemporalPositionIndex": 0x00209128,
    "SamplesPerPixel": 0x00280002,
    "PhotometricInterpretation": 0x00280004,
    "PlanarConfiguration": 0x00280006,
    "NumberOfFrames": 0x00280008,
    "Rows": 0x00280010,
    "Columns": 0x00280011,
    "PixelSpacing": 0x00280030,
    "BitsAllocated": 0x00280100,
    "BitsStored": 0x00280101,
    "HighBit": 0x00280102,
    "PixelRepresentation": 0x00280103,
    "WindowCenter": 0x00281050,
    "WindowWidth": 0x00281051,
    "RescaleIntercept": 0x00281052,
    "RescaleSlope": 0x00281053,
    "ModalityLUTSequence": 0x00283000,
    "PixelMeasuresSequence": 0x00289110,
    "FrameVOILUTSequence": 0x00289132,
    "PixelValueTransformationSequence": 0x00289145,
    "SharedFunctionalGroupsSequence": 0x52009229,
    "PerFrameFunctionalGroupsSequence": 0x52009230,
    "FloatPixelData": 0x7FE00008,
    "DoubleFloatPixelData": 0x7FE00009,
    "PixelData": 0x7FE00010,
}
WANTED = frozenset(TAGS.values())
PIXELS = frozenset(TAGS[name] for name in ("FloatPixelData", "DoubleFloatPixelData", "PixelData"))

# Stored as 16-bit numbers: what an implicit encoding does not say.
UNSIGNED_SHORT = frozenset(
    TAGS[name]
    for name in (
        *("SamplesPerPixel", "PlanarConfiguration", "Rows", "Columns"),
        *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    )
)
# Other binary numbers that an implicit encoding does not mark.
DOUBLE = frozenset((TAGS["EffectiveEchoTime"], TAGS["DiffusionBValue"]))
UNSIGNED_LONG = frozenset((TAGS["TemporalPositionIndex"],))


def named(keyword: str) -> str:
    """``Rows (0028,0010)``, as messages write it."""
    return f"{keyword} {numbered(TAGS[keyword])}"


def numbered(tag: int) -> str:
    """``(0028,0010)``."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
