"""Runs of the unmodified wandb client live through stops, kills, resumes and launches."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shipway import launch_add
from shipway.service.tracked_runs import SILENT_MS
from tests.support.embedded import embedded, until
from tests.support.rest_server import Running, running
from tests.support.server_process import server_process
from tests.support.shell import shell_of
from tests.support.wandb_client import VERSIONS, WandbClient, client_python, heard

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

STOP_S = 15.0  # between two questions of the client whether it should stop
HEARD_S = 15.0  # after which newer clients, silent ones too, hear of it
END_S = 60.0


@pytest.fixture(scope="module", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """Name each client once."""
    return str(request.param)


@pytest.fixture(scope="module")
def server(version: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Give a server of ann's."""
    with running(tmp_path_factory.mktemp("server")) as made:
        yield made


@pytest.fixture
def ann(version: str, server: Running, tmp_path: Path) -> WandbClient:
    """Give ann's client."""
    assert server.admin.key is not None
    return WandbClient(
        python=client_python(version),
        folder=tmp_path / "ann",
        base_url=f"http://127.0.0.1:{server.port}",
        key=server.admin.key,
    )


def test_a_resumed_run_goes_on_where_it_was(server: Running, ann: WandbClient) -> None:
    """Earns: no row twice, none lost, and the values of before are there."""
    done = ann.run("""
        run = wandb.init(project="life", id="resumed", config={"a": 1}, tags=["x"])
        for step in range(20):
            run.log({"loss": step})
        run.finish()
        run = wandb.init(project="life", id="resumed", resume="must", config={"b": 2})
        say(resumed=run.resumed, config=dict(run.config), loss=run.summary["loss"])
        for step in range(20, 30):
            run.log({"loss": step})
        run.finish()
        try:
            wandb.init(project="life", id="never-made", resume="must")
        except Exception as error:
            say(refused=str(error))
    """)
    assert done.said[0] == {"resumed": True, "config": {"a": 1, "b": 2}, "loss": 19}
    assert "never-made" in done.last["refused"]
    run = server.admin.get("/api/v1/runs/ann/life/resumed").json
    assert (run["state"], run["config"]) == ("finished", {"a": 1, "b": 2})
    rows = server.admin.get("/api/v1/runs/ann/life/resumed/history").json["items"]
    assert [row["loss"] for row in rows] == list(range(30))
    assert [row["_step"] for row in rows] == list(range(30))


def test_a_stop_reaches_the_program_within_15_seconds(server: Running, ann: WandbClient) -> None:
    """Earns: a stop from the page or a script ends a program that knows nothing of it."""
    program = """
        run = wandb.init(project="life", id="stopped")
        say(begun=True)
        for _ in range(600):
            time.sleep(0.1)
    """
    with ann.start(program) as process:
        heard(process)
        before = time.monotonic()
        reply = server.admin.post("/api/v1/runs/ann/life/stopped/stop")
        assert reply.status == 200, reply.text
        assert reply.json["state"] == "running"
        process.communicate(timeout=END_S)
        assert time.monotonic() - before < STOP_S + HEARD_S + 5, "5 s for a busy machine"
    assert process.returncode != 0
    assert server.admin.get("/api/v1/runs/ann/life/stopped").json["state"] == "stopped"
    done = ann.run("""
        run = wandb.Api().run("ann/life/stopped")
        run.wait_until_finished()
        say(state=run.state, reason=run.summary["_shipway"]["reason"])
    """)
    assert done.last == {"state": "failed", "reason": "stopped: somebody asked for its end"}


def test_a_killed_program_has_crashed_after_silence(server: Running, ann: WandbClient) -> None:
    """Earns: what nobody can report any more does not look alive for ever."""
    with ann.start('wandb.init(project="life", id="killed"); say(x=1); time.sleep(600)') as process:
        heard(process)
        kill_family(process.pid)
    store = server.app.edge.store
    assert server.admin.get("/api/v1/runs/ann/life/killed").json["state"] == "running"
    store.write(lambda tx: tx.clock.advance(SILENT_MS)).result(END_S)
    until(
        lambda: server.admin.get("/api/v1/runs/ann/life/killed").json["state"] == "crashed",
        within_s=END_S, what="the run has crashed",
    )  # fmt: skip


