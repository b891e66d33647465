"""Looks at how earlier runs went, and tries what promises to be better (optuna's TPE)."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from typing import Any, ClassVar

from shipway.domain.sweep import SweepConfig, Trial
from shipway.domain.sweep_space import Kind, Parameter, Path, Values, is_same, place_of, value_at
from shipway.plugins.errors import PermanentError
from shipway.plugins.search import SearchAsk

STARTUP = 8  # runs drawn by chance before it models anything
TRIALS_LIMIT = 1_000  # of the runs so far, the last ones

_SEPARATOR = "\x1f"


class BayesSearch:
    """The search `bayes`: each parameter is a place from 0 to 1, a whole number, or a choice."""

    needs_trials: ClassVar[bool] = True

    def check(self, config: SweepConfig) -> None:  # noqa: ARG002 - the protocol's
        """Raise `PermanentError` where the library is not installed."""
        if find_spec("optuna") is None:
            raise PermanentError(
                "method bayes needs optuna where the server runs: pip install 'shipway[search]'"
            )

    def size(self, config: SweepConfig) -> int | None:  # noqa: ARG002 - the protocol's
        """Return None: it never ends by itself."""
        return None

    def suggest(self, ask: SearchAsk) -> Values | None:
        """Return what the model of the runs so far finds promising."""
        self.check(ask.config)
        import optuna  # noqa: PLC0415 - half a second, and only an extra

        varied = ask.config.space.varied
        if not varied:
            return ask.config.space.whole({})
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        spread = {_name(one.path): _spread(optuna, one) for one in varied}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # multivariate and constant_liar are experimental
            sampler = optuna.samplers.TPESampler(
                seed=ask.seed, n_startup_trials=STARTUP, multivariate=True, constant_liar=True
            )
        study = optuna.create_study(sampler=sampler, direction="minimize")
        for trial in ask.trials[-TRIALS_LIMIT:]:
            made = _trial(optuna, trial, varied, spread)
            if made is not None:
                study.add_trial(made)
        chosen = study.ask(spread).params
        return ask.config.space.whole({one.path: _value(one, chosen) for one in varied})


def _spread(optuna: Any, parameter: Parameter) -> Any:
    if parameter.kind is Kind.CHOICE:
        return optuna.distributions.CategoricalDistribution(range(len(parameter.values)))
    if parameter.kind is Kind.INTEGER:
        return optuna.distributions.IntDistribution(int(parameter.low), int(parameter.high))
    return optuna.distributions.FloatDistribution(0.0, 1.0)


def _trial(
    optuna: Any, trial: Trial, varied: tuple[Parameter, ...], spread: dict[str, Any]
) -> Any | None:
    params: dict[str, Any] = {}
    for one in varied:
        found = _inner(one, trial.values[one.path]) if one.path in trial.values else None
        if found is None:
            return None
        params[_name(one.path)] = found
    states = optuna.trial.TrialState
    if trial.cost is not None:
        kind, value = states.COMPLETE, trial.cost
    else:
        kind, value = (states.RUNNING if trial.is_open else states.FAIL), None
    return optuna.trial.create_trial(params=params, distributions=spread, value=value, state=kind)


def _inner(parameter: Parameter, value: Any) -> Any | None:
    """Return a value as the model knows it; None for one that the parameter cannot have."""
    if parameter.kind is Kind.CHOICE:
        same = (index for index, one in enumerate(parameter.values) if is_same(one, value))
        return next(same, None)
    if parameter.kind is Kind.INTEGER:
        is_whole = isinstance(value, int | float) and value == int(value)
        return int(value) if is_whole and parameter.low <= value <= parameter.high else None
    return place_of(parameter, value)


def _value(parameter: Parameter, chosen: dict[str, Any]) -> Any:
    inner = chosen[_name(parameter.path)]
    if parameter.kind is Kind.CHOICE:
        return parameter.values[inner]
    return int(inner) if parameter.kind is Kind.INTEGER else value_at(parameter, inner)


def _name(path: Path) -> str:
    return _SEPARATOR.join(path)
