"""SDK, agent and server through a network that loses, doubles, cuts and delays."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from shipway.client import Client
from shipway.domain.attempt import LogStream, decode_frames
from shipway.testing.faults.proxy import Proxy, between
from shipway.testing.faults.weather import EVERY, Fault, Weather
from tests.support.embedded import SHIPWAY, Embedded, embedded
from tests.support.rest_server import SOURCE, running

ADDERS = 4
ADDS = 14  # of each
ITEMS = 50
LINES = 400
PATIENCE_S = 60.0
END_S = 30.0
# Launches, waits for each end, and prints what it saw.
LAUNCHING = """\
import json, sys
from shipway import LaunchError, QueuedRun, launch_add

def patiently(call):
    for _ in range(20):
        try:
            return call()
        except LaunchError as error:
            if error.code not in ("unreachable", "overloaded"):
                raise
    raise SystemExit("twenty calls were not answered")

def add(number):
    env = {"RECORD": sys.argv[2], "LINES": sys.argv[4]}
    return patiently(lambda: launch_add(
        uri=sys.argv[1], entry_point=["work.sh"], idempotency_key=f"number-{number}",
        resource_args={"local-process": {"env": env}},
    ))

ids = [add(number).id for number in range(int(sys.argv[3]))]
states = []
for id in ids:
    run = patiently(lambda: QueuedRun.open(id).wait_until_finished(timeout=120))
    states.append(run.state)
print(json.dumps({"ids": ids, "states": states}))
"""
PROGRAM = """\
echo "$SHIPWAY_ITEM_ID start $SHIPWAY_ATTEMPT" >> "$RECORD"
seq 1 "$LINES" | sed "s/^/$SHIPWAY_ITEM_ID line /"
echo "$SHIPWAY_ITEM_ID end $SHIPWAY_ATTEMPT" >> "$RECORD"
"""


@pytest.mark.parametrize("fault", EVERY)
def test_adds_with_lost_answers_give_one_item_each(fault: Fault, tmp_path: Path) -> None:
    """Earns: I3 with each fault on half of all requests, batches and single adds."""
    with running(tmp_path) as server:
        weather = Weather(seed=3, rate=0.5, faults=(fault,))
        with between(server.port, weather) as proxy:
            added = add_at_once(proxy, str(server.admin.key))
        assert proxy.happened[fault] > ADDS
        counts = server.admin.get("/api/v1/queues/default").json["counts"]
        assert counts["pending"] == sum(counts.values()) == len(added) == ADDERS * ADDS
        assert len(set(added.values())) == len(added)
        for key, item in list(added.items())[::20]:
            headers = {"Idempotency-Key": key}
            again = server.admin.send("POST", "/api/v1/items", draft(key), headers)
            assert again.json["id"] == item


def add_at_once(proxy: Proxy, key: str) -> dict[str, str]:
    """Add in several threads, half of it in batches; return items by idempotency key."""
    added: dict[str, str] = {}

    def add(adder: int) -> None:
        with closing(Client(proxy.base_url, key, patience_s=PATIENCE_S, env={})) as client:
            keys = [f"{adder}-{number}" for number in range(ADDS)]
            for one in keys[: ADDS // 2]:
                added[one] = client.items.add(draft(one), idempotency_key=one)["id"]
            for at in range(ADDS // 2, ADDS, 2):
                some = keys[at : at + 2]
                batch = [{**draft(one), "idempotency_key": one} for one in some]
                for one, item in zip(some, client.items.add_many(batch), strict=True):
                    added[one] = item["id"]

    adders = [threading.Thread(target=add, args=(adder,)) for adder in range(ADDERS)]
    for adder in adders:
        adder.start()
    for adder in adders:
        adder.join()
    return added


def draft(key: str) -> dict[str, Any]:
    return {**SOURCE, "run_config": {"key": key}}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_agent_on_a_bad_network_runs_each_item_once() -> None:
    """Earns: I3, I11 and I15 through the whole chain, each wait of the SDK with its end."""
    run_through(Weather(seed=1, rate=0.1))


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(2, 22))
def test_an_agent_on_many_bad_networks_runs_each_item_once(seed: int) -> None:
    run_through(Weather(seed=seed, rate=(0.1, 0.2, 0.3)[seed % 3]))


def run_through(weather: Weather) -> None:
    with embedded() as shipway:
        shipway.run("up", "--detach", "--no-agent")
        server = shipway.server()
        direct = Client(server["base_url"], server["api_key"], env={})
        port = int(server["base_url"].rpartition(":")[2])
        record = shipway.root / "record"
        with between(port, weather) as proxy, agent(shipway, proxy, server["api_key"]):
            seen = launch(shipway, proxy, server["api_key"], record)
        assert sum(proxy.happened[fault] for fault in EVERY) > ITEMS / 5, proxy.happened
        items = [direct.items.get(item) for item in seen["ids"]]
        why = [item.get("error") for item in items if item["state"] != "finished"]
        assert Counter(item["state"] for item in items) == {"finished": ITEMS}, why
        assert Counter(seen["states"]) == {"finished": ITEMS}
        assert len(set(seen["ids"])) == ITEMS
        lines = record.read_text().splitlines()
        for event in ("start", "end"):
            counts = Counter(line.split()[0] for line in lines if f" {event} " in line)
            assert counts == dict.fromkeys(seen["ids"], 1), f"not each had one {event}"
        for item in seen["ids"]:
            assert log_of(direct, item) == printed(item)


@contextmanager
def agent(shipway: Embedded, proxy: Proxy, key: str) -> Iterator[None]:
    """Run an agent that knows the server by the proxy's address alone."""
    with (shipway.root / "agent.log").open("wb") as log:
        process = subprocess.Popen(
            [*SHIPWAY, "agent", "-q", "default", "-j", "4"],
            env=shipway.env | {"SHIPWAY_BASE_URL": proxy.base_url, "SHIPWAY_API_KEY": key},
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(END_S)


def launch(shipway: Embedded, proxy: Proxy, key: str, record: Path) -> dict[str, Any]:
    """Launch all with the SDK and wait for all ends."""
    source = shipway.root / "source"
    source.mkdir()
    (source / "work.sh").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-c", LAUNCHING, str(source), str(record), str(ITEMS), str(LINES)],
        env=shipway.env | {"SHIPWAY_BASE_URL": proxy.base_url, "SHIPWAY_API_KEY": key},
        capture_output=True,
        text=True,
        check=False,
    )
    logs = ((shipway.root / "agent.log"), shipway.home / "logs/server.log")
    said = "\n".join(log.read_text()[-3_000:] for log in logs)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{said}"
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def log_of(client: Client, item: str) -> bytes:
    """Return what an item's last attempt printed on stdout."""
    page = client.items.log(item)
    assert page.is_ended
    assert page.next == page.size
    return b"".join(
        frame.data for frame in decode_frames(page.data) if frame.stream is LogStream.STDOUT
    )


def printed(item: str) -> bytes:
    return b"".join(b"%s line %d\n" % (item.encode(), n) for n in range(1, LINES + 1))
