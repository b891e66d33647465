"""Sees one container through in a slot (`run FOLDER`), and is its reins: freeze, continue, kill.

It is run as a file by the agent's Python, and imports little, nothing of ours: it is what a launch
waits for.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time

TYPE_CHECKING = False  # importing typing for it costs 3 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

ORDER = "container.json"  # what to run, and how
END = "end.json"  # how it ended, for the runner
END_BYTES = 8_192  # that it has at most, spaces included
CID = "cid"  # the container's id, written by the engine
READ = 1 << 16
AGAIN_S = 0.2  # between two tries with an engine that does not answer, or does not know it yet
OFTEN_MS = 10  # between looks for what nobody tells of
FREEZE_S = 8.0  # of trying to freeze; the lease is over after that
PAUSE_S = 2.0  # that an engine gets to freeze it, before its processes are stopped one by one
KILL_S = 18.0  # of trying to end it, less than the supervisor waits
LINGER_S = 10.0  # that the engine's own processes get to end after the container
CALL_S = 15.0
TAIL = 2_000  # characters of what the client said last
LOST_CODES = (128 + signal.SIGKILL, 128 + signal.SIGTERM, 255)  # of one that its engine ended
SIGNALS = range(129, 128 + 65)  # exit codes that stand for a signal
NO_SUCH = ("no such container", "no container with", "no such object")
_PR_SET_CHILD_SUBREAPER = 36


class Engine:
    """The command line of the engine that has the container."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.program = str(order["program"])
        self.env: dict[str, str] = dict(order["env"])
        self.name = str(order["name"])
        self.is_podman = order["engine"] == "podman"

    def spawn(self, words: list[str], out: int, err: int) -> int:
        """Start a command; return its process."""
        actions = (
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, out, 1),
            (os.POSIX_SPAWN_DUP2, err, 2),
        )
        argv = [self.program, *words]
        return os.posix_spawn(
            self.program, argv, self.env, file_actions=actions, setsigmask=(), setsigdef=(15,)
        )

    def call(self, words: list[str], limit_s: float = CALL_S) -> tuple[int, str]:
        """Run a short command; return its exit code, and all that it said."""
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        pid = self.spawn(words, write_end, write_end)
        os.close(write_end)
        said, end = b"", time.monotonic() + limit_s
        while select.select((read_end,), (), (), max(0.0, end - time.monotonic()))[0]:
            data = os.read(read_end, READ)
            if not data:
                break
            said += data
        else:
            os.kill(pid, signal.SIGKILL)
        os.close(read_end)
        _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status), said.decode(errors="replace")

    def state(self) -> dict[str, object] | None:
        """Return the container's state, {} where there is none, None where nobody answers."""
        words = ["inspect", "--type", "container", "--format", "{{json .State}}", self.name]
        code, said = self.call(words)
        if code == 0:
            lines = [line for line in said.splitlines() if line.startswith("{")]
            return dict(json.loads(lines[-1])) if lines else None
        return {} if any(text in said.lower() for text in NO_SUCH) else None


