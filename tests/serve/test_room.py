"""Memory of cases that are read."""

from __future__ import annotations

import threading

import pytest

from heldout.serve.room import Room

pytestmark = pytest.mark.extras


def test_room_holds_back_readers_until_cases_are_answered():
    room, order = Room(100), []
    room.wait()
    room.take(150)  # one case may be larger than the room
    other = threading.Thread(target=lambda: (room.wait(), order.append("read")))
    other.start()
    other.join(0.2)
    assert order == []
    room.give(150)
    other.join(5)
    assert order == ["read"]
