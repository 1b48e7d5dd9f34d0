"""Headless Chromium, and pages opened in it from disk."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mot_trl.traces.page import render

selenium = pytest.importorskip("selenium", reason="needs selenium: pip install selenium")
from selenium import webdriver  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1280,860",
]


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser that logs its console and all that it asks any server for."""
    browser, driver = (shutil.which(name) for name in ("chromium", "chromedriver"))
    if browser is None or driver is None:
        pytest.skip("needs Chromium: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chromium = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chromium
    chromium.quit()


@pytest.fixture
def open_page(chromium: Any, tmp_path: Path) -> Any:
    """Open a page of rows from disk; gives the browser, once it is ready."""

    def opened(rows: list[dict[str, Any]]) -> Any:
        path = tmp_path / "traces.html"
        path.write_text(render(rows, run="run", about={"strategy": "TopK(k=2)"}), encoding="utf-8")
        for log in ("browser", "performance"):
            chromium.get_log(log)
        chromium.get(path.as_uri())
        WebDriverWait(chromium, 20).until(
            lambda browser: browser.execute_script("return document.documentElement.dataset.ready === 'true'")
        )
        return chromium

    return opened