def kill_family(pid: int) -> None:
    """Kill a program and what it started, with SIGKILL."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    os.kill(pid, signal.SIGKILL)
    for child in children:
        os.kill(int(child), signal.SIGKILL)


def test_nothing_is_lost_where_the_server_is_killed_twice(version: str, tmp_path: Path) -> None:
    """Earns: a server's death costs a tracked run nothing: no row, no file, no end."""
    program = """
        settings = wandb.Settings(x_file_stream_transmit_interval=0.2)
        run = wandb.init(project="life", id="through", settings=settings)
        say(begun=True)
        for step in range(300):
            run.log({"loss": step})
            print("line", step)
            time.sleep(0.02)
            if step == 150:
                say(half=True)
        Path(run.dir, "late.txt").write_text("late")
        run.save(str(Path(run.dir, "late.txt")), base_path=run.dir)
        run.finish()
        say(over=True)
    """
    with server_process(tmp_path) as server:
        client = WandbClient(
            python=client_python(version), folder=tmp_path / "ann", base_url=server.base_url,
            key=server.key,
        )  # fmt: skip
        with client.start(program) as process:
            for _ in range(2):
                heard(process)
                server.kill()
                server.start()
            text = process.communicate(timeout=150)[0]
        assert process.returncode == 0, text
        done = client.run("""
            entity = wandb.Api().default_entity
            run = wandb.Api().run(f"{entity}/life/through")
            say(
                state=run.state, rows=[row["loss"] for row in run.scan_history()],
                late=Path(run.file("late.txt").download(root="back").name).read_text(),
            )
        """)
    assert done.last == {"state": "finished", "rows": list(range(300)), "late": "late"}


LAUNCHED = """
import os, sys
import shipway, wandb

mine = shipway.init()
mine.log({"ours": 1}, step=0)
run = wandb.init(project="another-name", config={"lr": 0.5})
assert run.id == os.environ["WANDB_RUN_ID"], run.id
for step in range(50):
    run.log({"loss": step})
run.summary["best"] = 3
mine.log({"ours": 2}, step=1)
print("seen", run.entity, run.project, run.config["given"])
run.finish()
sys.exit(int(sys.argv[2]))
"""


@pytest.mark.timeout(600)
def test_wandb_in_a_launched_program_goes_on_with_the_launch_s_run(version: str) -> None:
    """Earns: a run of a launch and one of wandb are one thing; its exit code decides its state."""
    client_python(version)  # skips where there is none
    with embedded() as shipway, shell_of(shipway.env):
        source = shipway.root / "program"
        source.mkdir()
        (source / "main.py").write_text(LAUNCHED)
        (source / "requirements.txt").write_text(f"wandb=={version}\n")
        shipway.up()
        ends = []
        for code in (0, 3):
            item = launch_add(
                uri=source, project="demo", parameters={"exit": code},
                config={"overrides": {"run_config": {"given": "from the launch"}}},
            )  # fmt: skip
            run = item.wait_until_finished(timeout=300)
            log = [str(line) for line in item.logs()]
            ends.append((run.state, run.exit_code))
            assert any("demo from the launch" in line for line in log), log
            assert not any("Failed to export" in line for line in log), log
            assert run.config["lr"] == 0.5
            assert run.config["given"] == "from the launch"
            assert (run.summary["best"], run.summary["loss"]) == (3, 49)
            rows = run.history()
            assert [row["loss"] for row in rows if "loss" in row] == list(range(50)), log
            assert [row["ours"] for row in rows if "ours" in row] == [1, 2]
            names = {file.path for file in run.files()}
            assert {"wandb-metadata.json", "config.yaml"} <= names
        assert ends == [("finished", 0), ("failed", 3)]


def test_the_console_is_kept_as_the_client_saw_it(server: Running, ann: WandbClient) -> None:
    """Earns: the log is there while the program runs, also of one that never came to its end."""
    ann.run("""
        settings = wandb.Settings(x_file_stream_transmit_interval=0.2)
        run = wandb.init(project="life", id="talks", settings=settings)
        print("one")
        print("two", file=sys.stderr)
        for percent in range(0, 101, 10):
            print(f"\\r{percent} %", end="", flush=True)
            time.sleep(0.05)
        print()
        print("last \N{ROCKET}")
        run.finish()
    """)
    found = server.admin.get("/api/v1/runs/ann/life/talks/console").json["items"]
    shown = [(row["stream"], row["text"]) for row in found if row["text"].strip()]
    assert shown[:2] == [(1, "one"), (2, "two")]
    assert (1, "100 %") in shown
    assert shown[-1] == (1, "last \N{ROCKET}")
    assert abs(found[0]["at"] / 1_000 - time.time()) < 120
    page = server.admin.get("/ann/life/runs/talks", headers={"Accept": "text/html"})
    assert "100 %" in page.text


def test_a_large_file_passes_through_a_small_server(version: str, tmp_path: Path) -> None:
    """Earns: a checkpoint of 200 MB costs the server no memory."""
    program = """
        import hashlib
        run = wandb.init(project="life", id="large")
        path = Path(run.dir, "model.bin")
        with path.open("wb") as file:
            for number in range(200):
                file.write(number.to_bytes(2, "big") * 524_288)
        run.save(str(path), base_path=run.dir)
        run.finish()
        digest = lambda path: hashlib.sha256(Path(path).read_bytes()).hexdigest()
        found = wandb.Api().run(f"{run.entity}/life/large").file("model.bin")
        say(size=found.size, same=digest(path) == digest(found.download(root="back").name))
    """
    with server_process(tmp_path) as server:
        client = WandbClient(
            python=client_python(version), folder=tmp_path / "ann", base_url=server.base_url,
            key=server.key,
        )  # fmt: skip
        done = client.run(program)
        peak = server.peak_memory()
    assert done.last == {"size": 200 << 20, "same": True}
    assert peak < 200 << 20
