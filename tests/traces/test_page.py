"""The page of traces in a real browser: it shows the right candidates, and hostile text does nothing."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from traces_rows import make_row, make_story

from mot_trl.traces.page import MAX_BYTES, render
from mot_trl.traces.phase_changes import phase_changes

pytest.importorskip("selenium", reason="needs selenium: pip install selenium")
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

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
        path.write_text(render(rows, run="run", metadata={"strategy": "TopK(k=2)"}), encoding="utf-8")
        for log in ("browser", "performance"):
            chromium.get_log(log)
        chromium.get(path.as_uri())
        WebDriverWait(chromium, 20).until(
            lambda browser: browser.execute_script("return document.documentElement.dataset.ready === 'true'")
        )
        return chromium

    return opened


HOSTILE = (
    "<script>window.hacked = 1</script>",
    "</script><script>window.hacked = 2</script>",
    '"onmouseover="window.hacked = 3',
    "<img src=x onerror='window.hacked = 4'>",
    "<!--<script>",
    "{{payload}}",
    "\u202egnisrever\u2066\u200f",
    "\u2028\u2029\x00\x1b[31m",
    "w" * 10_000,
)


def requests(browser: Any) -> list[str]:
    """Everything the page asked for, itself included."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    ]


def tokens(browser: Any, pane: int = 0) -> list[Any]:
    return browser.find_elements(By.CSS_SELECTOR, f'.pane[data-side="{pane}"] .t')


def tooltip(browser: Any) -> list[tuple[str, str]]:
    rows = browser.find_elements(By.CSS_SELECTOR, "#tip li")
    return [(row.find_element(By.TAG_NAME, "code").text, row.find_element(By.CLASS_NAME, "num").text) for row in rows]


def press(browser: Any, *keys: str) -> None:
    ActionChains(browser).send_keys(*keys).perform()


def titles(browser: Any) -> list[str]:
    return [title.text for title in browser.find_elements(By.CSS_SELECTOR, ".pane .title")]


def cards(browser: Any) -> int:
    return len(browser.find_elements(By.CSS_SELECTOR, "#list .card"))


MIXED = {"one": 0.25, " uno": 0.625, " eins": 0.125}


def test_turns_and_results_of_tools_are_marked(open_page: Any) -> None:
    row = make_row(
        tokens=["one", " call", "<b>3</b>", " two", " end"], mixtures={0: MIXED, 3: {" two": 0.5, "2": 0.5}}
    )
    row |= {"turns": [0, 0, -1, 1, 1], "thinking": [True, False, False, True, False]}
    row["phases"] = phase_changes(row["thinking"], row["forced"], row["turns"], cause="stop_text")
    browser = open_page([row])

    lines = [line.text for line in browser.find_elements(By.CSS_SELECTOR, ".pane .phase")]
    tokens(browser)[2].click()

    assert [line.partition(" ·")[0] for line in lines] == [
        "thinking closed by its tag",
        "results of tools",
        "turn 2 begins",
        "thinking closed by its tag",
    ]
    assert "turns 2" in browser.find_element(By.CSS_SELECTOR, ".pane .facts").text
    assert tokens(browser)[2].get_attribute("class").split()[:2] == ["t", "r"]
    assert "of a tool's result, not the model's own" in browser.find_element(By.ID, "tip").text
    assert "log-prob" not in browser.find_element(By.ID, "tip").text


def test_hovering_and_focusing_a_token_shows_its_candidates(open_page: Any) -> None:
    row = make_row(tokens=["one", " two", " three"], mixtures={0: MIXED}, closed_at=2)
    browser = open_page([row])

    ActionChains(browser).move_to_element(tokens(browser)[0]).perform()
    hovered = tooltip(browser), browser.find_element(By.CSS_SELECTOR, "#tip li.v code").text
    facts = browser.find_element(By.ID, "tip").text
    tokens(browser)[0].click()
    press(browser, Keys.ARROW_RIGHT)
    focused = tooltip(browser)
    press(browser, Keys.END)
    answer = browser.find_element(By.ID, "tip").text
    press(browser, Keys.ESCAPE)

    assert hovered == ([("␣uno", "63%"), ("one", "25%"), ("␣eins", "13%")], "one")
    assert "2.13 effective" in facts
    assert "not the heaviest" in facts
    assert "log-prob -1.50 · entropy 0.75 nats" in facts
    assert focused == [("␣two", "100%")]
    assert "␣three" in answer
    assert "ordinary token of the answer" in answer
    assert not browser.find_element(By.ID, "tip").is_displayed()


def test_walking_by_keyboard_keeps_the_candidates_in_view(open_page: Any) -> None:
    browser = open_page(make_story(1, 900, num_candidates=4))

    tokens(browser)[-1].click()
    press(browser, "p")
    wide = browser.execute_script("return document.activeElement.dataset.i")
    press(browser, *[Keys.ARROW_UP] * 12)
    time.sleep(0.3)
    above = browser.execute_script("return document.activeElement.dataset.i")
    tip = browser.find_element(By.ID, "tip")

    assert 0 < int(above) < int(wide) < 720, "p finds the last wide mixture, before the answer"
    assert tip.is_displayed()
    assert tip.text.startswith(f"token {above}")
    assert browser.execute_script(
        "const box = document.activeElement.getBoundingClientRect(); return box.top > 0 && box.bottom < innerHeight"
    )


