"""The HTML report in a real browser: what a reader sees, clicks and types."""

import time

import pytest
from selenium.webdriver.common.keys import Keys

import align
from tests.align import toy
from tests.align.reports import browser, samples
from tests.pairs import copy_weights, randomise


@pytest.fixture(scope="module")
def driver():
    driver = browser.start()
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def broken():
    """A real report on a real fault: a LayerNorm that adds 1e-5 where it should add 1e-12."""
    reference = randomise(toy.TorchNet())
    port = copy_weights(reference, toy.PaddleNet())
    port.block.norm._epsilon = 1e-5
    return align.compare(reference, port, toy.batch(), stages=("forward", "backward"))


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (browser.NARROW, "dark")])
def test_a_stranger_finds_the_fault_and_its_numbers(driver, broken, tmp_path, width, scheme):
    page = browser.Window(driver, broken, tmp_path, width, scheme)
    assert page.one("h1").text.endswith("No parity")
    assert page.one("#fault .module code").text == "block.norm"
    assert "eps is 1e-05 instead of 1e-12" in page.one("#fault .cause").text
    assert page.run("return document.querySelector('#fault').getBoundingClientRect().top") < 400
    assert page.fits()
    shots = [page.screenshot()]
    background = page.run("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) < 200) is (scheme == "dark")

    (guilty,) = page.all(".node.blamed")
    assert "at fault" in guilty.text
    cell = guilty.find_element("css selector", ".cell.culprit")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", cell)
    shots.append(page.screenshot())
    cell.click()
    assert "times the limit" in page.one("#inspector").text
    found = page.one("#table .row.found")
    assert found == driver.switch_to.active_element
    assert "block.norm:out" in found.text
    assert "differs" in found.text
    assert set(page.rows()) == {"block.norm:out", "block.norm@2:out"}
    shots.append(page.screenshot())

    page.one("#chip button").click()
    assert len(page.rows()) > 20
    page.one("#search").send_keys("softmax out")
    assert {name.partition(":")[0].partition("@")[0] for name in page.rows()} == {"block.mixer.softmax"}
    assert page.fits()
    assert len(set(shots)) == 3
    page.check_quiet()


def test_the_table_sorts_filters_and_grows_as_it_is_read(driver, tmp_path):
    report = samples.report(samples.forward([f"{samples.FAULTY}:out"], 180), modules=samples.modules(180))
    started = time.perf_counter()
    page = browser.Window(driver, report, tmp_path)
    assert len(report.stages[0].verdicts) > 2800
    assert len(page.all("#table .row")) < 400
    assert time.perf_counter() - started < 20
    page.one("[data-key=ratio] button").click()
    assert page.rows()[:2] == [f"{samples.FAULTY}:out"] * 2
    assert page.one("[data-key=ratio]").get_attribute("aria-sort") == "descending"
    chosen = "const sort = document.getElementById('sort'); return sort.options[sort.selectedIndex]?.text"
    orders = {}
    for key in ("stage", "probe", "max", "status", "name"):
        for _ in range(2):
            page.one(f"[data-key={key}] button").click()
            orders.setdefault(key, []).append(page.run(chosen))
        assert page.one(f"[data-key={key}]").get_attribute("aria-sort") in ("ascending", "descending")
    assert orders == {
        "stage": ["stage, first to last", "stage, last to first"],
        "probe": ["probe, A to Z", "probe, Z to A"],
        "max": ["difference, largest first", "difference, smallest first"],
        "status": ["status, differing first", "status, agreeing first"],
        "name": ["comparison, A to Z", "comparison, Z to A"],
    }
    assert page.rows() == sorted(page.rows(), reverse=True)
    page.run("sort.value = 'name'; sort.dispatchEvent(new Event('change'))")  # the list is shown in narrow windows
    assert page.rows() == sorted(page.rows())
    page.one("#only option[value=differ]").click()
    assert page.rows() == [f"{samples.FAULTY}:out"] * 2
    page.run("update({only: '', sort: ''}); jump(count - 1)")
    assert page.rows()[-1] == "head:out"
    page.one("#chip button").click()
    shown = len(page.rows())
    page.run("document.getElementById('more').scrollIntoView()")
    deadline = time.perf_counter() + 10
    while len(page.rows()) == shown and time.perf_counter() < deadline:
        time.sleep(0.05)
    assert len(page.rows()) > shown
    page.check_quiet()


def test_the_tree_opens_on_the_fault_and_obeys_the_keyboard(driver, tmp_path):
    page = browser.Window(driver, samples.broken(), tmp_path)
    names = [node.get_attribute("title") for node in page.all(".node .name")]
    assert samples.FAULTY in names
    page.run("document.querySelector(`.name[title='encoder']`).focus()")
    page.press(Keys.ARROW_LEFT)  # closes it
    assert samples.FAULTY not in [node.get_attribute("title") for node in page.all(".node .name")]
    assert "fault inside" in driver.switch_to.active_element.find_element("xpath", "../..").text
    page.press(Keys.ARROW_RIGHT)
    page.press(Keys.ARROW_RIGHT)
    assert "cell" in driver.switch_to.active_element.get_attribute("class")
    assert "encoder" in page.one("#inspector").text
    page.press(Keys.ARROW_LEFT)
    page.press(Keys.ENTER)
    assert {name.partition(".")[0].partition(":")[0] for name in page.rows()} == {"encoder"}
    assert driver.switch_to.active_element.get_attribute("id") == "comparisons-title"
    page.check_quiet()


def test_curves_and_histograms_are_drawn_and_read(driver, tmp_path):
    page = browser.Window(driver, samples.broken(), tmp_path, browser.NARROW)
    (figure,) = page.all("figure[data-curve]")
    assert "beyond its limit from update 12 on" in figure.find_element("tag name", "svg").get_attribute("aria-label")
    page.run("readable(arguments[0]); arguments[0].focus()", figure)
    page.press(Keys.ARROW_RIGHT)
    assert figure.find_element("class name", "reading").text == (
        "update 0: torch 3, paddle 3; difference 1.0e-15, allowed 9.0e-14"
    )
    assert len(page.all("figure.wrong .histogram path")) == 2
    assert "encoder.layer.2.key.weight" in page.one("figure.wrong").text
    assert page.fits()
    page.check_quiet()


def test_names_that_are_markup_stay_text(driver, tmp_path):
    page = browser.Window(driver, samples.nasty(), tmp_path, browser.NARROW)
    assert page.run("return window.pwned") is None
    assert page.all("img") == []
    assert "onerror='window.pwned=1'" in page.one("#fault .module").text
    assert any("{{7*7}}" in name for name in page.rows())
    page.one("#fault button").click()
    assert page.run("return window.pwned") is None
    assert page.fits()
    page.check_quiet()


@pytest.mark.parametrize("name", ["clean", "unfinished", "stopped"])
def test_every_report_opens_without_a_complaint(driver, tmp_path, name):
    page = browser.Window(driver, samples.ALL[name](), tmp_path)
    heading = {"clean": "✓ Parity", "unfinished": "– Unfinished", "stopped": "✗ No parity"}
    assert page.one("h1").text == heading[name]
    assert len(page.all(".stages > li")) == len(samples.ALL[name]().stages) + len(samples.ALL[name]().omitted)
    page.check_quiet()


PAPER = 717  # an A4 page between its margins


def test_on_paper_what_differs_comes_first_and_a_comparison_takes_a_line(driver, tmp_path):
    wrong = samples.forward([f"{samples.FAULTY}:out"], layers=12)
    page = browser.Window(driver, samples.report(wrong), tmp_path, PAPER)
    first = page.rows()[0]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    page.run("dispatchEvent(new Event('beforeprint'))")
    row = page.one("#table .row:not(.head)")
    assert page.rows()[0] == f"{samples.FAULTY}:out"
    assert "differs" in row.text
    assert row.size["height"] < 60  # a name and what it is; by itself on a phone it takes six lines
    assert page.one("#table .row.head").is_displayed()
    assert page.one("#printed").text == "Printed are 60 of them, those that differ first."
    assert page.fits()
    page.run("dispatchEvent(new Event('afterprint'))")
    assert page.rows()[0] == first
