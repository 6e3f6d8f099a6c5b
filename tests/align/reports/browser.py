"""A headless Chromium for the tests of the HTML report."""

import base64
import json
import os
import shutil
import struct
from pathlib import Path

import pytest

from align.files import write_text
from align.reports import html

REQUIRED = os.environ.get("PLUMBLINE_BROWSER") == "required"
NARROW = 360


def start():
    """A browser that writes down what its pages say and load; the test is skipped, or fails, where there is none."""
    found = {program: shutil.which(program) for program in ("chromium", "chromedriver")}
    missing = [program for program, path in found.items() if path is None]
    if missing:
        why = f"no {' and no '.join(missing)} here: `make browser` installs them (Debian)"
        if REQUIRED:
            pytest.fail(why)
        pytest.skip(why)
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = found["chromium"]
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=Service(found["chromedriver"]))


class Window:
    """One report, opened."""

    def __init__(self, driver, report, folder, width=1200, scheme="light"):
        self.driver = driver
        self.width = width
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width <= NARROW}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "screen", "features": media})
        self.file = Path(folder) / "report.html"
        write_text(self.file, html.render(report))
        self._loaded()  # forget the page before
        driver.get(self.file.as_uri())

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def one(self, selector):
        return self.driver.find_element("css selector", selector)

    def press(self, *keys):
        self.driver.switch_to.active_element.send_keys(*keys)

    def rows(self):
        """The names of the comparisons that the table shows."""
        script = """const isText = (node) => node.nodeType === Node.TEXT_NODE;
            return [...document.querySelectorAll("#table .row:not(.head) .name")].map(
                (name) => [...name.childNodes].filter(isText).map((node) => node.data))"""
        return ["".join(parts) for parts in self.run(script)]

    def fits(self):
        """Whether nothing is wider than the window."""
        return self.run("return document.documentElement.scrollWidth") <= self.width

    def screenshot(self):
        """The visible part as PNG; its size is checked to be that of the window."""
        shot = base64.b64decode(self.driver.execute_cdp_cmd("Page.captureScreenshot", {})["data"])
        assert struct.unpack(">II", shot[16:24]) == (self.width, 900)
        return shot

    def check_quiet(self):
        """Nothing went wrong on the page, and nothing was asked of a network."""
        assert self.driver.get_log("browser") == []
        assert [url for url in self._loaded() if not url.startswith(("file:", "data:"))] == []

    def _loaded(self):
        events = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
