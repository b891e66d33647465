"""Judges a round: which promises were broken, if any; pure functions over the evidence."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from shipway.domain.item import HELD, TERMINAL, TRANSITIONS, Event, FailureClass, Note, State
from shipway.testing.campaign.evidence import Evidence, Happened, Line, Row, Task

RETRIES = {"steady": 0, "retried": 3}  # queues, and how often each runs a lost item again
_EVENTS = frozenset(Event)
_AFTER_END = frozenset({Note.DELETE})


class Wrong(StrEnum):
    """What kind of promise was broken."""

    LOST = "lost"  # an acknowledged item is not there, or not in an end that it may have
    DOUBLED = "doubled"  # an item was made twice, or its program started twice without a cause
    STALE = "stale"  # what a former lease said was believed
    TERMINAL = "terminal"  # an end was changed
    STATES = "states"  # a move that the table does not have
    OVERLAP = "overlap"  # two attempts' programs lived at once
    ORPHAN = "orphan"  # a process of an ended attempt lives
    LOG = "log"  # a log has not what its program printed
    REFUSED = "refused"  # an add that was right was refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A broken promise, and whose it was."""

    wrong: Wrong
    text: str
    item: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One item with all that is known of it."""

    row: Row
    task: Task
    events: Sequence[Happened]
    lines: Sequence[Line]

    def attempts(self, word: str) -> Counter[int]:
        """Count an attempt's lines of a kind."""
        return Counter(line.attempt for line in self.lines if line.word == word)


def judge(evidence: Evidence) -> list[Violation]:
    """Return what is wrong."""
    rules: tuple[Callable[[Case], Iterator[tuple[Wrong, str]]], ...] = (
        _moves,
        _tokens,
        _runs,
        _ends,
        partial(_losses, killed=evidence.killed),
    )
    found = [*_adds(evidence), *_answers(evidence)]
    for case in cases(evidence):
        for rule in rules:
            found += [Violation(wrong=w, text=text, item=case.row.id) for w, text in rule(case)]
        found += _log(case, evidence.logs)
    return found


def cases(evidence: Evidence) -> Iterator[Case]:
    """Yield each item with what is known of it."""
    events, lines = defaultdict(list), defaultdict(list)
    for event in evidence.events:
        events[event.item].append(event)
    for line in evidence.lines:
        lines[line.item].append(line)
    for row in evidence.rows:
        task = evidence.tasks.get(row.key)
        if task is not None:
            yield Case(row=row, task=task, events=events[row.id], lines=lines[row.id])


def history(evidence: Evidence, item: str) -> str:
    """Tell all that is known of an item."""
    told = [f"  {row}" for row in evidence.rows if row.id == item]
    told += [f"  {event}" for event in evidence.events if event.item == item]
    told += [f"  {line}" for line in evidence.lines if line.item == item]
    told += [f"  slot of {mark} killed" for mark in evidence.killed if _item(mark) == item]
    return "\n".join(told)


def spent(evidence: Evidence) -> list[str]:
    """Return the items that were lost more often than their queue runs them again."""
    return [
        case.row.id
        for case in cases(evidence)
        if RETRIES[case.task.queue] and case.row.failure.get("failure_class") == FailureClass.LOST
    ]


def _adds(evidence: Evidence) -> Iterator[Violation]:
    rows = {row.id: row for row in evidence.rows}
    known: dict[str, str] = {}
    for key, item in evidence.acks:
        if item not in rows:
            yield Violation(wrong=Wrong.LOST, text=f"{key} was acknowledged as {item}", item=item)
        if known.setdefault(key, item) != item:
            text = f"{key} was acknowledged as {known[key]} and as {item}"
            yield Violation(wrong=Wrong.DOUBLED, text=text, item=item)
    keys: Counter[str] = Counter(row.key for row in evidence.rows)
    for key, count in keys.items():
        if count > 1 or key not in evidence.tasks:
            text = f"{count} items have the key {key!r}"
            yield Violation(wrong=Wrong.DOUBLED, text=text)


def _answers(evidence: Evidence) -> Iterator[Violation]:
    states = {row.id: row.state for row in evidence.rows}
    for item, state in evidence.seen_ended.items():
        if states.get(item) != state:
            text = f"a client saw it {state}, and now it is {states.get(item)}"
            yield Violation(wrong=Wrong.TERMINAL, text=text, item=item)
    for wrong, texts in (
        (Wrong.STALE, evidence.stale_accepted),
        (Wrong.REFUSED, evidence.refused),
        (Wrong.ORPHAN, evidence.survivors),
    ):
        for text in texts:
            yield Violation(wrong=wrong, text=text)