class Keeper:
    """One container, from its start to its end."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        with open(f"{folder}/{ORDER}", "rb") as file:  # noqa: PTH123 - half the cost of Path
            self.order: dict[str, Any] = json.load(file)
        self.engine = Engine(self.order)
        self.seen = {1: 0, 2: 0}  # bytes of each stream that were passed on
        self.said = b""  # the last that came as standard error, where a client says why
        self.is_stopping = False
        self.is_passed_on = False  # the container got its stop signal
        self.stopper = 0  # the command that sends it
        self.is_broken = False  # the engine went away while it ran
        self.oom = None
        if self.engine.is_podman and self.order["is_limited"]:
            sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - pathlib costs 5 ms
            from container_oom import (  # type: ignore[import-not-found]  # noqa: PLC0415 - only then
                OomWatch,
            )

            self.oom = OomWatch(f"{folder}/{CID}")
        self.wake, wake_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake_end)
        signal.signal(signal.SIGTERM, self._stop)

    def run(self) -> int:
        """Run it; return its exit code, after writing down how it ended."""
        if self.engine.is_podman:
            become_subreaper()  # conmon and its cleaner are waited for
        self.make_room()
        code = self.follow([str(word) for word in self.order["words"]])
        end = {"cause": "exit", "exit_code": 0} if code == 0 else self.find_end(code)
        self.settle()
        self.write_down(end)
        found = end.get("exit_code")
        return found if isinstance(found, int) else 1

    def make_room(self) -> None:
        """Take the room on the disk that its ending will need: it may be full by then."""
        with open(f"{self.folder}/{END}.new", "wb") as file:  # noqa: PTH123 - as above
            file.write(b" " * END_BYTES)

    def write_down(self, end: dict[str, object]) -> None:
        """Say how it ended, in the room that was taken for it."""
        reason = str(end.get("reason", ""))
        while len(text := json.dumps(end).encode()) > END_BYTES:
            reason = reason[: len(reason) // 2]
            end["reason"] = reason
        with open(f"{self.folder}/{END}.new", "r+b") as file:  # noqa: PTH123 - as above
            file.write(text)
        os.rename(f"{self.folder}/{END}.new", f"{self.folder}/{END}")  # noqa: PTH104 - as above

    def follow(self, words: list[str], *, is_again: bool = False) -> int:
        """Pass a command's output on until it ends; one that is followed again repeats itself."""
        skip = dict(self.seen) if is_again else {1: 0, 2: 0}
        out, out_end = os.pipe2(os.O_CLOEXEC)
        err, err_end = os.pipe2(os.O_CLOEXEC)
        pid = self.engine.spawn(words, out_end, err_end)
        os.close(out_end)
        os.close(err_end)
        streams = {out: 1, err: 2}
        poll = select.poll()
        for file in (out, err, self.wake):
            poll.register(file, select.POLLIN)
        while streams:
            is_hurried = self.is_stopping or (self.oom is not None and not self.oom.is_on)
            for file, _ in poll.poll(OFTEN_MS if is_hurried else None):
                if file == self.wake:
                    os.read(self.wake, READ)
                    continue
                data = os.read(file, READ)
                if data:
                    self.copy(streams[file], data, skip)
                else:
                    poll.unregister(file)
                    os.close(file)
                    del streams[file]
            if self.is_stopping:
                self.pass_stop_on()
            if self.oom is not None and not self.oom.is_on:
                self.oom.begin()
        while True:
            found, status = os.waitpid(pid, 0)
            if found == pid:
                return os.waitstatus_to_exitcode(status)

    def copy(self, stream: int, data: bytes, skip: dict[int, int]) -> None:
        """Pass bytes on, but for those that were passed on before."""
        known = min(skip[stream], len(data))
        skip[stream] -= known
        data = data[known:]
        if stream == 2:
            self.said = (self.said + data)[-TAIL:]
        self.seen[stream] += len(data)
        while data:
            data = data[os.write(stream, data) :]

    def find_end(self, code: int) -> dict[str, object]:
        """Find out what a client's bad end means: the container's own, or the engine's."""
        while True:
            state = self.engine.state()
            if state is None:  # nobody answers: it may run all the same
                self.is_broken = True
            elif state.get("Running") or state.get("Paused"):
                self.is_broken = True
                self.follow(["logs", "--follow", self.engine.name], is_again=True)
                code = -1
            else:
                if self.is_broken and state:
                    self.follow(["logs", self.engine.name], is_again=True)
                return self.judge(code, state)
            if self.is_stopping:
                self.pass_stop_on()
            time.sleep(AGAIN_S)

    def judge(self, code: int, state: dict[str, object]) -> dict[str, object]:
        """Say how it ended, from its client's exit code and what the engine keeps of it."""
        tail = self.said.decode(errors="replace").strip()
        if not state and self.is_broken:
            return {"cause": "supervisor", "reason": "its engine was away, and has it no more"}
        has_begun = not str(state.get("StartedAt", "0001-")).startswith("0001-")
        if not state or not has_begun:
            error = str(state.get("Error") or "") or tail or f"the client exited with code {code}"
            return {"cause": "not_started", "reason": f"the container could not start: {error}"}
        found = int(str(state.get("ExitCode", code)))
        is_oom = found == 128 + signal.SIGKILL and self.oom is not None and self.oom.has_fired()
        if state.get("OOMKilled") or is_oom:
            return {"cause": "oom", "exit_code": found}
        if self.is_broken and found in LOST_CODES and not self.is_stopping:
            return {"cause": "supervisor", "reason": "its engine ended it when it was restarted"}
        if found in SIGNALS:
            return {"cause": "signal", "exit_code": found, "signal": found - 128}
        return {"cause": "exit", "exit_code": found}

    def settle(self) -> None:
        """Wait until the engine's own processes of this container are gone."""
        end = time.monotonic() + LINGER_S
        while time.monotonic() < end:
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    time.sleep(0.005)
            except ChildProcessError:
                return

    def pass_stop_on(self) -> None:
        """Signal the container as a stop does, once; again only where there was none yet."""
        if self.is_passed_on:
            return
        if self.stopper:
            pid, status = os.waitpid(self.stopper, os.WNOHANG)
            if pid == 0:
                return
            self.stopper = 0
            self.is_passed_on = status == 0
            if self.is_passed_on:
                return
        words = ["kill", "--signal", str(self.order["stop_signal"]), self.engine.name]
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        self.stopper = self.engine.spawn(words, nowhere, nowhere)
        os.close(nowhere)

    def _stop(self, *_: object) -> None:
        self.is_stopping = True


