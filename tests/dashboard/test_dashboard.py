"""The control plane's page, in a headless Chromium.

Every test of the `page` fixture also holds the page to this: nothing is asked of another origin, and the browser has
no error to report, which includes what the page's Content-Security-Policy forbids.
"""
import json
import os
import re
import threading
import time

import pytest

from scenarios import wait_until

PROMPT = 2.0            # seconds within which the page must tell of a change
# A sanitized server, or a machine that does other things too, is slower.
SLACK = 4.0 if os.environ.get("SANITIZERS") else 0.0


def pool(server, name):
    return next(p for p in json.loads(server.ask_control("/pools")[1]) if p["name"] == name)


def patch(server, name, **sizes):
    import http.client
    c = http.client.HTTPConnection("127.0.0.1", server.control)
    c.request("PATCH", f"/pools/{name}", json.dumps(sizes), {"Content-Type": "application/json"})
    assert c.getresponse().status == 200
    c.close()


def of_pool(name, selector):
    return f"document.querySelector('#pools > [data-key=\"{name}\"] {selector}')"


def focus(page, expression):
    page.run(f"({expression}).focus()")


# ---- what it shows

def test_a_pools_state_is_shown_within_two_seconds(page):
    value = of_pool("second", "[data-size=threads] input[type=number]") + ".value"
    page.wait(f"{value} === '8'")
    patch(page.server, "second", threads=11, queue=77)
    took = page.wait(f"{value} === '11' && " + of_pool("second", "[data-size=queue] input[type=range]") +
                        ".value === '77'")
    assert took < PROMPT + SLACK
    held = page.server.client().send(b"GET /one?ms=2500 HTTP/1.1\r\nHost: x\r\n\r\n")
    took = page.wait(of_pool("one", ".facts") + ".textContent.includes('1 busy')")
    assert took < PROMPT + SLACK
    assert held.reply().status == 200


def test_a_slider_resizes_a_pool(page):
    """By the keyboard, as a mouse would: the slider moves, the pool follows, and the page says so."""
    slider = of_pool("second", "[data-size=threads] input[type=range]")
    page.wait(f"{slider}.value === '8'")
    focus(page, slider)
    for _ in range(3):
        page.press("ArrowRight")
    wait_until(lambda: pool(page.server, "second")["limit"] == 11, PROMPT + SLACK)
    page.wait(of_pool("second", ".said") + ".textContent.includes('threads set to 11')")
    assert page.run(of_pool("second", "[data-size=threads] input[type=number]") + ".value") == "11"
    page.server.wait_log(r'second.*11')


def test_a_number_resizes_a_pool_and_a_wrong_one_does_not(page):
    number = of_pool("third", "[data-size=queue] input[type=number]")
    page.wait(f"{number}.value !== ''")
    page.run(f"{number}.select()")
    focus(page, number)
    page.call("Input.insertText", text="321")
    page.press("Enter")
    wait_until(lambda: pool(page.server, "third")["queue"] == 321, PROMPT + SLACK)
    page.run(f"{number}.select()")
    page.call("Input.insertText", text="0")
    page.press("Enter")
    page.wait(of_pool("third", ".said.bad") + "?.textContent.includes('from 1 to 10000000')")
    assert pool(page.server, "third")["queue"] == 321
    page.press("Escape")
    assert page.run(f"{number}.value") == "321"


@pytest.mark.parametrize("page", [("--model", "wsgi-sync")], indirect=True)
def test_a_pool_of_one_size_has_no_sliders_and_says_why(page):
    page.wait(of_pool("default", ".said") + "?.textContent.startsWith('1 thread: the server runs --model wsgi-sync, ')")
    assert page.run("[...document.querySelectorAll('#pools > *')].map(e => e.dataset.key).join()") == "default"
    shown = "[...document.querySelectorAll('#pools .sizer, #pools .sizer input')].filter(e => e.offsetParent).length"
    assert page.run(shown) == 0
    held = page.server.client().send(b"GET /one?ms=2500 HTTP/1.1\r\nHost: x\r\n\r\n")
    page.wait(of_pool("default", ".facts") + ".textContent.includes('1 busy')")
    assert held.reply().status == 200


