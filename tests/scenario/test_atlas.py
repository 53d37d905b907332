"""The demo: its routes on the real data, and what becomes of it when the database does not want to."""
import concurrent.futures
import csv
import html.parser
import io
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import time

import pytest

import conftest

ISO = pathlib.Path("/usr/share/iso-codes/json")
TOO_LONG = "x" * 10_001


def iso(file, member):
    return json.loads((ISO / file).read_text())[member]


@pytest.fixture
def start(serve, tmp_path):
    """start(*args): an atlas on this test's folder."""
    return lambda *args, **kwargs: serve("atlas", "--data", tmp_path, "--loops", "2", *args, **kwargs)


@pytest.fixture
def atlas(start):
    return start()


def refused(tmp_path, *args):
    """What atlas says when it must not start."""
    done = subprocess.run(
        [conftest.program_path("atlas"), "--port", "0", "--control", "off", "--backend", conftest.BACKEND, "--data", tmp_path, *args],
        capture_output=True, text=True, timeout=conftest.PATIENCE, check=False, env={"PATH": os.environ["PATH"]})
    assert done.returncode == 1
    assert not conftest.SANITIZER.search(done.stderr), done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("atlas: ") and "on_start" not in line]
    assert len(said) == 1, done.stderr
    return said[0]


def post(server, path, **body):
    return server.ask(path, method="POST", body=json.dumps(body), headers={"Content-Type": "application/json"})


def add(server, text):
    status, headers, body = post(server, "/notes", text=text)
    assert status == 201
    note = json.loads(body)
    assert headers["Location"] == f"/notes/{note['id']}" and note["text"] == text
    return note


def names(server, path):
    status, rows = server.ask_json(path)
    assert status == 200
    return [row["name"] for row in rows]


# ---- countries, languages, subdivisions


def test_every_country_is_found_by_its_letters_in_any_case(atlas):
    connection = atlas.http()
    for want in iso("iso_3166-1.json", "3166-1"):
        for code in (want["alpha_2"], want["alpha_2"].lower()):
            connection.request("GET", "/countries/" + code)
            reply = connection.getresponse()
            got = json.loads(reply.read())
            assert reply.status == 200 and {k: v for k, v in got.items() if v is not None} == want
    connection.close()


@pytest.mark.parametrize("code", ["XX", "S", "SWE", "%C3%A5", "%5B%5B", "1A", "S%20"])
def test_a_country_that_is_none_is_404(atlas, code):
    assert atlas.ask_json("/countries/" + code) == (404, {"detail": "No country has this code"})


def test_countries_and_languages_are_searched_by_name_and_code(atlas):
    assert names(atlas, "/countries?q=LAND&limit=3") == ["Bouvet Island", "Cayman Islands", "Christmas Island"]
    assert names(atlas, "/countries?q=swe") == ["Sweden"]
    assert names(atlas, "/countries?q=kingdom%20of%20sweden") == ["Sweden"]
    assert names(atlas, "/countries?q=752") == ["Sweden"]
    assert len(names(atlas, "/countries?limit=250")) == 249
    assert len(names(atlas, "/countries")) == 50
    assert "Swedish" in names(atlas, "/languages?q=SV&limit=250")
    assert "Northern Sami" in names(atlas, "/languages?q=sami,%20north")
    assert names(atlas, "/languages?q=no%20such%20language") == []


def test_what_like_would_take_for_a_wildcard_is_a_letter(atlas):
    with_percent = [x["name"] for x in iso("iso_639-3.json", "639-3") if "%" in x["name"]]
    assert names(atlas, "/languages?q=%25") == with_percent
    assert names(atlas, "/languages?q=_") == []
    assert names(atlas, "/languages?q=%5C") == []
    assert names(atlas, "/languages?q=S_edish") == []
    assert names(atlas, "/countries?q=%27%20OR%20%271%27=%271") == []
    assert names(atlas, "/languages?q=%27") != []


