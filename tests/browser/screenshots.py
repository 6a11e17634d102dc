"""Save pictures of the pages of the demo and of the README, at two widths, light and dark: `make screenshots`."""

from __future__ import annotations

import base64
import re
import sys
import tempfile
from pathlib import Path

from demo import fill
from demo_pages import every_page
from demo_site import Browser, Site, site

HIGHEST = 2400  # pixels
DRAWN = (
    "document.readyState === 'complete' && "
    "[...document.images].every(({ complete }) => complete) && "
    "[...document.querySelectorAll(':is(#charts, #resources) .plot')]"
    ".every((plot) => plot.getBoundingClientRect().top > innerHeight || plot.querySelector('canvas'))"
)


def name_of(path: str) -> str:
    """The name of a page's file, with short hashes of commits."""
    short = re.sub(r"[0-9a-f]{40}", lambda found: found[0][:8], path.lower())
    return re.sub(r"[^a-z0-9]+", "-", short).strip("-") or "home"


def take(browser: Browser, path: str, file: Path, *, height: int = 0) -> None:
    """Save a picture of a page, as high as the page up to HIGHEST unless it says how high; the suffix is the format."""
    browser.site.hear(browser.site.demo.live)
    browser.open(path)
    browser.run("document.querySelectorAll('img').forEach((image) => { image.loading = 'eager'; })")
    browser.wait(DRAWN, 30)
    browser.wait_for_frames()
    width, whole = browser.run("return [innerWidth, document.documentElement.scrollHeight]")
    clip = {"x": 0, "y": 0, "width": width, "height": height or min(whole, HIGHEST), "scale": 1}
    options = {"format": file.suffix[1:], "clip": clip, "captureBeyondViewport": True}
    file.write_bytes(base64.b64decode(browser.driver.execute_cdp_cmd("Page.captureScreenshot", options)["data"]))


def take_all(browser: Browser, shown: Site, folder: Path) -> None:
    demo, project = shown.demo, f"/p/{shown.demo.project.name}/"
    readme = {
        "execution": shown.page(demo.live), "task": f"{project}tasks/{demo.task.counter}/",
        "pipeline": f"{project}pipelines/{demo.pipeline.counter}/",
    }  # fmt: skip
    (folder / "readme").mkdir(parents=True, exist_ok=True)
    for width, dark in ((1280, False), (1280, True), (390, False), (390, True)):
        theme = "dark" if dark else "light"
        browser.look(width, 800, dark=dark)
        for path in every_page(shown):
            take(browser, path, folder / f"{name_of(path)}-{width}-{theme}.png")
        if width == 1280:
            for name, path in readme.items():
                take(browser, path, folder / "readme" / f"{name}-{theme}.webp", height=800)


def main(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="pushmill-demo-") as work, site(fill(Path(work) / "data")) as shown:
        browser = Browser(Path(work) / "profile", shown)
        try:
            browser.look()
            browser.log_in()
            take_all(browser, shown, folder)
        finally:
            browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
