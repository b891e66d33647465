"""Trains on handwritten digits for a given time, and keeps a copy of all that it says and logs."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import multiprocessing
import os
import pickle
import sys
import time
import warnings
from collections import deque
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from tqdm import tqdm

import shipway

RATE = 20  # steps a second
EPOCH = 100  # steps between two checkpoints
WORKERS = 2
AHEAD = 4  # batches that the workers make before they are needed
BATCH = 64
forking = multiprocessing.get_context("fork")
FEATURES, TARGET = load_digits(return_X_y=True)
TRAIN_X, TEST_X, TRAIN_Y, TEST_Y = train_test_split(FEATURES / 16, TARGET, random_state=7)


class Tee(io.TextIOBase):
    """Writes to a stream and to a file, in one order for all processes; it never flushes."""

    def __init__(self, stream: io.TextIOWrapper, copy: Path) -> None:
        self._stream = stream
        self._copy = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._lock = forking.RLock()

    def write(self, text: str) -> int:
        """Write text, as `print` and tqdm do."""
        with self._lock:
            self._stream.write(text)
            os.write(self._copy, text.encode())
        return len(text)

    def write_bytes(self, data: bytes) -> None:
        """Write what is no text."""
        with self._lock:
            self._stream.buffer.write(data)
            os.write(self._copy, data)

    def flush(self) -> None:
        """Do nothing: what is printed has to arrive without."""


def main() -> None:
    """Train until the time is over, checkpoint after checkpoint."""
    options = read_options()
    warnings.simplefilter("ignore")
    sys.stdout = Tee(sys.stdout, options.copies / "stdout")
    sys.stderr = Tee(sys.stderr, options.copies / "stderr")
    run = shipway.init()
    run.config["features"] = TRAIN_X.shape[1]
    model = MLPClassifier(hidden_layer_sizes=(64,), random_state=7)
    with forking.Pool(WORKERS) as pool, (options.copies / "metrics").open("w") as metrics:
        batches = deque(pool.apply_async(make_batch, (number,)) for number in range(AHEAD))
        began = time.monotonic()
        step = 0
        while time.monotonic() - began < options.seconds:
            with tqdm(total=EPOCH, desc=f"epoch {step // EPOCH}", mininterval=0) as bar:
                for _ in range(EPOCH):
                    batches.append(pool.apply_async(make_batch, (step + AHEAD,)))
                    values = learn(model, *batches.popleft().get())
                    run.log(values, step=step)
                    elapsed = time.monotonic() - began
                    metrics.write(json.dumps([elapsed, step, values]) + "\n")
                    metrics.flush()
                    say(step, values["loss"])
                    bar.update()
                    step += 1
                    time.sleep(max(0.0, began + step / RATE - time.monotonic()))
            save(run, model, options.copies)
    run.summary["accuracy"] = float(model.score(TEST_X, TEST_Y))
    run.summary["steps"] = step
    print("done, without a line end", end="")


def make_batch(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a noisy batch; runs in a worker process."""
    random = np.random.default_rng(number)
    rows = random.integers(0, len(TRAIN_X), BATCH)
    if number % 7 == 0:
        print(f"worker: batch {number} begins with row {rows[0]}")
    return TRAIN_X[rows] + random.normal(0, 0.05, (BATCH, TRAIN_X.shape[1])), TRAIN_Y[rows]


def learn(model: MLPClassifier, features: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """Take one step and return its metrics."""
    classes = np.unique(TARGET)
    model.partial_fit(features, target, classes=classes)
    loss = log_loss(target, model.predict_proba(features), labels=classes)
    return {"loss": float(loss), "accuracy": float(model.score(features, target))}


def say(step: int, loss: float) -> None:
    """Print as programs do: lines, halves of lines, text beyond ASCII, bytes that are no text."""
    print(f"step {step}", end=" ")
    print(f"loss {loss:.6f} ✓")
    if step % 50 == 0:
        sys.stdout.write_bytes(b"\xff\xfe\x00 not text\r\n")


def save(run: shipway.Run, model: MLPClassifier, copies: Path) -> None:
    """Keep a checkpoint with the run; it is overwritten each time."""
    path = Path("checkpoints", "last.pkl")
    path.parent.mkdir(exist_ok=True)
    padding = np.random.default_rng(model.t_).bytes(2 << 20)  # as large as a small network
    path.write_bytes(pickle.dumps((model, padding)))
    run.save(path)
    (copies / "digest").write_text(hashlib.sha256(path.read_bytes()).hexdigest())


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--copies", type=Path, required=True, help="a folder for the copies")
    return parser.parse_args()


if __name__ == "__main__":
    main()
