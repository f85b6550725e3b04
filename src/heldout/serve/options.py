"""The options of requests, as the API's documentation shows them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

MOST_CLASSIFIED, MOST_SEGMENTED = 100, 50  # files of a batch


class Options(BaseModel):
    """What a request may ask for beside its files, in the query, in fields of the form or in the JSON body."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, allow_inf_nan=False)

    model: str | None = Field(None, description="name of the decision; needed where several could answer")
    threshold: float | None = Field(None, ge=0, le=1, description="threshold of masks instead of the sealed ones")
    n_samples: int = Field(
        1, ge=1, le=200, alias="n_mc_samples", description="passes of each network with dropout left on"
    )
    tta: str = Field("", max_length=3, description="axes of flips whose answers are compared, such as hv")
    use_tta: bool = Field(False, description="compare the answers of all flips")
    target: str | None = Field(None, description="class to explain; the most probable by default")
    files: bool = Field(True, description="masks and maps as files in the answer, base64")
    maps: bool = Field(True, description="maps of the probabilities among these files")
    preview: bool = Field(
        False, description="8 bits for the screen: PNG, or NIfTI of a DICOM series, base64; of a patient, files too"
    )
    thumbnail: bool = Field(False, description="a small PNG, of a volume its middle axial slice, base64")
    return_binary: bool = Field(False, description="answer with the file of the mask instead of JSON")
    format: Literal["nifti", "png", "dicomseg"] | None = Field(
        None, description="format of the mask's file; the input's by default; dicomseg needs DICOM input"
    )
    what: Literal["mask", "probability"] = Field("mask", description="which file")
    pixel_mm: float | None = Field(None, gt=0, le=1000, description="size of a pixel of a stack of images")
    slice_mm: float | None = Field(None, gt=0, le=1000, description="distance of the slices of a stack of images")

    @field_validator("threshold", "pixel_mm", "slice_mm", "model", "target", "format", mode="before")
    @classmethod
    def _empty(cls, value: Any) -> Any:
        return None if value == "" else value


def request_docs(most: int) -> dict[str, Any]:
    """Options as parameters and the bodies that are accepted, for the documentation."""
    schema = Options.model_json_schema(by_alias=False)
    parameters = [
        {"name": name, "in": "query", "required": False, "description": one.pop("description", ""), "schema": one}
        for name, one in schema["properties"].items()
    ]
    binary = {"type": "string", "format": "binary"}
    form: dict[str, Any] = {"file": binary} if most == 1 else {"files": {"type": "array", "items": binary}}
    pixels = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}
    example = {"image": [[0, 40, 80], [40, 120, 160], [0, 40, 80]]}
    body = {
        "multipart/form-data": {"schema": {"type": "object", "properties": form, "required": list(form)}},
        "application/json": {"schema": {"type": "object", "properties": {"image": pixels}}, "example": example},
    }
    return {"parameters": parameters, "requestBody": {"required": True, "content": body}}
