"""The page in a real browser, without a network: it says no error, asks for nothing, and moves."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from jaxmia.attacks.references import nobody_else
from jaxmia.evaluation.exposure import count, exposures, levels, reach
from jaxmia.evaluation.posteriors import Shadows
from jaxmia.evaluation.summary import summarise
from jaxmia.metrics import rank, rank_all
from jaxmia.report import compare
from jaxmia.report.inputs import ReportInputs, Training
from jaxmia.report.write import report
from jaxmia.storage.files import write_bytes

HOSTILE = "</script><script>document.title='pwned'</script><img src=x onerror=alert(1)>"
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync",
    "--disable-component-update", *(("--no-sandbox",) if os.geteuid() == 0 else ()),
)  # fmt: skip
playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="no chromium; apt-get install chromium"),
    pytest.mark.xdist_group("browser"),
]


def material(T=16, N=500, seed=0):
    """A run of made-up models, some of whose examples are far more exposed than others."""
    rng = np.random.default_rng(seed)
    member = rng.random((T, N)) < 0.5
    shift = np.where(np.arange(N) % 25 == 0, rng.uniform(1, 5, N), 0.5)
    phi = (3 + rng.normal(size=(T, N)) + member * shift).astype(np.float32)
    ratio = shift * (phi - 3 - shift / 2)
    scores = {"lira_online": ratio, HOSTILE: phi.astype(float), "noise": rng.normal(size=(T, N))}
    about = {
        "experiment": {"name": HOSTILE, "device": "1 x cpu", "data": HOSTILE},
        "train_accuracy": 0.9, "test_accuracy": 0.8, "generalization_gap": 0.1, "diverged": [3],
        "models_per_hour": 100.0, "command": f"python -m mine --data '{HOSTILE}'",
    }  # fmt: skip
    shadows = Shadows(rank_all(scores, member), member, nobody_else(T))
    summary = summarise(rank_all(scores, member), member, queries=1, about=about, shadows=shadows)
    at = {"auc": 0.6, "tpr_at_fpr": {"0.001": 0.1}}
    summary["curve"] = [{"references": n, "attacks": {HOSTILE: at}} for n in (2, 6, 14)]
    loss = np.exp(-np.arange(5.0)) * (1 + rng.random((T, 5)))
    inputs = ReportInputs(
        y=(np.arange(N) % 4).astype(np.int32), names=(HOSTILE, "b", "c", "d"), reference=phi,
        reference_member=member, leave_out=nobody_else(T),
        training=Training(loss, 1 - loss / 4, 0.8, (3,)),
        x=rng.integers(0, 255, (N, 6, 6)).astype(np.uint8),
    )  # fmt: skip
    return scores, member, phi, summary, inputs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("page")
    scores, member, *rest = material()
    report(out, rank_all(scores, member), member, *rest)
    return out


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=BROWSER, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium):
    """Opens a file in a fresh context; whatever it complains of or asks for is kept."""
    contexts = []

    def go(file: Path, **settings):
        context = chromium.new_context(offline=True, **settings)
        contexts.append(context)
        tab = context.new_page()
        tab.said = []
        tab.on("console", lambda m: tab.said.append(m.text))
        tab.on("pageerror", lambda e: tab.said.append(str(e)))
        tab.on("dialog", lambda d: (tab.said.append("a dialog"), d.dismiss()))
        tab.on("request", lambda r: tab.said.append(r.url) if r.url[:5] != "data:" else None)
        tab.goto(file.as_uri())
        assert tab.said == [file.as_uri()]  # the page itself, and nothing else
        tab.said.clear()
        return tab

    yield go
    for context in contexts:
        context.close()


def test_no_error_no_request_and_hostile_names_stay_text(folder, opened):
    tab = opened(folder / "index.html")
    tab.wait_for_timeout(100)
    assert tab.said == [] and "pwned" not in tab.title().split(":")[0][:5]
    assert tab.locator("script").count() == 2 and tab.locator("img[src=x]").count() == 0
    assert HOSTILE[:40] in tab.inner_text("#attacks")
    assert "onerror" in tab.inner_text("pre >> nth=0")
    assert HOSTILE[:20] in tab.locator(".keys").first.inner_text()
    assert tab.evaluate("document.title").startswith("</script>")


def number(text):
    return float(text.replace("\u00a0", " ").removesuffix(" %"))


def test_the_slider_moves_every_number(folder, opened):
    tab = opened(folder / "index.html")
    scores, member, *_ = material()
    score = scores["lira_online"]
    curve = count(rank_all({"x": score}, member))["x"]
    at = levels(int(curve.fp[-1]))
    places = {
        name: tab.locator(what)
        for name, what in {
            "tpr": "h1 [data-tpr]", "words": "[data-words]", "half": "[data-half]",
            "row": "#attacks tr[data-key='0'] [data-moving] b", "gallery": "#gallery",
            "most": "#most tbody", "level": "#level-words",
        }.items()
    }  # fmt: skip
    marks = {
        "line": "document.querySelector('[data-chart=roc] .level').getAttribute('x1')",
        "bars": "document.querySelector('[data-chart=exposure] .line').getAttribute('d')",
        "classes": "document.querySelector('[data-chart=classes] circle').getAttribute('cx')",
        "cloud": "[...document.querySelectorAll('[data-chart=memory] .cloud')]"
        ".map(e => e.getAttribute('d')).join()",
    }

    def look():
        return {k: v.inner_text() for k, v in places.items()} | {
            k: tab.evaluate(v) for k, v in marks.items()
        }

    before = look()
    tab.focus("#level")
    states = []
    for i, level in enumerate(at):
        tab.evaluate(
            "i => { const s = document.getElementById('level'); s.value = i;"
            " s.dispatchEvent(new Event('input')); }", i,
        )  # fmt: skip
        (want,) = reach(curve, [level]).tpr
        now = look()
        assert number(now["tpr"]) == number(now["row"]) == round(100 * want, 2)
        assert number(now["level"]) == pytest.approx(100 * level)
        exposed = exposures(rank(score, member), reach(curve, [level]).threshold)[0]
        first = int(exposed.order()[0])
        row = now["most"].split("\n")[0].split("\t")
        assert row[1] == str(first) and row[3] == str(exposed.hits[first])
        assert row[6] == f"{exposed.alarms[first]} of {exposed.others[first]}"
        states.append(now)
    assert tab.said == []
    for key in before:
        assert len({s[key] for s in states}) > 1, key
    tab.keyboard.press("Home")
    assert tab.locator("[data-words]").inner_text().startswith("may not be wrong once in")


def test_the_page_of_one_target_moves_from_no_false_alarm_on(tmp_path, opened):
    scores, member, *_ = material()
    ranked = rank_all({k: v[:1] for k, v in scores.items()}, member[:1])
    summary = summarise(ranked, member[:1], queries=1, about={})
    report(tmp_path, ranked, member[:1], None, summary)
    tab = opened(tmp_path / "index.html")
    others = int((~member[0]).sum())
    cell = tab.locator("#attacks tr[data-key='0'] [data-moving] small")
    dot = "document.querySelector('[data-chart=roc] .level ~ .dots circle').getAttribute"
    assert tab.inner_text("#level-words") == f"0 of {others}"
    assert f"at no false alarm among {others} (FPR ≤" in tab.inner_text(".interval")
    assert (
        cell.inner_text() == "no false alarm" and tab.evaluate(dot + "('visibility')") == "hidden"
    )
    tab.locator("[data-chart=roc]").hover(position={"x": 100, "y": 100})
    assert "too few non-members" in tab.locator("#tip").inner_text()
    tab.focus("#level")
    tab.keyboard.press("End")
    assert tab.inner_text("#level-words") == "10\u00a0%" and "–" in cell.inner_text()
    assert "95 % interval" in tab.inner_text(".interval") and tab.said == []
    assert tab.evaluate(dot + "('visibility')") == "visible"


def test_the_pointer_reads_the_curve_and_finds_the_example(folder, opened):
    tab = opened(folder / "index.html")
    tab.locator("[data-chart=roc]").hover(position={"x": 200, "y": 100})
    tip = tab.locator("#tip")
    assert "false alarms" in tip.inner_text() and "lira_online" in tip.inner_text()
    tab.locator("[data-chart=memory]").scroll_into_view_if_needed()
    dot = tab.locator("[data-chart=memory] .dots.hot").bounding_box()
    assert dot is not None
    hit = False
    for step in range(30):  # across the cloud of the most exposed
        tab.mouse.move(dot["x"] + dot["width"] * step / 30, dot["y"] + dot["height"] / 2)
        if hit := tip.is_visible() and "example" in tip.inner_text():
            break
    assert hit and "found in" in tip.inner_text()
    number_ = tip.inner_text().split()[1]
    assert number_ in tab.inner_text("#example")
    tab.locator("#most tr[data-example]").nth(3).hover()
    assert "found in" in tab.inner_text("#example") and tab.said == []


def test_a_row_brings_out_its_curve(folder, opened):
    tab = opened(folder / "index.html")
    tab.locator("#attacks tr[data-key='2'] th").hover()
    on = "document.querySelectorAll('[data-chart=roc] .series.on').length"
    assert tab.evaluate(on) == 1
    tab.mouse.move(2, 2)
    assert tab.evaluate(on) == 0
    tab.locator(".keys li[data-key='1']").first.focus()  # and so does the keyboard
    assert tab.evaluate(on) == 1


def test_the_table_sorts_by_keyboard_and_pointer(folder, opened):
    tab = opened(folder / "index.html")
    column = tab.locator("#attacks thead th").nth(5)  # AUC
    column.locator("button").press("Enter")
    assert column.get_attribute("aria-sort") == "descending"
    values = tab.evaluate(
        "[...document.querySelectorAll('#attacks tbody tr')].map(r => +r.cells[5].dataset.value)"
    )
    assert values == sorted(values, reverse=True)
    column.locator("button").click()
    assert column.get_attribute("aria-sort") == "ascending"
    values = tab.evaluate(
        "[...document.querySelectorAll('#attacks tbody tr')].map(r => +r.cells[5].dataset.value)"
    )
    assert values == sorted(values)


def test_without_scripts_it_is_a_static_page(folder, opened):
    with_script = opened(folder / "index.html")
    tab = opened(folder / "index.html", java_script_enabled=False)
    assert not tab.locator(".dial").is_visible()
    assert tab.locator("svg.chart").count() >= 10
    for what in ("h1", "#most tbody"):
        assert tab.inner_text(what) == with_script.inner_text(what)
    assert tab.locator("[data-chart=roc] .dots circle").count() > 0


@pytest.mark.parametrize("width", [390, 820, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_can_be_read(folder, opened, width, scheme):
    settings = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
    tab = opened(folder / "index.html", **settings)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    worst = tab.evaluate(CONTRAST)
    assert worst[0] >= 4.5, worst
    small = tab.evaluate(
        "Math.min(...[...document.querySelectorAll('svg.chart text')].map(t =>"
        " t.getBoundingClientRect().height))"
    )
    assert small >= 9  # pixels, of the smallest words in a chart


CONTRAST = """(() => {
  const rgb = c => c.match(/[\\d.]+/g).map(Number);
  const light = c => { const [r, g, b] = c.map(v => { v /= 255;
    return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = e => { for (; e; e = e.parentElement) {
    const c = rgb(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; }
    return [255, 255, 255]; };
  let worst = [99, ''];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.getClientRects().length || e.closest('script')) continue;
    const style = getComputedStyle(e), svg = e.namespaceURI.endsWith('svg');
    const a = light(rgb(svg ? style.fill : style.color).slice(0, 3));
    const b = light(behind(svg ? e.closest('.panel') || e : e).slice(0, 3));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < worst[0]) worst = [ratio, e.className.baseVal || e.className, e.textContent];
  }
  return worst; })()"""


def test_everything_has_a_name_for_those_who_do_not_see_it(folder, opened):
    tab = opened(folder / "index.html")
    for chart in tab.locator("svg.chart").all():
        assert chart.get_attribute("role") == "img"
        assert len(chart.get_attribute("aria-label") or "") > 40
    for image in tab.locator("img").all():
        assert image.get_attribute("alt")
    complete = tab.evaluate(
        "[...document.querySelectorAll('input, button, [tabindex]')].every(e =>"
        " e.textContent.trim() || e.labels?.length || e.getAttribute('aria-label'))"
    )
    assert complete
    levels = tab.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(h => +h.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
    assert tab.evaluate("document.documentElement.lang") == "en"


def test_it_prints(folder, opened):
    tab = opened(folder / "index.html", color_scheme="dark")
    tab.emulate_media(media="print")
    assert not tab.locator(".dial").is_visible()
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert len(tab.pdf(format="A4")) > 20_000


def test_a_comparison_moves_too(tmp_path, opened):
    runs = []
    for seed, name in enumerate((HOSTILE, "second")):
        scores, member, phi, summary, _ = material(seed=seed)
        curves = count(rank_all(scores, member))
        runs.append(compare.RunResults(name, summary, curves, phi, member))
    of = compare.look(runs)
    charts = compare.draw(of, runs)
    write_bytes(tmp_path / "index.html", compare.page(of, charts, runs).encode())
    tab = opened(tmp_path / "index.html")
    before = tab.inner_text("#attacks")
    tab.focus("#level")
    tab.keyboard.press("End")
    assert tab.inner_text("#attacks") != before and tab.said == []
    assert tab.locator("script").count() == 2
    assert tab.evaluate("document.documentElement.scrollWidth") <= 1280
