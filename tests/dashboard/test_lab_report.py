"""The page of `offloop lab`, opened from a file in a headless Chromium: what it shows is what its JSON says.

Every test of the `lab` fixture also holds the page to this: it asks nothing of anybody, and the browser has no error to
report, which includes what the page's Content-Security-Policy forbids.
"""
import json
import math
import subprocess

import pytest

import lab_sample
from scenarios import program_path, wait_until

UNITS = {"memory_kb": 1 / 1024}
COLUMNS = {"latency": ("p50", "p90", "p99", "p99.9", "max"), "fast.latency": ("p50", "p99")}
KEYS = {"p50": "p50_ms", "p90": "p90_ms", "p99": "p99_ms", "p99.9": "p999_ms", "max": "max_ms"}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The report, and the page that was made of it."""
    folder = tmp_path_factory.mktemp("lab")
    report, source = lab_sample.report(), folder / "report.json"
    source.write_text(json.dumps(report), encoding="utf-8")
    subprocess.run([str(program_path("labpage")), str(source), str(folder / "report.html")], check=True, timeout=30)
    return report, folder / "report.html"


@pytest.fixture
def lab(written, browser):
    """The page, open; lab.report is what it was made of."""
    browser.report, path = written
    browser.size(1280, 900)
    browser.dark(False)
    browser.open(path.as_uri())
    browser.wait("document.documentElement.dataset.shown")
    yield browser
    browser.run("0")
    errors, asked = list(browser.errors), {u for u in browser.requests if not u.startswith("data:")}
    browser.open("about:blank")
    assert errors == []
    assert asked == {path.as_uri()}


def cells(report, status="measured"):
    return [c for c in report["cells"] if c["status"] == status]


def value_of(figures, key):
    for part in key.split("."):
        figures = figures.get(part) if figures else None
    return figures


def drawn(page, selector, what):
    """For each element: its plot, its workload, its data, and `what` of it."""
    return page.run(f"""[...document.querySelectorAll({json.dumps(selector)})].map(e => ({{
        plot: e.closest('[data-plot]').dataset.plot, workload: e.closest('section').dataset.workload,
        ...e.dataset, drawn: e.getAttribute('{what}')}}))""")


def test_the_limits_are_those_of_the_report(lab):
    said = lab.run("document.getElementById('limits').textContent")
    limits = lab.run("JSON.parse(document.getElementById('data').textContent).limits")
    assert limits["rate"]["yes"] > limits["rate"]["fair"] > 0
    for part in (f"at least {100 * limits['rate']['yes']:g} % of the best", f"over {limits['tail']} times the best one's",
                 f"at least {100 * limits['left']['yes']:g} % must be left, {100 * limits['left']['fair']:g} % for fair",
                 f"over {100 * limits['failed']:g} % of them no.", f"by less than {100 * limits['alike']:g} %"):
        assert part in said


def test_where_the_load_was_the_limit_that_is_said(lab):
    said = lab.run("""[...document.querySelectorAll('section.workload')].flatMap(s =>
        [...s.querySelectorAll('table.reasons tbody tr')].filter(tr => tr.textContent.includes('the load was the limit'))
            .map(tr => [s.dataset.workload, tr.querySelector('th').textContent]))""")
    assert said == [["trivial", "asgi"]]
    limits = lab.run("JSON.parse(document.getElementById('data').textContent).limits")
    assert f"busy for at least {100 * limits['load_busy']:g} %" in lab.run("document.getElementById('limits').textContent")


def test_fewer_idle_connections_than_asked_for_are_told_of(lab):
    assert "10,000 of the 20,000 asked for" in lab.run("document.getElementById('plan').textContent")


def test_every_cell_has_its_row_of_numbers(lab):
    rows = lab.run("""[...document.querySelectorAll('table.numbers tbody tr')].map(tr => [
        tr.closest('section').dataset.workload, tr.querySelector('th').textContent, tr.textContent])""")
    shown = {(workload, subject): text for workload, subject, text in rows}
    assert len(rows) == len(lab.report["cells"])
    for cell in lab.report["cells"]:
        text = shown[cell["workload"], cell["subject"]]
        if cell["status"] == "measured":
            assert f"{round(cell['median']['rps']):,}" in text or str(cell["median"]["rps"]) in text
        else:
            assert cell["why"] in text


def test_a_cell_that_was_not_measured_is_a_word_and_never_a_bar(lab):
    for cell in lab.report["cells"]:
        if cell["status"] == "measured":
            continue
        section = f"section[data-workload={json.dumps(cell['workload'])}]"
        subject = json.dumps(json.dumps(cell["subject"]))
        assert lab.run(f"document.querySelectorAll({json.dumps(section)} + ' [data-subject=' + {subject} + ']').length") == 0
        assert lab.run(f"document.querySelector({json.dumps(section + ' .absences')}).textContent").count(cell["why"]) == 1
    assert lab.run("document.querySelectorAll('svg .missing').length") > 0


def test_bars_are_as_long_as_the_numbers_say(lab):
    bars = drawn(lab, "rect.bar[data-value]", "width")
    expected = {(c["workload"], c["subject"], key): value_of(c["median"], key) * UNITS.get(key, 1)
                for c in cells(lab.report) for key in ("rps", "cpu_us", "memory_kb")
                if (c["workload"], key) != ("slow", "memory_kb")}
    seen, scales = set(), {}
    for bar in bars:
        key = bar["workload"], bar["subject"], bar["plot"]
        number = expected.get(key)
        if number is None:
            assert bar["plot"] == "fast.rps"
            number = value_of(next(c for c in cells(lab.report) if (c["workload"], c["subject"]) == key[:2])["median"],
                              "fast.rps")
        assert float(bar["value"]) == pytest.approx(number)
        scales.setdefault(key[::2], []).append((number, float(bar["drawn"].rstrip("%"))))
        seen.add(key)
    assert set(expected) <= seen
    for plot, pairs in scales.items():
        most = max(pairs)
        assert 40 < most[1] <= 100, plot
        for number, width in pairs:
            assert width == pytest.approx(number / most[0] * most[1], abs=0.01), plot


def test_a_plots_scale_is_what_its_axis_says(lab):
    """Each tick of a linear axis stands where a bar of its value would end."""
    plots = lab.run("""[...document.querySelectorAll('svg[data-plot=rps]')].map(plot => ({
        ticks: [...plot.querySelectorAll('.tick')].map(t => [t.textContent, parseFloat(t.getAttribute('x'))]),
        bars: [...plot.querySelectorAll('.bar')].map(b => [+b.dataset.value, parseFloat(b.getAttribute('width'))])}))""")
    assert len(plots) == len(lab.report["workloads"])
    for plot in plots:
        number, width = max(plot["bars"])
        for text, x in plot["ticks"]:
            tick = float(text.rstrip("kM")) * {"k": 1e3, "M": 1e6}.get(text[-1], 1)
            assert x == pytest.approx(tick / number * width, abs=0.05)


def test_marks_stand_where_the_logarithm_of_their_time_is(lab):
    marks = drawn(lab, "svg[data-percentile]", "x")
    by_cell = {(c["workload"], c["subject"]): c["median"] for c in cells(lab.report)}
    assert len([m for m in marks if m["plot"] == "latency"]) == 5 * len(by_cell)
    scales = {}
    for mark in marks:
        figures = by_cell[mark["workload"], mark["subject"]]
        figures = figures["fast"] if mark["plot"].startswith("fast") else figures
        assert mark["percentile"] in COLUMNS[mark["plot"]]
        assert float(mark["value"]) == pytest.approx(figures[KEYS[mark["percentile"]]])
        scales.setdefault((mark["workload"], mark["plot"]), []).append(
            (math.log10(float(mark["value"])), float(mark["drawn"].rstrip("%"))))
    for pairs in scales.values():
        (low, left), (high, right) = min(pairs), max(pairs)
        assert 0 <= left < right <= 100
        for number, x in pairs:
            assert x == pytest.approx(left + (number - low) / (high - low) * (right - left), abs=0.01)


def test_whiskers_reach_from_the_lowest_round_to_the_highest(lab):
    """And leave out rounds that were disturbed: the one of tornado is far below the others."""
    ends = lab.run("""(() => {
        const plot = document.querySelector('section[data-workload=trivial] svg[data-plot=rps]');
        const bar = plot.querySelector('.bar[data-subject=tornado]');
        const lines = [];
        for (let e = bar.nextElementSibling; e && e.matches('.whisker'); e = e.nextElementSibling)
            lines.push(parseFloat(e.getAttribute('x1')), parseFloat(e.getAttribute('x2')));
        return [+bar.dataset.value, parseFloat(bar.getAttribute('width')), Math.min(...lines), Math.max(...lines)];
    })()""")
    cell = next(c for c in cells(lab.report) if (c["workload"], c["subject"]) == ("trivial", "tornado"))
    clean = [r["rps"] for r in cell["rounds"] if not r["dirty"]]
    value, width, low, high = ends
    assert (low, high) == pytest.approx((min(clean) / value * width, max(clean) / value * width), abs=0.01)


def test_verdicts_are_shown_with_their_reasons(lab):
    verdicts = lab.run("JSON.parse(document.getElementById('data').textContent).verdicts")
    assert [v["workload"] for v in verdicts] == [w["name"] for w in lab.report["workloads"]]
    matrix = lab.run("""[...document.querySelectorAll('#matrix tbody tr')].map(tr =>
        [...tr.querySelectorAll('td')].map(td => td.textContent))""")
    for verdict, row in zip(verdicts, matrix):
        section = f"document.querySelector('section[data-workload={json.dumps(verdict['workload'])}]').textContent"
        text = lab.run(section)
        assert verdict["why"] in text
        for subject, shown in zip(lab.report["subjects"], row):
            if verdict["workload"] not in subject.get("workloads", [verdict["workload"]]):
                assert shown == "=" and subject["name"] not in verdict["reason"]
                continue
            assert ("?" in shown) == (subject["name"] in verdict["doubt"])
            assert verdict["reason"][subject["name"]] in text
            assert verdict["suits"].get(subject["name"], "–") in shown
            assert ("★" in shown) == (subject["name"] in verdict["best"])


def test_a_cell_that_is_not_to_be_trusted_is_marked(lab):
    """The sample has disturbed every round of wsgi's trivial cell, with which others of its cells are compared."""
    verdicts = lab.run("JSON.parse(document.getElementById('data').textContent).verdicts")
    doubt = {v["workload"]: v["doubt"] for v in verdicts}
    assert "wsgi" in doubt["trivial"] and "wsgi" in doubt["mixed"] and "wsgi" not in doubt["block10"]
    assert "hybrid" not in doubt["trivial"]
    chips = lab.run("[...document.querySelectorAll('#matrix .doubt')].map(e => [e.textContent, e.title])")
    assert len(chips) == sum(map(len, doubt.values()))
    assert all(text.endswith("?") and title.startswith("In doubt: ") for text, title in chips)