def _moves(case: Case) -> Iterator[tuple[Wrong, str]]:
    state, attempt = State.PENDING, 0
    for one in case.events:
        if state in TERMINAL and one.event not in _AFTER_END:
            yield Wrong.TERMINAL, f"{one.event} after {state}"
        if one.event in _EVENTS:
            if TRANSITIONS.get((state, Event(one.event))) != one.state:
                yield Wrong.STATES, f"{one.event} to {one.state} from {state}"
            attempt += one.event == Event.LEASE
            state = State(one.state)
        elif one.state != state:
            yield Wrong.STATES, f"{one.event} turned {state} into {one.state}"
        if one.attempt != attempt:
            yield Wrong.STALE, f"{one.event} of attempt {one.attempt} during attempt {attempt}"
    if (case.row.state, case.row.attempt) != (state, attempt):
        text = f"it is {case.row.state} in attempt {case.row.attempt}, not {state} in {attempt}"
        yield Wrong.TERMINAL if state in TERMINAL else Wrong.STATES, text


def _tokens(case: Case) -> Iterator[tuple[Wrong, str]]:
    """Each attempt's reports carry one token."""
    known: dict[int, str] = {}
    for one in case.events:
        mark = one.data.get("lease")
        if mark is not None and known.setdefault(one.attempt, mark) != mark:
            yield Wrong.STALE, f"{one.event} of attempt {one.attempt} carries another token"


def _runs(case: Case) -> Iterator[tuple[Wrong, str]]:
    starts, ends = case.attempts("start"), case.attempts("end")
    for word, counts in (("started", starts), ("ended", ends)):
        for attempt, count in counts.items():
            if count > 1:
                yield Wrong.DOUBLED, f"attempt {attempt} {word} {count} times"
    if stray := (set(starts) | set(ends)) - set(range(1, case.row.attempt + 1)):
        yield Wrong.DOUBLED, f"programs of attempts {sorted(stray)} that were never leased"
    for attempt in case.attempts("overlap"):
        yield Wrong.OVERLAP, f"attempt {attempt} began while another one's process lived"


def _ends(case: Case) -> Iterator[tuple[Wrong, str]]:
    row, task = case.row, case.task
    is_ended = case.attempts("end")[row.attempt] == 1
    failure = row.failure.get("failure_class")
    if row.state not in TERMINAL:
        yield Wrong.LOST, f"it is still {row.state}"
    elif row.state == State.FINISHED and not (is_ended and task.exit_code == 0):
        yield Wrong.STALE, "it is finished, and its last attempt's program is not"
    elif row.state == State.STOPPED and not task.is_stopped:
        yield Wrong.LOST, "it is stopped, and nobody asked for that"
    elif row.state == State.FAILED and failure == FailureClass.EXIT:
        if not is_ended or row.exit_code != task.exit_code or not task.exit_code:
            yield Wrong.STALE, f"it exited {row.exit_code}, and should with {task.exit_code}"
    elif row.state == State.FAILED and failure != FailureClass.LOST:
        yield Wrong.LOST, f"it failed: {dict(row.failure)}"


def _losses(case: Case, killed: Mapping[str, int]) -> Iterator[tuple[Wrong, str]]:
    """A program that began ends by itself, or its supervisor was killed, or it was stopped."""
    row, losses = case.row, 0
    held = {state.value for state in HELD}
    before = State.PENDING.value
    for one in case.events:
        is_return = one.event in (Event.REQUEUE, Event.GIVE_UP) or (
            one.event == Event.FAIL and row.failure.get("failure_class") == FailureClass.LOST
        )
        mark = f"{row.id}.{one.attempt}"
        if is_return and before in held:
            has_begun = case.attempts("start")[one.attempt] > 0
            if mark in killed:
                losses += 1
            elif has_begun or one.event != Event.REQUEUE:
                yield Wrong.LOST, f"attempt {one.attempt} was lost, and nobody killed its slot"
        before = one.state
    began = [n for n in case.attempts("start") if n < row.attempt]
    for attempt in began:
        if f"{row.id}.{attempt}" not in killed:
            yield Wrong.DOUBLED, f"it ran again after attempt {attempt}, whose slot nobody killed"
    retries = RETRIES[case.task.queue]
    if len(began) > retries:
        yield Wrong.DOUBLED, f"{len(began)} attempts began before the last one"
    if row.failure.get("failure_class") == FailureClass.LOST and losses <= retries:
        yield Wrong.LOST, f"it was given up after {losses} losses, {retries} may be"


def _log(case: Case, logs: Mapping[str, bytes]) -> Iterator[Violation]:
    found = logs.get(case.row.id)
    whole = f"{case.row.id} {case.row.attempt} one\n{case.row.id} {case.row.attempt} two\n"
    if found is not None and found != whole.encode():
        yield Violation(wrong=Wrong.LOG, text=f"its log is {found!r}", item=case.row.id)


def _item(mark: str) -> str:
    return mark.rpartition(".")[0]