def test_the_shade_grows_with_the_spread_and_the_boundary_is_marked(open_page: Any) -> None:
    mixtures = {0: {"one": 0.9, " uno": 0.1}, 1: {" two": 0.5, " duo": 0.5}}
    browser = open_page([make_row(tokens=["one", " two", " three", " four"], mixtures=mixtures, closed_at=3)])

    shades = browser.execute_script(
        "return [...document.querySelectorAll('.t')].map((t) => Number(t.style.getPropertyValue('--spread')))"
    )
    order = [node.text for node in browser.find_elements(By.CSS_SELECTOR, ".text > span")]

    assert 0 < shades[0] < shades[1]
    assert shades[2:] == [0, 0]
    assert order[3] == "thinking closed by its tag · token 3"
    assert order[4].strip() == "four"


def test_filters_leave_what_fits(open_page: Any) -> None:
    rows = [
        make_row(step=1, sample=0, prompt="Count to two.", reward=0.0),
        make_row(step=1, sample=1, prompt="Count to two.", reward=1.0),
        make_row(step=50, sample=0, prompt="Name a fruit.", reward=0.5, tokens=["pear"]),
        make_row(step=50, sample=1, prompt="Name a fruit.", reward=None, tokens=["plum"]),
    ]
    browser = open_page(rows)
    counted = {}

    def count(name: str) -> None:
        time.sleep(0.1)
        counted[name] = cards(browser), browser.find_element(By.ID, "count").text
        browser.find_element(By.ID, "clear").click()
        time.sleep(0.1)

    Select(browser.find_element(By.ID, "step")).select_by_value("50")
    count("step")
    Select(browser.find_element(By.ID, "prompt")).select_by_visible_text("Count to two.")
    count("prompt")
    browser.find_element(By.ID, "least").send_keys("0.5")
    count("reward")
    Select(browser.find_element(By.ID, "reward")).select_by_value("correct")
    browser.find_element(By.ID, "greatest").send_keys("0.2")
    count("correct")
    press(browser, "/")
    press(browser, "PLUM")
    count("search")
    Select(browser.find_element(By.ID, "step")).select_by_value("1")
    browser.find_element(By.ID, "text").send_keys("plum")
    nothing = browser.find_element(By.ID, "none").is_displayed()
    count("none")

    assert {name: number for name, (number, _) in counted.items()} == {
        "step": 2, "prompt": 2, "reward": 2, "correct": 1, "search": 1, "none": 0,
    }  # fmt: skip
    assert counted["step"][1] == "2 of 4 completions"
    assert nothing
    assert cards(browser) == 4


def test_two_completions_of_a_group_and_two_steps_stand_side_by_side(open_page: Any) -> None:
    rows = [make_row(step=step, sample=sample) for step in (1, 50) for sample in (0, 1)]
    browser = open_page(rows)

    press(browser, "c")
    group = titles(browser)
    press(browser, "]")
    steps = titles(browser)
    browser.find_element(By.ID, "compare").click()
    alone = titles(browser)
    item = browser.find_elements(By.CSS_SELECTOR, "#list li")[1]
    ActionChains(browser).move_to_element(item).click(item.find_element(By.CLASS_NAME, "beside")).perform()

    assert group == ["Step 1 train · group 0 · completion 0", "Step 1 train · group 0 · completion 1"]
    assert steps[0] == group[0]
    assert steps[1].startswith("Step 50 ")
    assert len(alone) == 1
    assert titles(browser) == [alone[0], group[1]]


@pytest.mark.parametrize("width", [1280, 420])
def test_long_prompts_push_nothing_out_of_the_window(width: int, open_page: Any) -> None:
    browser = open_page([make_row(prompt="Ahmed and Emily are having a contest. " * 20, sample=i) for i in range(2)])
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 860, "deviceScaleFactor": 1, "mobile": False}
    )

    wider = browser.execute_script(
        """document.getElementById("compare").click();
        document.getElementById("keys").click();
        return [document.documentElement, document.querySelector("nav"), ...document.querySelectorAll(".pane")]
          .filter((node) => node.scrollWidth > node.clientWidth).map((node) => node.tagName);"""
    )
    right = max(amount.rect["x"] + amount.rect["width"] for amount in browser.find_elements(By.CSS_SELECTOR, ".up"))
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    assert wider == []
    assert right <= width


