"""`python -m shipway.agent`: the agent as a child of `shipway up`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from shipway.agent.config import load_config
from shipway.agent.main import AgentOptions, run_agent
from shipway.agent.messages import FieldFormatter
from shipway.domain.errors import ShipwayError
from shipway.plugins.errors import PluginError


def main(argv: list[str] | None = None) -> int:
    """Read the flags and run; the key comes from a file or the environment, never from here."""
    parser = argparse.ArgumentParser(prog="python -m shipway.agent")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--key-file", type=Path)
    parser.add_argument("-q", "--queue", action="append", dest="queues")
    parser.add_argument("-e", "--entity")
    parser.add_argument("-j", "--max-jobs", type=int)
    parser.add_argument("-c", "--config", type=Path)
    parser.add_argument("--run-as")
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--parent-pid", type=int)
    parser.add_argument("--parent-fd", type=int)
    flags = parser.parse_args(argv)
    stream = logging.StreamHandler()
    stream.setFormatter(FieldFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[stream])
    log = logging.getLogger("shipway.agent")
    try:
        key = (
            flags.key_file.read_text().strip()
            if flags.key_file
            else os.environ.get("SHIPWAY_API_KEY", "")
        )
        config = load_config(
            flags.config,
            {
                "queues": flags.queues,
                "entity": flags.entity,
                "max_jobs": flags.max_jobs,
                "run_as": flags.run_as,
            },
        )
        options = AgentOptions(
            home=flags.home,
            base_url=flags.base_url,
            key=key,
            config=config,
            is_once=flags.once,
            parent_pid=flags.parent_pid,
            parent_fd=flags.parent_fd,
        )
        return run_agent(options)
    except (ShipwayError, PluginError, OSError) as error:
        log.error("agent cannot run", extra={"error": str(error)})  # noqa: TRY400 - a sentence
        return 1


if __name__ == "__main__":
    sys.exit(main())
