"""Work on cases in several processes ends in one sentence, and leaves none of them behind."""

from __future__ import annotations

import os
import signal
import time

import pytest

from heldout.data.parallel import map_cases
from heldout.errors import UserError


def die_at(wanted, cases):
    if wanted in cases:
        os.kill(os.getpid(), signal.SIGKILL)
    return [os.getpid()] * len(cases)


def test_a_process_that_dies_is_one_sentence_and_the_others_end():
    list(map_cases(die_at, (None,), range(99), "x", progress=False, workers=2))
    with pytest.raises(UserError, match="a process that works on cases died, mostly for want of memory: free some"):
        list(map_cases(die_at, (40,), range(99), "x", progress=False, workers=2))
    assert len(set(map_cases(die_at, (None,), range(99), "x", progress=False, workers=2))) <= 2


def pid_after(seconds, cases):
    time.sleep(seconds * len(cases))
    return [(case, os.getpid()) for case in cases]


def test_other_processes_start_only_where_they_save_time(monkeypatch):
    """Quick cases stay in this process, as its first results; of slow ones the rest is shared. The order is theirs."""
    monkeypatch.setattr("heldout.data.parallel.START_SECONDS", 0.4)
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    for seconds, alone in ((0.0, True), (0.01, False)):
        found = list(map_cases(pid_after, (seconds,), range(200), "x", progress=False))
        assert [case for case, _ in found] == list(range(200))
        assert ({pid for _, pid in found} == {os.getpid()}) == alone
    assert {pid for _, pid in found[:2]} == {os.getpid()}
    assert list(map_cases(pid_after, (0.0,), [], "x", progress=False)) == []


def interrupt_works(_, cases):
    return [signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())] * len(cases)


def test_ctrl_c_reaches_this_process_alone():
    assert not any(map_cases(interrupt_works, (None,), range(99), "x", progress=False, workers=2))
    assert interrupt_works(None, [0]) == [True]