def test_hostile_text_is_only_text(open_page: Any) -> None:
    mixtures = {index: {token: 0.5, HOSTILE[index - 1]: 0.5} for index, token in enumerate(HOSTILE)}
    rows = [
        make_row(prompt=prompt, tokens=list(HOSTILE), mixtures=mixtures, sample=i) for i, prompt in enumerate(HOSTILE)
    ]
    rows[0]["rewards"][0]["name"] = HOSTILE[0]
    browser = open_page(rows)
    source = render(rows, run=HOSTILE[1], metadata={"strategy": HOSTILE[0]})

    for token in tokens(browser):
        ActionChains(browser).move_to_element_with_offset(token, 0, 0).perform()
    press(browser, "c")
    browser.find_element(By.CSS_SELECTOR, ".pane summary").click()
    shown = "".join(token.get_attribute("textContent") for token in tokens(browser))

    assert browser.execute_script("return window.hacked") is None
    assert browser.find_elements(By.CSS_SELECTOR, "img, [onmouseover], [onerror]") == []
    assert len(browser.find_elements(By.TAG_NAME, "script")) == 2
    assert shown.startswith("".join(HOSTILE[:6]) + "⟨U+202E⟩gnisrever⟨U+2066⟩⟨U+200F⟩\u2028\u2029␀␛[31m")
    assert shown.endswith("w" * 10_000)
    assert source.count("<script") == 2
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    assert [entry for entry in browser.get_log("browser") if entry["level"] != "DEBUG"] == []
    assert all(url.startswith(("file:", "data:")) for url in requests(browser))


def test_the_page_may_not_reach_any_network(open_page: Any) -> None:
    browser = open_page([make_row()])
    assert [url.rsplit("/", 1)[-1] for url in requests(browser)] == ["traces.html"]

    tried = browser.execute_async_script(
        "const done = arguments[0]; fetch('http://127.0.0.1:9/').then(() => done('sent'), () => done('refused'));"
    )

    assert tried == "refused"
    assert any("Content Security Policy" in entry["message"] for entry in browser.get_log("browser"))


@pytest.mark.slow
def test_64_completions_of_1024_tokens_are_small_and_fluent(open_page: Any, tmp_path: Path) -> None:
    rows = make_story(64, 1024, num_candidates=8)
    page = render(rows, run="run", metadata={})
    assert len(page.encode()) < MAX_BYTES

    browser = open_page(rows)
    opening = browser.execute_script("return performance.now()")
    switching = browser.execute_script(
        """const start = performance.now();
        for (let turn = 0; turn < 10; turn++) {
          document.querySelectorAll("#list .card")[turn].click();
          document.body.getBoundingClientRect();
        }
        return (performance.now() - start) / 10;"""
    )
    walking = browser.execute_script(
        """const tokens = [...document.querySelectorAll(".t")], start = performance.now();
        for (const [at, token] of tokens.slice(0, 200).entries()) {
          token.dispatchEvent(new PointerEvent("pointerover", {bubbles: true, clientX: at}));
          const shown = document.querySelector("#tip h3").textContent;
          if (!shown.startsWith(`token ${at}`)) throw new Error(shown);
          document.getElementById("tip").getBoundingClientRect();
        }
        return (performance.now() - start) / 200;"""
    )
    filtering = browser.execute_script(
        """const start = performance.now(), text = document.getElementById("text");
        text.value = "apples"; text.dispatchEvent(new InputEvent("input", {bubbles: true}));
        document.body.getBoundingClientRect();
        return performance.now() - start;"""
    )
    print(f"{len(page) / 1e6:.1f} MB; ms: {opening:.0f} open, {switching:.0f} switch", end=", ")
    print(f"{walking:.1f} candidates, {filtering:.0f} filter")

    assert len(tokens(browser)) == 1024
    # A busy machine with two cores needs a tenth of these.
    assert opening < 8000
    assert switching < 500
    assert walking < 50
    assert filtering < 500


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_shade_is_readable_in_both_themes(theme: str, open_page: Any, tmp_path: Path) -> None:
    browser = open_page(make_story(16, 300, num_candidates=8))
    if browser.execute_script("return document.documentElement.dataset.theme") != theme:
        browser.find_element(By.ID, "theme").click()

    contrasts = browser.execute_script(CONTRASTS)
    browser.save_screenshot(str(tmp_path / f"{theme}.png"))

    assert len(contrasts) > 300
    assert min(contrasts) >= 4.5
    assert (tmp_path / f"{theme}.png").stat().st_size > 20_000


# Contrast, as WCAG 2 defines it, of tokens and labels against the color that is painted behind them.
CONTRASTS = """
const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
const over = (...colors) => {
  canvas.clearRect(0, 0, 1, 1);
  for (const color of colors) { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); }
  return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
};
const luminance = (rgb) => {
  const [r, g, b] = rgb.map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const paper = getComputedStyle(document.body).backgroundColor;
return [...document.querySelectorAll(".t, .facts, .facts b, #count, .phase, h1, #about")].map((node) => {
  const style = getComputedStyle(node), ground = over(paper, style.backgroundColor);
  const [high, low] = [luminance(over(style.color)), luminance(ground)].sort((a, b) => b - a);
  return (high + 0.05) / (low + 0.05);
});
"""
