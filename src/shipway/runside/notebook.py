"""Runs a notebook as a program: its cells' output is the log, the executed copy a file of the run.

Started by its path, in the program's own environment, which has to have nbconvert and ipykernel.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

MISSING = 2  # the exit code where the environment cannot run notebooks
STOPPED = 128 + signal.SIGTERM


def main(argv: list[str]) -> int:
    """Run the notebook `argv[0]` with the arguments after it; return the exit code."""
    path, args = Path(argv[0]), argv[1:]
    try:
        import ipykernel  # noqa: F401, PLC0415 - the kernel's process imports it
        import nbformat  # noqa: PLC0415 - the program's own packages
        from nbclient import NotebookClient  # noqa: PLC0415 - as above
        from nbclient import exceptions as ends  # noqa: PLC0415 - as above
    except ImportError as error:
        sys.stderr.write(
            f"{path} is a notebook, and {error.name} is not in its environment: add nbconvert and"
            " ipykernel to the requirements or the lock beside it\n"
        )
        return MISSING

    class Client(NotebookClient):  # type: ignore[misc] # not among the packages of checks
        def process_message(self, msg: dict[str, Any], *more: Any) -> Any:
            _show(msg)
            return super().process_message(msg, *more)

        def begin(self, **_: Any) -> None:
            self.kc.execute(f"import sys; sys.argv = {[path.name, *args]!r}", silent=True)

    notebook = nbformat.read(str(path), as_version=4)
    client = Client(notebook, resources={"metadata": {"path": str(path.parent)}})
    client.extra_arguments = [
        "--log-level=ERROR"
    ]  # its port on loopback takes signed messages only
    client.on_notebook_start = client.begin
    spec = notebook.metadata.get("kernelspec", {})
    if spec.get("language", "python") == "python":
        client.kernel_name = "python3"  # this environment's, whatever its author's was called
    with tempfile.TemporaryDirectory(prefix="shipway-notebook-") as folder:
        os.environ["JUPYTER_RUNTIME_DIR"] = folder  # connection files, with the kernel's key
        try:
            client.execute()
        except ends.CellExecutionError as error:
            return _exit_code(error)
        except ends.DeadKernelError as error:
            sys.stderr.write(f"the notebook's kernel died: {error}\n")
            return 1
        except SystemExit:
            return STOPPED
        finally:
            _keep(nbformat.writes(notebook), path)
    return 0


def _show(msg: dict[str, Any]) -> None:
    kind, content = msg.get("msg_type"), msg.get("content", {})
    if kind == "stream":
        out = sys.stderr if content.get("name") == "stderr" else sys.stdout
        out.write(content.get("text", ""))
    elif kind in {"execute_result", "display_data"}:
        text = content.get("data", {}).get("text/plain", "")
        sys.stdout.write(f"{text}\n" if text else "")
    elif kind == "error" and content.get("ename") != "SystemExit":
        sys.stderr.write("\n".join(content.get("traceback", ())) + "\n")
    sys.stdout.flush()
    sys.stderr.flush()


def _exit_code(error: Any) -> int:
    if getattr(error, "ename", None) != "SystemExit":
        return 1
    value = str(getattr(error, "evalue", ""))
    if value in {"", "None"}:
        return 0
    return int(value) & 0xFF if value.lstrip("-").isdigit() else 1


def _keep(text: str, path: Path) -> None:
    """Put the executed notebook in its source's place, and keep it with the run."""
    fresh = path.with_name(f".{path.name}.executed")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)
    import shipway  # noqa: PLC0415 - beside this file, or the environment's own

    shipway.init().save(path)


def _stop(*_: Any) -> None:
    raise SystemExit(STOPPED)


if __name__ == "__main__":
    del sys.path[0]  # this folder: its modules are not the program's
    signal.signal(signal.SIGTERM, _stop)
    sys.exit(main(sys.argv[1:]))