def test_the_conclusion_comes_first(lab):
    conclusion = lab.run("JSON.parse(document.getElementById('data').textContent).conclusion")
    lines = lab.run("""[...document.querySelectorAll('#conclusion dt')].map(dt =>
        [dt.textContent, dt.nextElementSibling.textContent])""")
    assert lines == [[line["for"], line["text"]] for line in conclusion]
    assert lab.run("document.querySelector('main section').contains(document.getElementById('conclusion'))")
    assert "hybrid+guard" in dict(lines)["A handler in the wrong lane"].split(";")[0]


def test_each_heading_of_the_matrix_leads_to_what_it_means(lab):
    heads = lab.run("""[...document.querySelectorAll('#matrix thead a')].map(a =>
        [a.textContent, a.title, document.querySelector(a.getAttribute('href')).querySelector('th').textContent])""")
    assert heads == [[s["name"], s["what"], s["name"]] for s in lab.report["subjects"]]


def test_who_is_asked_for_another_path_is_named(lab):
    text = lab.run("document.querySelector('section[data-workload=block10]').textContent")
    assert "tornado+offload: GET /offload10" in text


@pytest.mark.parametrize("workload", ["mixed", "slow", "wrong-lane"])
def test_what_verdicts_rest_on_is_in_sight(lab, workload):
    """The columns of the fast requests come first in a table that is wider than the page."""
    region = f"document.querySelector('section[data-workload={workload}] table.numbers')"
    head = f"[...{region}.querySelectorAll('th')].find(th => th.textContent === 'Fast: p99, ms').getBoundingClientRect().right"
    assert lab.run(head) < lab.run(f"{region}.parentElement.getBoundingClientRect().right")


