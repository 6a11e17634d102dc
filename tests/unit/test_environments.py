"""What an environment allows."""

from __future__ import annotations

from typing import Any

import pytest

from core.model import Environment
from web.services.executions.environments import explain_image_refusal, filter_mounts


def environment(**given: Any) -> Environment:
    plain: dict[str, Any] = {
        "id": 1, "uuid": "u", "slug": "gpu", "description": "", "images": (), "pull": "missing", "gpus": 0, "memory": 0,
        "cpus": 0.0, "network": "open", "mounts": (), "max_executions": 0, "autorestart": False, "created_at": "",
    }  # fmt: skip
    return Environment(**plain | given)


@pytest.mark.parametrize(
    ("images", "image", "runs"),
    [
        ((), "anything", True),
        (("python:*",), "python:3.12", True),
        (("python:*", "nvcr.io/*"), "nvcr.io/nvidia/pytorch:24.01", True),
        (("python:*",), "evil/python:3.12", False),
        (("python:3.1?",), "python:3.9", False),
    ],
)
def test_images_are_limited_by_patterns(images: tuple[str, ...], image: str, runs: bool) -> None:
    assert (explain_image_refusal(environment(images=images), image) == "") is runs


@pytest.mark.parametrize(
    ("source", "readonly", "outcome"),
    [
        ("/data", False, True),
        ("/data/sets/a", False, True),
        ("/data/scratch", False, False),
        ("/data/scratch/x", True, True),
        ("/database", False, None),
        ("/", False, None),
        ("/data/../etc", False, None),
    ],
)
def test_mounts_stay_below_what_is_allowed_and_are_read_only_unless_it_says_otherwise(
    source: str, readonly: bool, outcome: bool | None
) -> None:
    rules = environment(mounts=("/data", "/data/scratch:rw"))
    allowed, notes = filter_mounts(rules, [{"source": source, "destination": "/d", "readonly": readonly}])
    assert [mount["readonly"] for mount in allowed] == ([] if outcome is None else [outcome])
    assert len(notes) == (outcome is None)