def test_a_stall_is_shown_with_its_route_and_stack_within_two_seconds(page):
    started = time.monotonic()
    thread = threading.Thread(target=page.server.ask, args=("/a/block?ms=300",))
    thread.start()
    page.wait("document.querySelector('#stall h3')?.textContent === 'GET /a/block'")
    assert time.monotonic() - started < PROMPT + SLACK
    thread.join()
    page.wait("document.querySelector('#stall-list .cause').textContent === 'blocked'")
    if not os.environ.get("SANITIZERS"):
        stack = page.run("document.querySelector('#stall .stack').textContent")
        assert re.search(r"\bblock\b", stack), stack
    page.wait("document.querySelector('#stall .facts').textContent.includes('sleep')")
    row = "[...document.querySelectorAll('#routes tbody tr')].find(r => r.textContent.startsWith('GET /a/block'))"
    page.wait(f"{row}?.querySelector('[data-name=Stalls]').textContent === '1'")


ROW = """[...document.querySelectorAll('#stall-list li')].find(li =>
    li.querySelector('.cause').textContent === '{cause}' && li.querySelector('.more').textContent.{more})"""
STARVED = ROW.format(cause="starved", more="startsWith('db: 2 of 2 threads busy, 2 requests wait')")
HANGS = ROW.format(cause="blocked", more="includes('pool db')")


def test_a_pool_that_starves_and_a_worker_that_hangs_say_so(hanging):
    hanging.wait(STARVED)
    assert hanging.run(f"({STARVED}).querySelector('.name').textContent") == "pool db"
    hanging.run(f"({STARVED}).querySelector('button').click()")
    assert hanging.run("document.querySelector('#stall h3').textContent") == "pool db"
    [told] = [s["text"] for s in json.loads(hanging.server.ask_control("/stalls")[1]) if s["kind"] == "pool"]
    assert re.search(r": 2 in read\(fd \d+, \S+\) for GET /gate$", told), told
    facts = "document.querySelector('#stall .facts').textContent"
    hanging.wait(f"/Starved\\S+ .*and still is.* for GET \\/gate$/.test({facts})")
    assert "stack" not in hanging.run("document.querySelector('#stall').textContent")
    hanging.wait(HANGS)
    assert hanging.run(f"({HANGS}).querySelector('.name').textContent") == "GET /gate"
    hanging.run(f"({HANGS}).querySelector('button').click()")
    assert "a thread of pool db" in hanging.run(facts)


def test_what_holds_no_loop_is_no_lag_of_one(hanging):
    hanging.wait("document.querySelectorAll('#stall-list li').length >= 2")
    hanging.wait("document.querySelector('#tile-flight .figure').textContent === '4' && "
                 "document.querySelector('#tile-lag .unit').textContent === '99th percentile'")
    longest = """import('/dashboard/stalls.js').then(s => s.longestLag({{ le: [1, Infinity], n: [0, 0], count: 0 }},
        [{{ id: -1, kind: '{kind}', ongoing: true, ms: 4000 }}]))"""
    assert [hanging.run(longest.format(kind=kind)) for kind in ("loop", "worker", "pool")] == [4, None, None]


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_the_list_of_stalls_tells_their_cause_at_any_width(hanging, width):
    hanging.size(width, 740, mobile=width < 768)
    for row in (STARVED, HANGS):
        hanging.wait(row)
        for part in ("name", "cause", "ms", "more"):
            left, right, high = hanging.run(f"""(e => {{ const r = e.getBoundingClientRect();
                return [r.left, r.right, r.height]; }})(({row}).querySelector('.{part}'))""")
            assert 0 <= left < right <= width and high > 0, (part, left, right, high)
    assert hanging.run("document.documentElement.scrollWidth") == width
    assert hanging.run("(list => list.scrollWidth - list.clientWidth)(document.getElementById('stall-list'))") == 0
    assert hanging.run(CONTRAST) == []


