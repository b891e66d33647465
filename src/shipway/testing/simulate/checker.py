"""Judges a history: which promises were broken, if any; pure functions over what was recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from shipway.domain.item import HELD, TERMINAL, TRANSITIONS
from shipway.testing.simulate.attempts import judge_attempts
from shipway.testing.simulate.history import Happening, What
from shipway.testing.simulate.machines import judge_machines
from shipway.testing.simulate.memory import MAX_ATTEMPTS
from shipway.testing.simulate.rows import Row
from shipway.testing.simulate.verdict import Verdict, Wrong

_TERMINAL = frozenset(state.value for state in TERMINAL)
_HELD = frozenset(state.value for state in HELD)
_MOVES = frozenset((before.value, after.value) for (before, _), after in TRANSITIONS.items())
_LASTING = ("state", "attempt", "ended_at", "exit_code", "handle", "stop_requested_at", "lock")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """All that a verdict is made from."""

    happenings: Sequence[Happening]
    rows: Mapping[str, Row]  # in the end
    is_over: bool
    logs: Mapping[tuple[str, int], tuple[bytes, bool]]  # an attempt's bytes; whether they fit
    printed: Mapping[tuple[str, int], bytes]  # what its program would print by its end


def judge(record: Record) -> list[Verdict]:
    """Return what is wrong, the first first."""
    rules: tuple[Callable[[Record], Iterator[Verdict]], ...] = (
        _adds,
        _moves,
        _stale,
        _ends,
        _stops,
        _tries,
        _logs,
        _answers,
    )
    found = [verdict for rule in rules for verdict in rule(record)]
    found += judge_attempts(record.happenings)
    found += judge_machines(record.happenings)
    return sorted(found, key=lambda verdict: verdict.at)


def _adds(record: Record) -> Iterator[Verdict]:
    """I1, I3: what was acked is there, once."""
    by_key: dict[str, str] = {}
    for one in record.happenings:
        if one.what is What.FAIL and one.data["op"] == "add":
            text = f"an add with key {one.data['key']} was refused: {one.data['code']}"
            yield Verdict(wrong=Wrong.REFUSED, at=one.at, text=text)
        if one.what is not What.OK or one.data["op"] not in ("add", "retry"):
            continue
        if one.item not in record.rows:
            yield Verdict(wrong=Wrong.LOST, at=one.at, text=f"{one.item} was acked", item=one.item)
        key = str(one.data["key"])
        known = by_key.setdefault(key, one.item)
        if key and known != one.item:
            text = f"key {key} made {known} and {one.item}"
            yield Verdict(wrong=Wrong.DOUBLED, at=one.at, text=text, item=one.item)
    keys: dict[str, str] = {}
    for item, row in record.rows.items():
        if row.key and keys.setdefault(row.key, item) != item:
            text = f"key {row.key} has {keys[row.key]} and {item}"
            yield Verdict(wrong=Wrong.DOUBLED, at=0.0, text=text, item=item)


def _moves(record: Record) -> Iterator[Verdict]:
    """I4, I6, I7: what a commit made of an item follows from what it was."""
    for one in record.happenings:
        if one.what is not What.ROW or one.data["before"] is None:
            continue
        before: Row = one.data["before"]
        row: Row = one.data["row"]
        if before.state in _TERMINAL:
            changed = [name for name in _LASTING if getattr(before, name) != getattr(row, name)]
            if changed:
                text = f"{before.state} item {one.item} changed its {', '.join(changed)}"
                yield Verdict(wrong=Wrong.TERMINAL, at=one.at, text=text, item=one.item)
            continue
        if before.spec != row.spec or row.attempt < before.attempt:
            text = f"{one.item} has another spec, or attempt {row.attempt} after {before.attempt}"
            yield Verdict(wrong=Wrong.STATES, at=one.at, text=text, item=one.item)
        is_own = one.data["is_own"]  # it gave the old lease back itself
        if before.token and row.token and before.token != row.token and not is_own:
            text = f"{one.item} was leased to {row.agent} while {before.agent} held it"
            yield Verdict(wrong=Wrong.LEASES, at=one.at, text=text, item=one.item)
        elif before.state != row.state and not is_own and not _may_move(before, row):
            text = f"{one.item} went from {before.state} to {row.state}"
            yield Verdict(wrong=Wrong.STATES, at=one.at, text=text, item=one.item)
        if row.state == "running" and before.state == "leased" and before.stop_requested_at:
            text = f"{one.item} passed the gate after a stop was asked for"
            yield Verdict(wrong=Wrong.STOP, at=one.at, text=text, item=one.item)


def _may_move(before: Row, row: Row) -> bool:
    """Tell whether a move is in the table; a lease may pass the gate in its own transaction."""
    is_started = (before.state, row.state) == ("pending", "running")
    return is_started or (before.state, row.state) in _MOVES


def _stale(record: Record) -> Iterator[Verdict]:
    """I5, I7: nothing changes without its token, nothing may start after a stop."""
    for one in record.happenings:
        if one.what is What.ALLOWED:
            text = f"{one.item} may start, said the server, though a stop was asked for before"
            yield Verdict(wrong=Wrong.STOP, at=one.at, text=text, item=one.item)
        if one.what is What.STALE:
            text = f"{one.item}.{one.attempt} changed without its token: {one.data['change']}"
            yield Verdict(wrong=Wrong.STALE, at=one.at, text=text, item=one.item)


def _ends(record: Record) -> Iterator[Verdict]:
    """Everything ends."""
    at = record.happenings[-1].at
    for row in record.rows.values():
        if row.state not in _TERMINAL:
            text = f"{row.id} is still {row.state}"
            yield Verdict(wrong=Wrong.STUCK, at=at, text=text, item=row.id)
    if not record.is_over and all(row.state in _TERMINAL for row in record.rows.values()):
        yield Verdict(wrong=Wrong.STUCK, at=at, text="a program or a client did not end")


def _stops(record: Record) -> Iterator[Verdict]:
    """I7: what was stopped before it ended is `stopped`."""
    acked = {
        one.item: one.at
        for one in record.happenings
        if one.what is What.OK and one.data["op"] in ("stop", "delete")
    }
    for row in record.rows.values():
        if row.stop_requested_at is not None and row.state in _TERMINAL - {"stopped"}:
            text = f"{row.id} is {row.state} though a stop was asked for before"
            yield Verdict(wrong=Wrong.STOP, at=acked.get(row.id, 0.0), text=text, item=row.id)
    for item, at in acked.items():
        asked = record.rows.get(item)
        if asked is not None and asked.stop_requested_at is None and asked.ended_at is None:
            text = f"the acked stop of {item} is not there"
            yield Verdict(wrong=Wrong.STOP, at=at, text=text, item=item)


def _tries(record: Record) -> Iterator[Verdict]:
    """I14: an item is tried so often, and no more."""
    began: dict[str, int] = {}
    lost: dict[str, int] = {}
    for one in record.happenings:
        if one.what is What.BEGAN:
            began[one.item] = began.get(one.item, 0) + 1
        elif one.what is What.ROW and one.data["before"] is not None:
            before, row = one.data["before"], one.data["row"]
            is_counted = row.lost_count + row.retry_count > before.lost_count + before.retry_count
            if before.state in _HELD and row.state == "pending" and is_counted:
                lost[one.item] = lost.get(one.item, 0) + 1
        else:
            continue
        if max(began.get(one.item, 0), lost.get(one.item, 0)) > MAX_ATTEMPTS:
            text = f"{one.item} began {began.get(one.item, 0)} times, lost {lost.get(one.item, 0)}"
            yield Verdict(wrong=Wrong.CRASH_LOOP, at=one.at, text=text, item=one.item)


def _logs(record: Record) -> Iterator[Verdict]:
    """I15: a log is what its program printed, and all of it where the program finished."""
    at = record.happenings[-1].at
    for (item, attempt), (data, is_whole) in record.logs.items():
        text = record.printed.get((item, attempt), b"")
        if not is_whole or not text.startswith(data):
            said = f"the log of {item}.{attempt} is not what its program printed"
            yield Verdict(wrong=Wrong.LOG, at=at, text=said, item=item)
    for row in record.rows.values():
        data = record.logs.get((row.id, row.attempt), (b"", True))[0]
        wanted = record.printed.get((row.id, row.attempt), b"")
        if row.state == "finished" and len(data) < len(wanted):
            said = f"the log of {row.id}.{row.attempt} ends {len(wanted) - len(data)} bytes early"
            yield Verdict(wrong=Wrong.LOG, at=at, text=said, item=row.id)


def _answers(record: Record) -> Iterator[Verdict]:
    """Who was told of an end was told of the one that there is."""
    for one in record.happenings:
        if one.what is not What.OK or one.item not in record.rows:
            continue
        said, is_ = one.data["state"], record.rows[one.item].state
        if said in _TERMINAL and said != is_:
            text = f"{one.data['op']} said that {one.item} is {said}, it is {is_}"
            yield Verdict(wrong=Wrong.ANSWER, at=one.at, text=text, item=one.item)
