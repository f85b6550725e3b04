"""Records of JSON files: what is said of one of another version, and of one that does not hold what it should."""

from __future__ import annotations

import pytest

from heldout.errors import UserError
from heldout.records import Record, read_record

REMEDY = "delete the folder and train it again"


class _Scored(Record):
    score: float


def refusal(path, content: str, schema: int = 2) -> str:
    path.write_text(content)
    with pytest.raises(UserError) as refused:
        read_record(path, _Scored, schema, REMEDY)
    return str(refused.value)


def test_what_a_newer_version_wrote_is_kept_and_heldout_is_updated(tmp_path):
    path = tmp_path / "run.json"
    message = refusal(path, '{"schema": 99, "score": 0.5}')
    assert (
        message == f"{path} was written by another version of heldout (schema 99; this version reads 2): update heldout"
    )


def test_what_an_older_version_wrote_is_made_again(tmp_path):
    path = tmp_path / "run.json"
    message = refusal(path, '{"schema": 1, "score": 0.5}')
    assert message.startswith(f"{path} was written by another version of heldout (schema 1; this version reads 2)")
    assert message.endswith(REMEDY)


@pytest.mark.parametrize("schema", ["", '"schema": "2", ', '"schema": true, '], ids=["missing", "text", "truth"])
def test_a_record_without_a_schema_is_not_taken_for_one_of_today(tmp_path, schema):
    path = tmp_path / "run.json"
    assert refusal(path, f'{{{schema}"score": 0.5}}') == f"{path} has a missing or wrong schema: {REMEDY}"


@pytest.mark.parametrize("content", ['{"schema": 2}', '{"schema": 2, "score": "high"}'], ids=["missing", "wrong"])
def test_a_field_that_is_missing_or_of_another_type_is_named(tmp_path, content):
    path = tmp_path / "run.json"
    assert refusal(path, content) == f"{path} has a missing or wrong score: {REMEDY}"