def test_advice_is_shown_with_its_evidence_and_remedy(page):
    page.wait("document.querySelector('#advice-list .evidence').textContent.startsWith('None')")
    for _ in range(6):      # one more or two than it takes: a machine that stands still hides who it was
        assert page.server.ask("/a/block?ms=30")[0] == 200
    page.wait("document.querySelector('#advice-list .subject').textContent === 'GET /a/block'")
    page.wait("document.querySelector('#advice-list .remedy').textContent.includes('.sync')")
    assert "held loop" in page.run("document.querySelector('#advice-list .evidence').textContent")


def test_requests_and_latencies_are_shown_by_lane(page):
    stop = threading.Event()

    def ask(path):
        while not stop.is_set():
            assert page.server.ask(path)[0] == 200
    threads = [threading.Thread(target=ask, args=(p,)) for p in ("/a/text", "/s/block?ms=3")]
    for t in threads:
        t.start()
    try:
        values = "[...document.querySelectorAll('#chart-rate .value')].map(v => parseFloat(v.textContent))"
        page.wait(f"(v => v[0] > 0 && v[1] > 0)({values})")
        page.wait("document.querySelectorAll('#chart-latency .value')[2].textContent.includes('ms')")
        page.wait("parseFloat(document.querySelector('#tile-rate .figure').textContent) > 0")
        page.wait("document.querySelectorAll('#routes tbody tr').length >= 2")
    finally:
        stop.set()
        for t in threads:
            t.join()


def test_what_an_app_calls_its_routes_is_text(page):
    page.run("""import('/dashboard/figures.js').then(f => { window.figures = f; })""")
    labels = page.run("""figures.snapshot('offloop_x{route="/a\\\\"b\\\\\\\\n<b>",lane="}"} 3\\n', 0)
        .samples.get('offloop_x')[0]""")
    assert labels == {"labels": {"route": "/a\"b\\n<b>", "lane": "}"}, "value": 3}


def test_quantiles_are_told_as_far_as_they_are_known(page):
    page.run("""import('/dashboard/figures.js').then(f => { window.figures = f; })""")
    q = "figures.quantile({{le: [1, 2, 4, Infinity], n: {n}, count: {c}}}, {q})"
    assert page.run(q.format(n="[0, 0, 0, 0]", c=0, q=0.5)) is None
    assert page.run(q.format(n="[4, 4, 4, 4]", c=4, q=0.5)) == {"value": 1, "bound": "<"}
    assert page.run(q.format(n="[0, 4, 4, 4]", c=4, q=0.5)) == {"value": 1.5, "bound": ""}
    assert page.run(q.format(n="[0, 0, 0, 4]", c=4, q=0.5)) == {"value": 4, "bound": ">"}
    q = q.replace("quantile", "atMost")
    assert page.run(q.format(n="[0, 0, 0, 0]", c=0, q=0.5)) is None
    assert page.run(q.format(n="[4, 4, 4, 4]", c=4, q=0.5)) == {"value": 1, "bound": "<"}
    assert page.run(q.format(n="[0, 4, 4, 4]", c=4, q=0.5)) == {"value": 2, "bound": "<"}
    assert page.run(q.format(n="[0, 0, 0, 4]", c=4, q=0.5)) == {"value": 4, "bound": ">"}


def test_tiles_and_tables_tell_no_digits_that_nobody_has_measured(page):
    assert page.server.ask("/a/block?ms=300")[0] == 200
    for name in ("p50", "p99", "lag"):
        page.wait(f"/^[<>] \\d/.test(document.querySelector('#tile-{name} .figure').textContent)")
    for name in ("p50", "p99", "Hold, p99", "longest"):
        page.wait(f"""[...document.querySelectorAll('#routes td[data-name="{name}"]')].some(td => /^[<>] \\d/.test(td.textContent))""")


