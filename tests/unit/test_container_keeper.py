"""What a container's keeper writes down of its end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shipway.runners.container_keeper import END, END_BYTES, ORDER, Keeper


@pytest.fixture
def keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keeper:
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("signal.set_wakeup_fd", lambda _: -1)
    order = {"engine": "docker", "program": "/bin/false", "env": {}, "name": "shipway-i.1"}
    (tmp_path / ORDER).write_text(json.dumps({**order, "is_limited": False}))
    return Keeper(str(tmp_path))


def test_the_ending_goes_where_room_was_made_for_it(keeper: Keeper, tmp_path: Path) -> None:
    keeper.make_room()
    before = (tmp_path / f"{END}.new").stat()
    keeper.write_down({"cause": "signal", "exit_code": 137, "signal": 9})
    after = (tmp_path / END).stat()
    assert (after.st_ino, after.st_size) == (before.st_ino, END_BYTES)
    found = json.loads((tmp_path / END).read_bytes())
    assert found == {"cause": "signal", "exit_code": 137, "signal": 9}


def test_a_reason_that_is_too_long_is_cut(keeper: Keeper, tmp_path: Path) -> None:
    keeper.make_room()
    keeper.write_down({"cause": "not_started", "reason": "✗" * 5_000})
    found = json.loads((tmp_path / END).read_bytes())
    assert found["cause"] == "not_started"
    assert 500 < len(found["reason"]) < 5_000