def test_memory_that_is_not_compared_is_not_shown(lab):
    shown = lab.run("""[...document.querySelectorAll('section.workload')].map(s =>
        [s.dataset.workload, s.querySelector('svg[data-plot=memory_kb]') !== null])""")
    assert shown == [[w["name"], "no_memory" not in w] for w in lab.report["workloads"]]
    assert lab.run("document.querySelector('section[data-workload=slow]').textContent").count("Memory is not compared") == 1


def test_hostile_names_are_text(lab):
    assert lab.run("document.querySelectorAll('img, iframe, object, link[rel=stylesheet]').length") == 0
    assert lab.run("document.querySelectorAll('script').length") == 2
    heads = lab.run("[...document.querySelectorAll('#subjects tbody th')].map(th => th.textContent)")
    assert lab_sample.HOSTILE in heads
    assert lab.run("document.getElementById('command').textContent") == lab.report["command"]


def test_the_download_is_the_report(lab, tmp_path):
    lab.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    lab.run("document.getElementById('download').click()")
    wait_until(lambda: (tmp_path / "offloop-lab.json").exists(), 10)
    lab.requests[:] = [u for u in lab.requests if not u.startswith("blob:")]
    data = json.loads((tmp_path / "offloop-lab.json").read_text(encoding="utf-8"))
    del data["verdicts"], data["limits"], data["conclusion"]
    assert data == lab.report


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_sticks_out_of_the_page(lab, width):
    lab.size(width, 900, mobile=width < 768)
    assert lab.run("document.documentElement.scrollWidth") <= width
    # Texts of a plot's row do not run into each other.
    assert lab.run("""[...document.querySelectorAll('svg[data-plot] .name')].filter(name => {
        const figure = name.nextElementSibling.getBoundingClientRect();
        return name.getBoundingClientRect().right > figure.left; }).length""") == 0


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_from_what_is_behind_it(lab, dark):
    """Contrast as WCAG counts it: 4.5 for text, 3 for what is drawn."""
    lab.dark(dark)
    lab.run("""window.contrast = (a, b) => {
        const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
            .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const [x, y] = [light(a), light(b)].sort((m, n) => n - m);
        return (x + 0.05) / (y + 0.05); };
        window.behind = e => { for (; e; e = e.parentElement) {
            const c = getComputedStyle(e).backgroundColor; if (!/, 0\\)$/.test(c)) return c; } };0""")
    low = lab.run("""Math.min(...[...document.querySelectorAll('p, td, th, a, dt, dd, li, .grade, .spread, .hint')]
        .filter(e => e.textContent).map(e => contrast(getComputedStyle(e).color, behind(e))))""")
    assert low >= 4.5
    for selector, least in (("svg text", 4.5), ("svg .bar.model", 3), ("svg .bar.peer", 3), ("svg .whisker", 3)):
        what = "stroke" if "whisker" in selector else "fill"
        low = lab.run(f"""Math.min(...[...document.querySelectorAll({json.dumps(selector)})]
            .map(e => contrast(getComputedStyle(e).{what}, behind(e.closest('section')))))""")
        assert low >= least, selector


def test_the_tab_key_reaches_every_table_and_leaves_it(lab):
    regions = lab.run("document.querySelectorAll('.scroll').length")
    reached = set()
    for _ in range(400):
        lab.press("Tab")
        at = lab.run("(() => { const e = document.activeElement.closest('.scroll');"
                     "return e ? [...document.querySelectorAll('.scroll')].indexOf(e) : -1; })()")
        reached.add(at)
        if len(reached - {-1}) >= lab.run("[...document.querySelectorAll('.scroll')].filter(e => e.checkVisibility()).length"):
            break
    assert len(reached - {-1}) == lab.run(
        "[...document.querySelectorAll('.scroll')].filter(e => e.checkVisibility()).length") <= regions


def test_each_round_is_on_paper_too(lab):
    lab.run("dispatchEvent(new Event('beforeprint'))")
    assert lab.run("[...document.querySelectorAll('details')].every(d => d.open)")
    rounds = sum(len(c["rounds"]) for c in lab.report["cells"])
    assert lab.run("document.querySelectorAll('table.rounds tbody tr').length") == rounds
