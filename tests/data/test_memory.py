"""Memory is counted before it is taken."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from heldout.data import memory, parallel
from heldout.data.image import BadFile
from heldout.data.readers import open_any
from heldout.data.sources import source_class


def test_a_volume_that_does_not_fit_is_refused_before_it_is_read(tmp_path, monkeypatch):
    nibabel.save(nibabel.Nifti1Image(np.zeros((64, 64, 64), np.float32), np.eye(4)), tmp_path / "a.nii.gz")
    monkeypatch.setattr(memory, "available_memory", lambda: 2**20)
    with pytest.raises(BadFile, match=r"a\.nii\.gz needs 0\.0 GiB of memory, and 0\.0 GiB are free: free some"):
        open_any(tmp_path / "a.nii.gz")


def test_no_more_processes_prepare_cases_than_fit(tmp_path, monkeypatch):
    used = []

    class Pool:
        def __init__(self, n_jobs, **options):
            used.append(n_jobs)

        def __call__(self, calls):
            return ([0] * len(arguments[-1]) for _, arguments, _ in calls)

    monkeypatch.setattr("joblib.Parallel", Pool)
    monkeypatch.setattr(parallel, "available_memory", lambda: 10 * 2**30)
    for each, expected in ((0, 8), (2**30, 8), (3 * 2**30, 2), (2**40, 1)):
        list(parallel.map_cases(len, (), range(99), "x", progress=False, workers=8, memory=lambda _, each=each: each))
        assert used[-1] == expected
    nibabel.save(nibabel.Nifti1Image(np.zeros((64, 32, 16), np.uint8), np.eye(4)), tmp_path / "a.nii.gz")
    (tmp_path / "c.csv").write_text("id,path,label_a\na,a.nii.gz,1\nb,a.nii.gz,0\n")
    source = source_class("table")(tmp_path, dimensions=3)
    assert source.memory(source.index().iloc[0]) >= 4 * 64 * 32 * 16


def test_the_limit_of_a_control_group_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_CONTROL_GROUP", tmp_path)
    free = memory.available_memory()
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("100\n")
    assert memory.available_memory() > 2**20
    (tmp_path / "memory.max").write_text("5000\n")
    assert (memory.available_memory(), free is None) == (4900, False)
