"""Trains an ElasticNet on the diabetes data that scikit-learn ships, epoch by epoch."""

from __future__ import annotations

import argparse
import json
import pickle
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNet
from sklearn.metrics import mean_squared_error, r2_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

try:
    import shipway
except ImportError:  # the program runs without shipway just as well
    shipway = None


def main() -> None:
    """Read the parameters, train, print the score, and keep the model."""
    options = read_options()
    run = shipway.init() if shipway and hasattr(shipway, "init") else None
    features, target = load_diabetes(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        features, target, test_size=0.25, random_state=options.seed
    )
    scaler = StandardScaler().fit(train_x)
    train_x, test_x = scaler.transform(train_x), scaler.transform(test_x)
    print(f"alpha={options.alpha} l1_ratio={options.l1_ratio} rows={len(train_x)}+{len(test_x)}")

    # one pass over the coordinates an epoch: warm_start goes on where the last one ended
    model = ElasticNet(alpha=options.alpha, l1_ratio=options.l1_ratio, max_iter=1, warm_start=True)
    warnings.simplefilter("ignore", ConvergenceWarning)
    for epoch in range(1, options.epochs + 1):
        model.fit(train_x, train_y)
        loss = float(mean_squared_error(train_y, model.predict(train_x)))
        print(f"epoch {epoch}/{options.epochs} loss={loss:.3f}", flush=True)
        if run is not None:
            run.log({"epoch": epoch, "loss": loss}, step=epoch)

    predicted = model.predict(test_x)
    summary = {
        "r2": float(r2_score(test_y, predicted)),
        "rmse": float(np.sqrt(mean_squared_error(test_y, predicted))),
    }
    print("summary " + json.dumps(summary))
    Path("model.pkl").write_bytes(pickle.dumps(model))
    if run is not None:
        for key, value in summary.items():
            run.summary[key] = value
        run.save("model.pkl")


def read_options() -> argparse.Namespace:
    """Read the command line; `launch_add(parameters=…)` gives `--alpha 0.5 --l1_ratio 0.01`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alpha", type=float, default=1.0)
    parser.add_argument("--l1_ratio", type=float, default=0.5)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=7)
    return parser.parse_args()


if __name__ == "__main__":
    main()