@pytest.mark.parametrize("route", ["/countries", "/languages"])
def test_a_limit_is_1_to_250(atlas, route):
    for limit in ("1", "250"):
        assert len(names(atlas, f"{route}?limit={limit}")) == min(int(limit), 249 if route == "/countries" else 250)
    for limit in ("0", "251", "-1", "x", "", "1e1", "99999999999999999999"):
        status, body = atlas.ask_json(f"{route}?limit={limit}")
        assert (status, body["detail"][0]["loc"]) == (422, ["query", "limit"])


def test_subdivisions_are_found_with_country_and_parent(atlas):
    status, got = atlas.ask_json("/subdivisions/lk-42")
    assert (status, got) == (200, {"code": "LK-42", "country": "LK", "name": "Kilinochchi", "type": "District", "parent": "LK-4"})
    assert atlas.ask_json("/subdivisions/SE-AB")[1]["country"] == "SE"
    assert atlas.ask_json("/subdivisions/SE-XX") == (404, {"detail": "No subdivision has this code"})


# ---- the export


def test_the_export_is_all_languages_as_csv(atlas):
    status, headers, body = atlas.ask("/export/languages")
    assert status == 200 and headers["Content-Type"].startswith("text/csv") and body.endswith(b"\r\n")
    rows = list(csv.DictReader(io.StringIO(body.decode(), newline="")))
    want = sorted(iso("iso_639-3.json", "639-3"), key=lambda x: (x["name"].encode(), x["alpha_3"]))
    assert [{k: v for k, v in row.items() if v} for row in rows] == want
    assert any('"' + x["inverted_name"] + '"' in body.decode() for x in want if "," in x.get("inverted_name", ""))


