"""The demo's pages on loopback, and a real browser that is logged in."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo import Demo, say
from flask import Flask
from instance import wait_for
from selenium import webdriver
from selenium.common import WebDriverException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from serving import Serving

from core.model import Execution
from web.http.app import create_app
from web.services.executions import lifecycle
from web.store import executions, logs
from web.store.db import Database, connect

QUIET = ("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
         "disable-component-update", "disable-sync", "disable-dev-shm-usage", "hide-scrollbars")  # fmt: skip
# With it Chromium ends its connections whenever an interface comes or goes, and Docker makes one per container.
NETWORK_CHANGED = "net::ERR_NETWORK_CHANGED"


@dataclass(frozen=True, kw_only=True)
class Site:
    """`say` is what the container of the live execution prints."""

    url: str
    demo: Demo
    app: Flask
    db: Database

    def say(self, text: str, stream: str = "stdout", execution: Execution | None = None) -> None:
        say(self.db, self.demo.config, execution or self.demo.live, self.demo.runner, stream, text.encode())
        self.app.extensions["pushmill"].announcer.wake(None)

    def preview(self, text: str) -> None:
        """The unfinished line of its standard output."""
        live, start = self.demo.live, logs.length(self.db, self.demo.live).acknowledged["stdout"]
        line = lifecycle.UnfinishedLine(stream="stdout", start=start, text=text)
        lifecycle.preview(self.db, self.demo.runner, live.uuid, self.now(live).attempt, line)
        self.app.extensions["pushmill"].announcer.wake(None)

    def hear(self, execution: Execution) -> None:
        """A heartbeat of its runner: the demo may be older than the lease."""
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


class Browser:
    """Chromium without a window. Every page it opens is as wide as asked, phones included."""

    site: Site

    def __init__(self, profile: Path, site: Site | None = None) -> None:
        if site is not None:
            self.site = site
        options = Options()
        options.binary_location = next(
            filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
        )
        for flag in QUIET:
            options.add_argument(f"--{flag}")
        options.add_argument(f"--user-data-dir={profile}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        self.driver.set_page_load_timeout(30)
        self._said: list[str] = []

    def close(self) -> None:
        self.driver.quit()

    def look(self, width: int = 1280, height: int = 800, *, dark: bool = False) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 700}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def open(self, path: str) -> None:
        """Load a page; again where Chromium cut its connections, as it does when Docker adds a network interface."""
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
            self._said = self._read_console()
            if not any(NETWORK_CHANGED in message for message in self._said):
                return
        raise AssertionError(f"{path} could not be loaded: {NETWORK_CHANGED}")

    def log_in(self) -> None:
        self.open("/login")
        self.find("#token").send_keys(self.site.demo.token)
        self.find(".primary").click()
        self.wait("document.querySelector('#projects') !== null")

    def find(self, selector: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def run(self, script: str) -> Any:
        return self.driver.execute_script(script)

    def wait(self, condition: str, timeout: float = 10.0) -> Any:
        """The value of a JavaScript expression once it is true."""
        try:
            return wait_for(lambda: self.run(f"return {condition}"), timeout, 0.05)
        except TimeoutError:
            raise TimeoutError(f"{condition} never came true at {self.driver.current_url}") from None

    def complaints(self) -> list[str]:
        """What the console says of violations and errors since the last call, or since the page was opened."""
        said, self._said = self._said + self._read_console(), []
        return [message for message in said if NETWORK_CHANGED not in message]

    def _read_console(self) -> list[str]:
        entries = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def shot(self, path: Path) -> None:
        self.driver.save_screenshot(str(path))
