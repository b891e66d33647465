"""Counts what the server does, in Prometheus' text form."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence

from shipway.domain.item import Event, ItemEvent, Note

WAIT_BOUNDS_S = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 21600.0)
BATCH_BOUNDS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
ARRIVALS = frozenset({Note.ENQUEUE.value, Event.REQUEUE.value})
LEASED = Event.LEASE.value
KNOWN_LIMIT = 100_000  # waiting items whose time of arrival is remembered

Label = tuple[tuple[str, str], ...]


class Histogram:
    """Counts values by upper bounds."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self._sum += value
        for index, bound in enumerate(self._bounds):
            if value <= bound:
                self._counts[index] += 1
                return
        self._counts[-1] += 1

    def lines(self, name: str) -> Iterable[str]:
        """Yield the text form."""
        total = 0
        for bound, count in zip(self._bounds, self._counts, strict=False):
            total += count
            yield f'{name}_bucket{{le="{bound:g}"}} {total}'
        total += self._counts[-1]
        yield f'{name}_bucket{{le="+Inf"}} {total}'
        yield f"{name}_sum {self._sum:.6f}"
        yield f"{name}_count {total}"


class Metrics:
    """This server's counters since it started."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.writes = 0
        self.events: Counter[str] = Counter()
        self.commits = 0
        self.batches = Histogram(BATCH_BOUNDS)
        self.waits = Histogram(WAIT_BOUNDS_S)
        self.wrong_keys = 0
        self._arrived: OrderedDict[str, int] = OrderedDict()

    def note(self, events: Sequence[ItemEvent]) -> None:
        """Count the events of one commit."""
        self.commits += 1
        self.batches.observe(len(events))
        self.events.update([event.event for event in events])
        for event in events:
            if event.event in ARRIVALS:
                self._arrived[event.item_id] = event.at
                if len(self._arrived) > KNOWN_LIMIT:
                    self._arrived.popitem(last=False)
            elif event.event == LEASED:
                at = self._arrived.pop(event.item_id, None)
                if at is not None:
                    self.waits.observe(max(0, event.at - at) / 1000)

    def text(self, gauges: Mapping[str, Mapping[Label, float]]) -> str:
        """Return the whole text, with gauges that were just measured."""
        out: list[str] = []
        for name, values in gauges.items():
            out.append(f"# TYPE {name} gauge")
            out += [f"{name}{_labels(label)} {value:g}" for label, value in values.items()]
        out.append("# TYPE shipway_http_requests_total counter")
        out += [
            _request_line(route, method, status, count)
            for (route, method, status), count in sorted(self.requests.items())
        ]
        out.append("# TYPE shipway_item_events_total counter")
        out += [
            f'shipway_item_events_total{{event="{name}"}} {count}'
            for name, count in sorted(self.events.items())
        ]
        for name, value in (
            ("shipway_commits_total", self.commits),
            ("shipway_writes_total", self.writes),
            ("shipway_wrong_keys_total", self.wrong_keys),
        ):
            out += [f"# TYPE {name} counter", f"{name} {value}"]
        out.append("# TYPE shipway_commit_events histogram")
        out += self.batches.lines("shipway_commit_events")
        out.append("# TYPE shipway_item_wait_seconds histogram")
        out += self.waits.lines("shipway_item_wait_seconds")
        return "\n".join(out) + "\n"


def _request_line(route: str, method: str, status: int, count: int) -> str:
    labels = _labels((("route", route), ("method", method), ("status", str(status))))
    return f"shipway_http_requests_total{labels} {count}"


def _labels(label: Label) -> str:
    if not label:
        return ""
    return "{" + ",".join(f'{key}="{_escape(value)}"' for key, value in label) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
