"""Which attempts share one image: only those that ask for the same one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shipway.agent.containing import _want
from shipway.agent.lease import Lease
from shipway.domain.ids import ItemId, Token
from shipway.plugins.source import Tree

TREE = Tree(path=Path("/tree"), digest="abc")


def a_lease(*, args: dict[str, Any] | None = None, **spec: Any) -> Lease:
    return Lease(
        key="i.1",
        item=ItemId("i"),
        attempt=1,
        token=Token("t"),
        job_key="k",
        term_ms=1,
        resource="local-container",
        spec=spec,
        args=args or {},
    )


@pytest.mark.parametrize(
    "other",
    [
        a_lease(repository="registry.test/one"),
        a_lease(python="3.12"),
        a_lease(dockerfile="Dockerfile.gpu"),
        a_lease(args={"python": "3.12"}),
        a_lease(args={"platform": "linux/arm64"}),
        a_lease(args={"build_args": {"A": "1"}}),
        a_lease(args={"builder": {"accelerator": {"base_image": "cuda:12"}}}),
        a_lease(args={"base_image": "python:3.12"}),
    ],
)
def test_what_makes_another_image_is_no_reason_to_share(other: Lease) -> None:
    assert _want(other, TREE) != _want(a_lease(), TREE)


def test_what_makes_no_difference_is_shared() -> None:
    assert _want(a_lease(args={"memory": "1g"}), TREE) == _want(a_lease(), TREE)
