"""The demo's pages on loopback, and a real browser that is logged in."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import by_hand
from demo import Demo, say
from flask import Flask
from instance import wait_for
from selenium import webdriver
from selenium.common import StaleElementReferenceException, TimeoutException, WebDriverException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from serving import Serving

from core import clock
from core.model import Execution
from core.wire import FinalReport
from web.config.steps.resolve import resolve
from web.http.app import create_app
from web.services.context import Context
from web.services.executions import lifecycle
from web.store import commits, executions, logs, users
from web.store.db import Database, connect, execute, transaction

# The first one that is found. Debian's shell is Chromium without windows: it starts and loads pages at half the cost.
SHELL = "chromium-headless-shell"
BROWSERS = (SHELL, "chromium", "chromium-browser", "google-chrome")
QUIET = ("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
         "disable-component-update", "disable-sync", "disable-dev-shm-usage", "hide-scrollbars",
         "js-flags=--no-opt")  # fmt: skip  # optimising scripts of a second costs more than it saves
# With it Chromium ends its connections whenever an interface comes or goes, and Docker makes one per container.
NETWORK_CHANGED = "net::ERR_NETWORK_CHANGED"
FRAMES = "requestAnimationFrame(() => requestAnimationFrame(arguments[0]))"
FAILED = "return location.protocol === 'chrome-error:'"
# The page looks by itself: each question costs the browser, its driver and the test 8 ms together.
LOOK = """return (async () => {
  for (const end = Date.now() + 1000; ; await new Promise((done) => setTimeout(done, 20))) {
    const found = %s;
    if (found || Date.now() > end) return found;
  }
})()"""


@dataclass(frozen=True, kw_only=True)
class Site:
    """`say` is what the container of the live execution prints."""

    url: str
    demo: Demo
    app: Flask
    db: Database

    @property
    def context(self) -> Context:
        server = self.app.extensions["pushmill"]
        return Context(db=self.db, config=server.config, vault=server.vault)

    def say(self, text: str, stream: str = "stdout", execution: Execution | None = None) -> None:
        say(self.context, execution or self.demo.live, self.demo.runner, stream, text.encode())
        self._wake()

    def begin(self) -> Execution:
        """Start another execution, which has not printed anything."""
        db, context = self.db, self.context
        commit, admin = commits.get(db, self.demo.live.commit_id), users.find_by_name(db, "admin")
        assert admin is not None
        with transaction(db):
            launched = by_hand.execution(context, self.demo.project, commit, resolve(commit.config, "train"), admin)
            lifecycle.queue(db, launched)
            sql = "UPDATE execution SET runner_id = ?, attempt = 1, placed_at = ? WHERE id = ?"
            execute(db, sql, (self.demo.runner.id, clock.now(), launched.id))
        lifecycle.claim(context, self.demo.runner, launched.uuid, 1, resume=False)
        return executions.get(db, launched.id)

    def finish(self, execution: Execution) -> None:
        report = FinalReport(attempt=1, state="complete", exit_code=0)
        lifecycle.finish(self.context, self.demo.runner, execution.uuid, report)
        self._wake()

    def set_detail(self, execution: Execution, text: str) -> None:
        lifecycle.set_detail(self.db, self.demo.runner, execution.uuid, 1, text)
        self._wake()

    def stop(self, execution: Execution) -> None:
        """Request it as somebody else."""
        lifecycle.request_stop(self.context, execution.uuid, "ada")
        self._wake()

    def preview(self, text: str) -> None:
        """The unfinished line of its standard output."""
        live, start = self.demo.live, logs.get_length(self.db, self.demo.live).acknowledged["stdout"]
        line = lifecycle.UnfinishedLine(stream="stdout", start=start, text=text)
        lifecycle.preview_line(self.db, self.demo.runner, live.uuid, self.now(live).attempt, line)
        self._wake()

    def _wake(self) -> None:
        self.app.extensions["pushmill"].announcer.wake(None)

    def hear(self, execution: Execution) -> None:
        """Send a heartbeat of the runner of the live execution, since the demo may be older than its lease."""
        lifecycle.extend(self.db, self.demo.runner, execution.uuid, self.now(execution).attempt)

    def page(self, execution: Execution, rest: str = "") -> str:
        return f"/p/{self.demo.project.name}/executions/{execution.counter}/{rest}"

    def now(self, execution: Execution) -> Execution:
        return executions.get(self.db, execution.id)


@contextmanager
def site(demo: Demo) -> Iterator[Site]:
    app = create_app(demo.config)
    server = Serving(app)
    db = connect(demo.config.database)
    try:
        yield Site(url=f"http://127.0.0.1:{server.port}", demo=demo, app=app, db=db)
    finally:
        server.stop()
        db.close()


def _program(folder: Path, names: Sequence[str]) -> str:
    """Return the path of a browser. The shell opens no page by itself, but its driver waits for one."""
    found = next(filter(None, map(shutil.which, names)), "")
    if Path(found).name != SHELL:
        return found
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / SHELL
    script.write_text(f'#!/bin/sh\nexec {found} "$@" about:blank\n')
    script.chmod(0o755)
    return str(script)


class Element(WebElement):
    """An element whose text is that of what its selector finds now: live pages replace their elements."""

    selector = ""

    @property
    def text(self) -> str:
        try:
            return super().text
        except StaleElementReferenceException:
            if not self.selector:
                raise
            return str(self.parent.find_element(By.CSS_SELECTOR, self.selector).text)


class Browser:
    """Headless Chromium. Its pages have exactly the requested width, also that of a phone.

    In the shell, a page stays visible behind another one, and texts may get their final width after the first frame;
    `whole` takes the browser that people use.
    """

    site: Site

    def __init__(self, profile: Path, site: Site | None = None, *, whole: bool = False) -> None:
        if site is not None:
            self.site = site
        options = Options()
        options.binary_location = _program(profile, BROWSERS[1:] if whole else BROWSERS)
        for flag in QUIET:
            options.add_argument(f"--{flag}")
        options.add_argument(f"--user-data-dir={profile}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        self.driver._web_element_cls = Element
        self.driver.set_page_load_timeout(30)
        self.driver.set_script_timeout(10)
        self._said: list[str] = []

    def close(self) -> None:
        self.driver.quit()

    def look(self, width: int = 1280, height: int = 800, *, dark: bool = False) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 700}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def open(self, path: str) -> None:
        """Load a page. Repeat it if Chromium cut its connections, as it does when Docker adds a network interface."""
        url = self.site.url + path
        for _ in range(10):
            if "#" in path:  # another #L… of an open page would not load it; an empty page costs a renderer, 0.2 s
                self.driver.get("about:blank")
            self.complaints()
            try:
                self.driver.get(url)
            except WebDriverException as error:
                if NETWORK_CHANGED not in str(error.msg):
                    raise
                continue
            if self.run(FAILED):  # of which the shell raises nothing
                continue
            self._said = self._read_console()
            if not any(NETWORK_CHANGED in message for message in self._said):
                return
        raise AssertionError(f"{path} could not be loaded: {self._read_console()}")

    def log_in(self) -> None:
        self.open("/login")
        self.find("#token").send_keys(self.site.demo.token)
        self.find(".primary").click()
        self.wait("document.querySelector('#projects') !== null")

    def wait_for_frames(self) -> None:
        """Wait until what scripts have changed is drawn."""
        self.driver.execute_async_script(FRAMES)

    def find(self, selector: str) -> Any:
        found = self.driver.find_element(By.CSS_SELECTOR, selector)
        found.selector = selector
        return found

    def run(self, script: str) -> Any:
        return self.driver.execute_script(script)

    def wait(self, condition: str, timeout: float = 60.0) -> Any:
        """Wait until a JavaScript expression is truthy, and return its value.

        A page notices after 40 s that its stream is dead, which Chromium does not always tell.
        """
        try:
            return wait_for(lambda: self._look(condition), timeout)
        except TimeoutError:
            raise TimeoutError(f"{condition} never came true at {self.driver.current_url}") from None

    def _look(self, condition: str) -> Any:
        """Look for a second. Load the page that a click led to again if Chromium cut its connection."""
        try:
            found = self.run(LOOK % condition)
        except TimeoutException:  # the page was left meanwhile, and the answer with it
            return None
        if not found and self.run(FAILED):
            with suppress(WebDriverException):  # cut again
                self.driver.refresh()
        return found

    def complaints(self) -> list[str]:
        """Return the violations and errors in the console since the last call, or since the page was opened."""
        said, self._said = self._said + self._read_console(), []
        return [message for message in said if NETWORK_CHANGED not in message]

    def _read_console(self) -> list[str]:
        entries = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def shot(self, path: Path) -> None:
        self.driver.save_screenshot(str(path))
