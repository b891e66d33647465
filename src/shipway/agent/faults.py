"""Turns what went wrong while an attempt was prepared into a failure with a stage."""

from __future__ import annotations

import logging

from shipway.agent.environment import NoProgram
from shipway.agent.events import Failed
from shipway.agent.lease import Key
from shipway.agent.reasons import a_reason
from shipway.domain.errors import Code, ShipwayError
from shipway.domain.item import Failure, FailureClass, Stage
from shipway.plugins.errors import PermanentError, TemporaryError

log = logging.getLogger(__name__)

_CLASSES = {
    Stage.AGENT: FailureClass.AGENT,
    Stage.SOURCE: FailureClass.SOURCE,
    Stage.BUILD: FailureClass.BUILD,
    Stage.RUN: FailureClass.AGENT,
}
_PASSING = frozenset(
    {
        Code.UNREACHABLE,
        Code.TIMEOUT,
        Code.OVERLOADED,
        Code.UNKNOWN_OUTCOME,
        Code.STORAGE_FULL,
        Code.TOO_SLOW,
        Code.RATE_LIMITED,
    }
)


def fault(error: Exception, stage: Stage, key: Key, *, at: int) -> Failed:
    """Say what an error means for an attempt; call it where the error is handled."""
    failure_class = _CLASSES[stage]
    is_temporary = False
    reason = str(error)
    if isinstance(error, NoProgram):
        stage, failure_class = Stage.SOURCE, FailureClass.SOURCE
    elif isinstance(error, TemporaryError):
        is_temporary = True
    elif isinstance(error, ShipwayError):
        is_temporary = error.code in _PASSING
    elif isinstance(error, OSError):
        is_temporary = True
        reason = f"the agent's machine refused: {error}"
    elif not isinstance(error, PermanentError):
        log.error("bug", extra={"attempt": key}, exc_info=error)
        failure_class = FailureClass.AGENT
        reason = f"a fault of shipway itself: {type(error).__name__}: {error}"
    failure = Failure(stage=stage, failure_class=failure_class, reason=a_reason(reason))
    return Failed(at=at, key=key, failure=failure, is_temporary=is_temporary)
