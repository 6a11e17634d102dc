from __future__ import annotations

import pytest

from core.errors import PushmillError
from runner.containers import registries


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("python:3.12", ""),
        ("pytorch/pytorch:2.4", ""),
        ("localhost", ""),
        ("localhost/x", "localhost"),
        ("localhost:5000/x:1", "localhost:5000"),
        ("ghcr.io/ada/box@sha256:00", "ghcr.io"),
        ("127.1:80/x", "127.1:80"),
        ("HOST/x", "HOST"),
        ("[::1]:5000/x", "[::1]:5000"),
    ],
)
def test_the_registry_is_the_part_of_a_name_that_docker_takes_for_one(image: str, registry: str) -> None:
    assert registries.parse_registry(image) == registry


@pytest.mark.parametrize(
    "image",
    [
        "localhost/x",
        "127.0.0.1:8191/x",
        "127.1/x",
        "2130706433:80/x",
        "0.0.0.0:80/x",
        "[::1]:5000/x",
        "[::ffff:127.0.0.1]:5000/x",
        "169.254.169.254/x",
        "100.100.100.200:80/x",
        "168.63.129.16/x",
        "[fd00:ec2::254]/x",
        "[fe80::1]:80/x",
    ],
)
def test_registries_on_this_machine_its_links_and_metadata_services_are_refused(image: str) -> None:
    with pytest.raises(PushmillError, match="allow_registries"):
        registries.check(image, ("registry.example.org", "127.0.0.1:5000"))


@pytest.mark.parametrize("image", ["python", "10.255.255.1:5000/x", "a\0b.c/x", "no-such-host.invalid/x", ":5000/x"])
def test_other_names_are_for_docker(image: str) -> None:
    registries.check(image, ())


@pytest.mark.parametrize("entry", ["127.0.0.1", "127.0.0.1:5000", "localhost:5000"])
def test_a_registry_can_be_allowed(entry: str) -> None:
    host = entry.partition(":")[0]
    registries.check(f"{host}:5000/x", (entry, "::1"))


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ('Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused', "refused the connection"),
        ("manifest for a.b/x:9 not found: manifest unknown: manifest unknown", "no such image or tag"),
        ("pull access denied for x, repository does not exist or may require 'docker login'", "docker login"),
        ('error parsing HTTP 404 response body: invalid character: "hunter2"', registries.UNKNOWN),
        ('error parsing HTTP 403 response body: invalid character: "hunter2"', "docker login"),
        ("dial tcp: lookup a.b: no such host", "cannot be resolved"),
        ("write /var/lib/docker/tmp/x: no space left on device", "no space left"),
    ],
)
def test_a_failed_pull_is_explained_in_our_words(answer: str, text: str) -> None:
    explanation = registries.explain_failure(answer)
    assert text in explanation
    assert "hunter2" not in explanation