def test_how_busy_a_loop_was_is_of_the_pages_own_time(page):
    page.run("""import('/dashboard/figures.js').then(f => { window.figures = f; })""")
    share = """figures.share(...[[1.9, 1.1], [1, 1]].map(([b, i], n) => figures.snapshot(
        `offloop_b{{loop="0"}} ${{b}}\\noffloop_i{{loop="0"}} ${{i}}\\n`, 1000 - 1000 * n)), {names}, {{loop: "0"}})"""
    assert abs(page.run(share.format(names='"offloop_b", "offloop_i"')) - 0.9) < 1e-9
    assert page.run(share.format(names='"offloop_x", "offloop_y"')) is None


# ---- how it behaves

def test_it_pauses_and_goes_on(page):
    button = "document.getElementById('pause')"
    focus(page, button)
    page.press("Enter")
    page.wait("document.getElementById('state').dataset.state === 'paused'")
    asked = len(page.requests)
    time.sleep(1.5)
    page.run("0")
    assert len(page.requests) == asked
    page.press("Enter")
    page.wait("document.getElementById('state').dataset.state === 'live'")


def test_a_lost_server_is_told_of_and_found_again(serve, browser):
    first = serve("testapp", "--loops", "1")
    address = f"127.0.0.1:{first.control}"
    browser.open(f"http://{address}/")
    state = "document.getElementById('state').dataset.state"
    browser.wait(f"{state} === 'live'")
    first.stop()
    browser.wait(f"{state} === 'lost'")
    assert "no answer since" in browser.run("document.getElementById('state').textContent")
    second = serve("testapp", "--loops", "1", "--control", address)
    browser.wait(f"{state} === 'live'")
    threads = of_pool("second", "[data-size=threads] input[type=number]") + ".value"
    browser.wait(f"{threads} === '8'")
    patch(second, "second", threads=11)
    browser.wait(f"{threads} === '11'")     # its cards are the new process's


def test_what_it_keeps_is_bounded(page):
    """Ten minutes of samples, at once: a chart keeps five and a half of them."""
    kept = page.run("""import('/dashboard/charts.js').then(({ Chart }) => {
        const figure = document.createElement('figure');
        figure.append(document.createElement('figcaption'));
        document.body.append(figure);
        const chart = new Chart(figure, [{ name: 'x', colour: '--async' }], String);
        for (let i = 0; i < 600; i++)
            chart.add(new Date(Date.now() - (600 - i) * 1000), [i]);
        const kept = chart.rows.length;
        chart.remove();
        return kept;
    })""")
    assert kept == 330


# ---- how it looks

CONTRAST = """(() => {
    const channel = v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const parse = text => text.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const behind = e => {
        for (; e; e = e.parentElement) {
            const c = parse(getComputedStyle(e).backgroundColor);
            if (c.length < 4 || c[3] > 0) return c;
        }
        return [255, 255, 255];
    };
    const bad = [];
    for (const e of document.querySelectorAll('body *')) {
        const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
        if (!own || !e.offsetParent || e.closest('[hidden], .skip')) continue;
        const a = light(parse(getComputedStyle(e).color)), b = light(behind(e));
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (contrast < 4.5) bad.push(`${e.tagName}.${e.className} "${e.textContent.slice(0, 30)}" ${contrast.toFixed(2)}`);
    }
    return bad;
})()"""