def freeze(engine: Engine, folder: str) -> int:
    """Stop all of its processes, also of one that is only just being made."""
    if engine.is_podman:
        return 0  # they are below the keeper, and stopped with it
    return 0 if _until(FREEZE_S, lambda: _is_paused(engine) or stop_processes(folder)) else 1


def go_on(engine: Engine, folder: str) -> int:
    """Let a frozen one go on."""
    if engine.is_podman:
        return 0
    for pid in processes_of(folder) or ():
        _send(pid, signal.SIGCONT)
    return 0 if engine.call(["unpause", engine.name])[0] == 0 else 1


def kill(engine: Engine, folder: str) -> int:
    """End it and remove it; its processes do not wait for an engine that hangs, or is away."""

    def is_gone() -> bool:
        words = ["rm", "--force", "--volumes", engine.name]
        if engine.is_podman:
            words[2:2] = ["--time", "0"]  # its processes are in the tree below the keeper
        else:
            end_processes(folder)
        code, said = engine.call(words)
        if code == 0 or any(text in said.lower() for text in NO_SUCH):
            return True
        return "in progress" not in said and end_processes(folder)

    return 0 if _until(KILL_S, is_gone) else 1


def end_processes(folder: str) -> bool:
    """Kill what is in the container's control groups; True once nothing is, or it never began."""
    found = processes_of(folder)
    for pid in found or ():
        _send(pid, signal.SIGKILL)
    return found is not None and not found


def stop_processes(folder: str) -> bool:
    """Stop what is in the container's control groups; True if there was some."""
    stopped: set[int] = set()
    while fresh := set(processes_of(folder) or ()) - stopped:
        for pid in fresh:
            _send(pid, signal.SIGSTOP)
        stopped |= fresh
    return bool(stopped)


def processes_of(folder: str) -> list[int] | None:
    """Return what is in the container's control groups, or None where its id is not known."""
    try:
        with open(f"{folder}/{CID}", encoding="ascii") as file:  # noqa: PTH123 - as above
            cid = file.read().strip()
    except OSError:
        return None
    if len(cid) < 32:
        return None
    return [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and _is_in(pid, cid)]  # noqa: PTH208 - names


def _send(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except OSError:
        return False
    return True


def become_subreaper() -> None:
    """Take in every orphan below this process."""
    import ctypes  # noqa: PLC0415 - 10 ms that docker's containers need not wait for

    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _is_in(pid: str, cid: str) -> bool:
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:  # noqa: PTH123 - as above
            return cid in file.read()
    except OSError:
        return False


def _is_paused(engine: Engine) -> bool:
    code, said = engine.call(["pause", engine.name], PAUSE_S)
    return code == 0 or "already paused" in said


def _until(limit_s: float, is_so: Callable[[], bool]) -> bool:
    end = time.monotonic() + limit_s
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(AGAIN_S)
    return True


def main(argv: list[str]) -> int:
    """Do what the first argument says to the container of the second's folder."""
    verb, folder = argv
    if verb == "run":
        try:
            return Keeper(folder).run()
        except BaseException:  # noqa: BLE001 - the outermost frame of this process
            sys.excepthook(*sys.exc_info())
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGKILL)  # an exit would say that nothing is left
    try:
        with open(f"{folder}/{ORDER}", "rb") as file:  # noqa: PTH123 - half the cost of Path
            engine = Engine(json.load(file))
    except FileNotFoundError:
        return 0  # nothing was ever to be started
    if verb == "freeze":
        return freeze(engine, folder)
    return kill(engine, folder) if verb == "kill" else go_on(engine, folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