def test_readers_that_do_not_read_take_no_thread_that_others_need(atlas):
    def ask():
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect(("127.0.0.1", atlas.port))
        s.settimeout(conftest.PATIENCE)
        s.sendall(b"GET /export/languages HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return s

    slow = [ask() for _ in range(20)]
    assert names(atlas, "/languages?q=swedish")
    assert atlas.ask("/countries/SE")[0] == 200
    assert post(atlas, "/passwords", password="x")[0] == 200
    for s in slow[5:]:
        s.close()
    for s in slow[:5]:
        reply = conftest.read_all(s)
        assert reply.endswith(b"\r\n0\r\n\r\n") and b"\nnmn," in reply
        s.close()


# ---- notes


def test_a_note_is_kept_read_and_thrown_away(atlas):
    note = add(atlas, "hej å 🇸🇪 \"quoted\"\n")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", note["created"])
    assert atlas.ask_json(f"/notes/{note['id']}") == (200, note)
    status, headers, body = atlas.ask(f"/notes/{note['id']}", method="DELETE")
    assert (status, body) == (204, b"")
    assert atlas.ask_json(f"/notes/{note['id']}") == (404, {"detail": "No note has this id"})
    assert atlas.ask(f"/notes/{note['id']}", method="DELETE")[0] == 404
    assert add(atlas, "another")["id"] > note["id"]


@pytest.mark.parametrize("body, kind", [
    ("{}", "value_error.missing"),
    ('{"text": null}', "type_error.str"),
    ('{"text": 7}', "type_error.str"),
    ('{"text": ["a"]}', "type_error.str"),
    ('{"text": ""}', "value_error.any_str.min_length"),
    (json.dumps({"text": TOO_LONG}), "value_error.any_str.max_length"),
    ("[]", "type_error.dict"),
    ('"text"', "type_error.dict"),
])
def test_a_note_that_is_none_is_422(atlas, body, kind):
    status, got = atlas.ask_json("/notes", method="POST", body=body)
    assert status == 422
    assert [(d["loc"], d["type"], sorted(d)) for d in got["detail"]] == [(["body", "text"], kind, ["loc", "msg", "type"])]


def test_a_notes_length_is_counted_in_characters(atlas):
    add(atlas, "å" * 10_000)
    assert post(atlas, "/notes", text="🇸" * 10_000)[0] == 201
    assert post(atlas, "/notes", text="å" * 10_001)[0] == 422
    for body in ("", "{", '{"text": "\\u0000"}', '{"text": "\\ud800"}', b'{"text": "\xff"}'):
        assert atlas.ask("/notes", method="POST", body=body)[0] == 422
    assert atlas.ask("/notes/seven")[0] == 422


def test_notes_from_many_clients_are_all_kept(atlas):
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        notes = list(pool.map(lambda i: add(atlas, f"note {i}"), range(100)))
    assert len({note["id"] for note in notes}) == 100
    assert all(atlas.ask_json(f"/notes/{note['id']}") == (200, note) for note in notes[::7])


def test_a_note_that_was_answered_survives_a_kill(start):
    first = start()
    note = add(first, "durable")
    first.stop(signum=signal.SIGKILL, expect=-signal.SIGKILL)
    assert start().ask_json(f"/notes/{note['id']}") == (200, note)


# ---- time


def test_passwords_are_hashed_by_yescrypt(atlas):
    crypt = pytest.importorskip("crypt")
    status, _, body = post(atlas, "/passwords", password="secret å")
    stored = json.loads(body)["hash"]
    assert status == 200 and stored.startswith("$y$") and crypt.crypt("secret å", stored) == stored
    assert json.loads(post(atlas, "/passwords", password="secret å")[2])["hash"] != stored
    assert post(atlas, "/passwords", password="x" * 511)[0] == 200
    for wrong in ("", "x" * 512, "å" * 300, 7, None):
        assert post(atlas, "/passwords", password=wrong)[0] == 422


@pytest.mark.parametrize("route", ["/slow", "/nap", "/footgun"])
def test_time_is_taken_and_bounded(start, route):
    server = start("--footgun")
    started = time.monotonic()
    assert server.ask_json(route + "?ms=60") == (200, {"ms": 60})
    assert time.monotonic() - started >= 0.06
    for ms in ("-1", "60001", "x", ""):
        status, body = server.ask_json(f"{route}?ms={ms}")
        assert (status, body["detail"][0]["loc"]) == (422, ["query", "ms"])


def test_the_footgun_is_there_only_when_asked_for(start, atlas):
    assert atlas.ask_json("/footgun?ms=1") == (404, {"detail": "Not Found"})
    assert "footgun" not in atlas.ask("/")[2].decode()
    armed = start("--footgun")
    assert armed.ask("/footgun?ms=5&how=spin")[0] == 200
    assert armed.ask("/footgun?ms=5&how=x")[0] == 422
    assert "footgun" in armed.ask("/")[2].decode()


@pytest.mark.parametrize("how, cause", [("sleep", "blocked"), ("spin", "cpu")])
def test_the_footgun_is_found_out(start, how, cause):
    armed = start("--footgun", "--loops", "1")
    assert armed.ask(f"/footgun?ms=300&how={how}")[0] == 200
    line = armed.wait_log(r'a route held its loop route="GET /footgun".*').group(0)
    assert f"cause={cause}" in line
    stall = next(s for s in json.loads(armed.ask_control("/stalls")[1]) if s["route"] == "/footgun")
    assert (stall["name"], stall["cause"], stall["ongoing"]) == ("GET /footgun", cause, False)
    if "thread" not in os.environ.get("SANITIZERS", ""):
        assert any(frame["at"].startswith("footgun+0x") for frame in stall["stack"])


def test_a_pool_full_of_slow_requests_delays_nobody_else(atlas):
    def pool_is_full():
        pool = next(p for p in json.loads(atlas.ask_control("/pools")[1]) if p["name"] == "default")
        return (pool["running"], pool["queued"]) == (40, 24)

    slow = [atlas.client().send(conftest.get("/slow?ms=60000")) for _ in range(64)]
    conftest.wait_until(pool_is_full)
    assert atlas.ask("/countries/SE")[0] == 200
    assert names(atlas, "/countries?q=sweden") == ["Sweden"]
    assert pool_is_full()
    atlas.stop(signum=signal.SIGKILL, expect=-signal.SIGKILL)
    for c in slow:
        c.s.close()


# ---- the index


class Links(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "a":
            self.found.append(dict(attrs)["href"])


def test_the_index_lists_every_route_and_its_links_work(atlas):
    add(atlas, "the first")
    status, headers, page = atlas.ask("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8" and headers["Vary"] == "Accept"
    status, listed = atlas.ask_json("/", headers={"Accept": "application/json"})
    routes = json.loads(atlas.ask_control("/routes")[1])
    routes = routes["routes"] if isinstance(routes, dict) else routes
    declared = {(r["method"], r.get("path") or r["route"]) for r in routes} - {("GET", "/footgun")}
    assert {(r["method"], r["path"]) for r in listed["routes"]} == declared
    for r in listed["routes"]:
        assert r["path"] in page.decode()
    links = Links(page.decode()).found
    assert len(links) == 9
    for link in links:
        assert atlas.ask(link)[0] == 200, link


@pytest.mark.parametrize("accept, kind", [
    (None, "text/html"), ("*/*", "text/html"), ("application/json", "application/json"), ("text/html", "text/html"),
    ("application/json, text/html;q=0.9", "application/json"), ("application/json;q=0.5, text/html;q=0.6", "text/html"),
    ("application/*, text/*;q=0.1", "application/json"), ("text/html;q=0, */*", "application/json"),
    ("application/json, text/html", "text/html"), ("image/png", "text/html"), (",;q=,,/", "text/html"),
])
def test_json_is_for_those_who_prefer_it(atlas, accept, kind):
    headers = atlas.ask("/", headers={"Accept": accept} if accept else {})[1]
    assert headers["Content-Type"].split(";")[0] == kind


def test_a_host_cannot_write_into_the_page(atlas):
    page = atlas.ask("/", headers={"Host": "a\"b"})
    assert page[0] == 400 or b'a"b' not in page[2]


# ---- the database


def change(tmp_path, *statements):
    with sqlite3.connect(tmp_path / "atlas.db", isolation_level=None) as db:
        for statement in statements:
            db.execute(statement)
    db.close()


def test_an_unfinished_import_is_made_again_and_notes_stay(start, tmp_path):
    first = start()
    note = add(first, "still here")
    first.stop()
    change(tmp_path, "PRAGMA user_version = 0", "DELETE FROM languages WHERE alpha_3 > 'm'", "DROP TABLE countries")
    again = start()
    assert len(again.ask("/export/languages")[2].splitlines()) == 7911
    assert again.ask("/countries/SE")[0] == 200
    assert again.ask_json(f"/notes/{note['id']}") == (200, note)


def test_a_second_start_needs_no_iso_codes(start):
    start().stop()
    assert start("--iso-codes", "/nonexistent").ask("/countries/SE")[0] == 200


def test_two_that_start_at_once_make_one_database(start):
    both = [start(wait=False), start(wait=False)]
    for server in both:
        server.wait_ready()
        assert len(names(server, "/countries?limit=250")) == 249
    note = add(both[0], "seen by both")
    assert both[1].ask_json(f"/notes/{note['id']}") == (200, note)


def test_without_iso_codes_it_says_what_to_install(tmp_path):
    assert "install iso-codes" in refused(tmp_path, "--iso-codes", "/nonexistent")
    # Nothing half made is left behind, and nothing is in the way of the next.
    assert not (tmp_path / "atlas.db").exists() or sqlite3.connect(tmp_path / "atlas.db").execute(
        "SELECT count(*) FROM sqlite_schema").fetchone() == (0,)


def test_broken_iso_codes_are_named(tmp_path):
    shutil.copytree(ISO, tmp_path / "iso")
    (tmp_path / "iso" / "iso_3166-1.json").write_text('{"3166-1": [')
    assert "iso_3166-1.json:1:" in refused(tmp_path, "--iso-codes", tmp_path / "iso")
    (tmp_path / "iso" / "iso_3166-1.json").write_text('{"3166-1": []}')
    assert "iso_3166-1.json" in refused(tmp_path, "--iso-codes", tmp_path / "iso")
    (tmp_path / "iso" / "iso_3166-1.json").write_text('{"3166-1": [{"alpha_2": "SE"}]}')
    assert "NOT NULL" in refused(tmp_path, "--iso-codes", tmp_path / "iso")


def test_a_database_that_cannot_be_used_is_refused_at_start(start, tmp_path):
    path = tmp_path / "atlas.db"
    path.write_bytes(b"not a database at all" * 1000)
    assert "atlas.db: file is not a database" in refused(tmp_path)
    path.unlink()
    path.mkdir()
    assert "unable to open" in refused(tmp_path)
    path.rmdir()
    assert "/dev/null/x" in refused("/dev/null/x")
    start().stop()
    change(tmp_path, "PRAGMA user_version = 99")
    assert "newer atlas" in refused(tmp_path)
    change(tmp_path, "PRAGMA user_version = 1")
    with path.open("r+b") as f:
        f.seek(4096 * 20)
        f.write(b"\xff" * 4096 * 20)
    assert re.search("malformed|damaged", refused(tmp_path))


def test_a_locked_database_fails_writes_and_only_those(atlas, tmp_path):
    note = add(atlas, "before")
    lock = sqlite3.connect(tmp_path / "atlas.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        waiting = pool.submit(post, atlas, "/notes", text="while locked")
        while not waiting.done():
            assert atlas.ask_json(f"/notes/{note['id']}") == (200, note)
            assert names(atlas, "/countries?q=sweden") == ["Sweden"]
        status, _, body = waiting.result()
    assert (status, json.loads(body)) == (500, {"detail": "Internal Server Error"})
    atlas.wait_log(r"database is locked.*POST /notes")
    lock.execute("ROLLBACK")
    lock.close()
    assert add(atlas, "after")


def test_a_query_that_fails_is_a_500_in_the_log_and_others_go_on(atlas, tmp_path):
    change(tmp_path, "ALTER TABLE notes RENAME TO gone")
    assert atlas.ask_json("/notes/1") == (500, {"detail": "Internal Server Error"})
    atlas.wait_log(r"no such table: notes.*GET /notes/\{id:int\}")
    assert names(atlas, "/countries?q=sweden") == ["Sweden"]
    change(tmp_path, "ALTER TABLE gone RENAME TO notes")
    assert add(atlas, "well again")


def test_a_file_that_may_not_grow_fails_writes_and_only_those(start):
    atlas = start(prefix=("prlimit", f"--fsize={3 << 20}"))
    note = add(atlas, "the first")
    for _ in range(2000):
        status, _, body = post(atlas, "/notes", text="x" * 10_000)
        if status != 201:
            break
    assert (status, json.loads(body)) == (500, {"detail": "Internal Server Error"})
    atlas.wait_log(r"(disk I/O error|disk is full).*POST /notes")
    assert atlas.ask_json(f"/notes/{note['id']}") == (200, note)
    assert names(atlas, "/countries?q=sweden") == ["Sweden"]


def test_an_atlas_asked_for_everything_at_once_answers_all_and_ends_well(start):
    atlas = start("--footgun")
    paths = ["/countries/SE", "/countries?q=a", "/languages?q=b&limit=5", "/subdivisions/SE-AB", "/notes/1", "/slow?ms=3",
             "/nap?ms=3", "/footgun?ms=1", "/export/languages", "/", "/nonesuch", "/countries?limit=0"]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        got = list(pool.map(lambda i: atlas.ask(paths[i % len(paths)])[0], range(240)))
    assert set(got) == {200, 404, 422}