@pytest.mark.parametrize("dark", [False, True])
def test_text_can_be_read_in_both_themes(page, dark):
    page.dark(dark)
    page.server.ask("/a/block?ms=60")
    page.server.ask("/a/fail")
    page.wait("document.querySelector('#stall .stack, #stall .quiet')")
    page.wait("document.querySelectorAll('#routes tbody tr').length >= 2")
    page.wait("document.querySelector('#tile-errors').dataset.grade === 'bad'")
    assert page.run("getComputedStyle(document.documentElement).colorScheme") == ("dark" if dark else "light")
    assert page.run(CONTRAST) == []
    page.run("""(select => { select.value = 'light'; select.dispatchEvent(new Event('change')); })
        (document.getElementById('theme'))""")
    assert page.run("getComputedStyle(document.documentElement).colorScheme") == "light"
    page.run("localStorage.clear()")


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_it_fits_the_width_of_the_window(page, width):
    page.size(width, 740, mobile=width < 768)
    page.server.ask("/a/block?ms=60")
    page.server.ask("/s/params/" + "x" * 200 + "/1/2/z")
    page.wait("document.querySelectorAll('#routes tbody tr').length >= 2")
    page.wait("document.querySelector('#stall .facts')")
    assert page.run("document.documentElement.scrollWidth") == width
    beyond = page.run("""[...document.querySelectorAll('body *')].filter(e => e.offsetParent &&
        !e.closest('.scroll, .skip, .pool figcaption, #stall') && e.getBoundingClientRect().right > innerWidth + 1)
        .map(e => e.tagName + '.' + e.className)""")
    assert beyond == []


def test_nothing_jumps_while_figures_change(page):
    page.wait("document.querySelectorAll('#pools > *').length > 3")
    page.wait("document.querySelector('#chart-rate canvas, #chart-rate table')")
    places = """['chart-rate', 'advice', 'stalls', 'pools'].map(id =>
        Math.round(document.getElementById(id).getBoundingClientRect().top + scrollY)).join()"""
    before = page.run(places)
    stop = threading.Event()

    def ask():
        while not stop.is_set():
            page.server.ask("/one?ms=2")
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for t in threads:
        t.start()
    try:
        for _ in range(5):
            time.sleep(0.4)
            assert page.run(places) == before
    finally:
        stop.set()
        for t in threads:
            t.join()


def test_everything_can_be_reached_by_the_keyboard(page):
    page.wait("document.querySelectorAll('#pools > *').length > 3")
    page.run("document.body.tabIndex = -1; document.body.focus()")
    met = []
    for _ in range(60):
        page.press("Tab")
        met.append(page.run("(e => e.id || e.getAttribute('aria-label') || e.className || e.tagName)"
                            "(document.activeElement)"))
    for wanted in ("pause", "theme", "threads-default", "Threads of pool default", "stall"):
        assert wanted in met, met
    unnamed = page.run("""[...document.querySelectorAll('input, select, button')].filter(e => e.offsetParent && !(e.labels?.length ||
        e.getAttribute("aria-label") || e.textContent.trim())).map(e => e.outerHTML)""")
    assert unnamed == []


def test_a_chart_can_be_read_by_the_keyboard(page):
    if page.run("typeof Dygraph") == "undefined":
        pytest.skip("this build has tables, not charts")
    page.wait("document.querySelector('#chart-load canvas')")
    time.sleep(2.2)
    focus(page, "document.querySelector('#chart-load .plot')")
    page.press("ArrowLeft")
    assert " at " in page.run("document.querySelector('#chart-load .when').textContent")
    page.press("Escape")
    assert page.run("document.querySelector('#chart-load .when').textContent") == ""


def test_without_the_library_there_are_tables_and_a_reason(page):
    """As a build without dygraphs has it: the library's file is kept from the page."""
    if page.run("typeof Dygraph") != "undefined":
        page.call("Network.setBlockedURLs", urls=["*/dygraph.js"])
        try:
            page.open(f"http://127.0.0.1:{page.server.control}/")
            page.wait("document.querySelector('#chart-rate table td')?.textContent.length > 0")
        finally:
            page.call("Network.setBlockedURLs", urls=[])
        page.errors[:] = [e for e in page.errors if "dygraph.js" not in e]
    assert page.run("!document.getElementById('no-charts').hidden")
    page.wait("/^[\\d.]+ %$/.test(document.querySelector('#chart-load table td').textContent)")
