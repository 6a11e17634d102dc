"""Marks name what tests need; if it is missing, tests are skipped on other machines and fail in CI."""

from __future__ import annotations

import functools
import gc
import os
import re
import shutil
import ssl
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import leftovers
import pytest
from hypothesis import HealthCheck, settings

from core.errors import PushmillError
from web.processes import docker_ping, private_redis

# how long an example takes depends on the machine
settings.register_profile("pushmill", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pushmill")

# reading the certificate authorities takes 30 ms, and each HTTP client would do it
ssl.create_default_context = functools.cache(ssl.create_default_context)

# a garbage collection of all that thousands of tests import and collect takes 0.2 s: it begins after those, without them
gc.disable()

IN_CI = os.environ.get("CI", "").lower() not in ("", "0", "false")


def _missing_docker() -> str:
    try:
        docker_ping.find(os.environ)
    except PushmillError as error:
        return str(error)
    return ""


def _missing_redis() -> str:
    try:
        private_redis.find_binary()
    except PushmillError as error:
        return str(error)
    return ""


def _missing_browser() -> str:
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    browser = any(shutil.which(name) for name in names)
    return "" if browser and shutil.which("chromedriver") else "there is no Chromium or no chromedriver"


def _missing_sshd() -> str:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    return "" if shutil.which("sshd", path=path) and shutil.which("ssh") else "there is no sshd or no ssh"


def _missing_payloads() -> str:
    there = (Path(__file__).parents[1] / ".payloads" / "installed").exists()
    return "" if there else "axe-core and recorded webhooks are missing: .ci/payloads fetches them"


NEEDS: dict[str, Callable[[], str]] = {
    "docker": functools.cache(_missing_docker),
    "redis": functools.cache(_missing_redis),
    "browser": functools.cache(_missing_browser),
    "sshd": functools.cache(_missing_sshd),
    "payloads": _missing_payloads,
    "lfs": lambda: "" if shutil.which("git-lfs") else "there is no git-lfs",
    "root": lambda: "" if os.geteuid() == 0 else "we are another user",
}


WAITING = ("e2e", "browser")
UNTIL = 0.85  # the part of the run within which those begin; short files fill the rest
# these take a minute or two each: a worker that began one last would end alone
LONG = (
    "test_readme.py", "test_kills.py", "test_vh.py", "test_pages_in_browser.py", "test_live_pages_in_browser.py",
    "test_pull_requests.py", "test_execution.py", "test_forge_setup.py", "test_git_http.py", "test_webhooks_of_forges.py",
    "test_statuses.py", "test_push_rules.py", "test_pull_request_comments.py", "test_pipelines_and_kills.py",
    "test_log_search.py", "test_dry_run.py", "test_remote_runner.py", "test_states.py", "test_quickstart.py",
)  # fmt: skip
# they share a server: each worker that has some of them starts one, with its network sandboxes
SHARING = (
    "test_forks.py", "test_images.py", "test_project_removal.py", "test_push.py", "test_routes.py", "test_secrets.py",
    "test_survival.py", "test_valohai_utils.py", "test_vh.py",
)  # fmt: skip
UNWANTED = "docker|redis|browser|chrom|sshd|payloads|lfs|root is missing"  # in the reason of a skipped test: CI must have these


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mix the files of all folders, so that at any time some tests wait and others compute; begin with long files."""
    folders: dict[Path, dict[Path, list[pytest.Item]]] = {}
    for item in items:
        folders.setdefault(item.path.parent, {}).setdefault(item.path, []).append(item)
    placed: list[tuple[float, list[pytest.Item]]] = []
    for folder, files in folders.items():
        share = UNTIL if folder.name in WAITING else 1.0
        order = sorted(files, key=lambda file: LONG.index(file.name) if file.name in LONG else len(LONG))
        placed += [(share * place / len(order), files[file]) for place, file in enumerate(order)]
    items[:] = [item for _, file in sorted(placed, key=lambda one: one[0]) for item in file]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each worker whole files, one the browser's shorter ones, and one those that share a server."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            name = Path(file).name
            # each worker with a browser starts one
            together = name in SHARING or ("/browser/" in file and name not in LONG)
            return str(Path(file).parent) if together else file

    return Scheduling(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """Fail the session when its tests left something on the machine. With xdist its workers have ended by then."""
    yield
    factory = getattr(session.config, "_tmp_path_factory", None)
    if hasattr(session.config, "workerinput") or factory is None or session.config.option.collectonly:
        return
    bridges = leftovers.bridges()
    leftovers.remove_network()
    if found := leftovers.left(factory.getbasetemp(), bridges):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        for line in ("", "the tests left on this machine:", *found):
            reporter.write_line(line, red=True)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark, missing in NEEDS.items():
        if item.get_closest_marker(mark) and (why := missing()):
            pytest.skip(f"{mark} is missing: {why}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI, a test that was skipped because something is missing fails."""
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        if re.search(UNWANTED, reason, re.IGNORECASE):
            report.outcome = "failed"
            report.longrepr = f"skipped, which CI does not allow: {reason}"
    return report
