"""What offloop gives to Prometheus and Grafana: alert rules and a dashboard whose figures are there, and trace ids in the log."""
import json
import re
import subprocess

import pytest

from conftest import ROOT, promtool

DASHBOARD = ROOT / "doc" / "grafana-dashboard.json"
RULES = ROOT / "doc" / "offloop.rules.yml"

needs_promtool = pytest.mark.skipif(not promtool(), reason="promtool is not here (Debian: in the package prometheus)")


def run(*args, **kwargs):
    done = subprocess.run([promtool(), *map(str, args)], capture_output=True, text=True, check=False, **kwargs)
    assert done.returncode == 0, done.stdout + done.stderr


def panels():
    return [p for p in json.loads(DASHBOARD.read_text())["panels"] if p["type"] != "row"]


@pytest.fixture
def metrics(serve):
    """The page of a server that has had something to do, and something to complain of."""
    server = serve("adviceapp", "--loops", "1")
    for path in ["/hold?ms=30", "/query?ms=0", "/short", "/few?ms=0", "/nowhere"]:
        server.ask(path)
    return server.ask_control("/metrics")[1]


@needs_promtool
def test_promtool_accepts_the_rules():
    run("check", "rules", RULES)


@needs_promtool
def test_the_alerts_fire_when_they_should():
    run("test", "rules", ROOT / "tests" / "rules_test.yml")


@needs_promtool
def test_promtool_accepts_the_dashboards_expressions(tmp_path):
    rules = [{"record": "a:b:c", "expr": re.sub(r"\$__rate_interval", "5m", target["expr"]).replace("$", "")}
             for panel in panels() for target in panel["targets"]]
    assert len(rules) > 20
    (tmp_path / "rules.json").write_text(json.dumps({"groups": [{"name": "all", "rules": [
        {**rule, "labels": {"n": str(i)}} for i, rule in enumerate(rules)]}]}))
    run("check", "rules", tmp_path / "rules.json")


@needs_promtool
def test_promtool_accepts_the_metrics_of_a_server_with_stalls(metrics):
    run("check", "metrics", input=metrics)


@pytest.mark.parametrize("path", [DASHBOARD, RULES], ids=lambda p: p.name)
def test_every_figure_that_is_named_is_there(metrics, path):
    there = set(re.findall(r"^# TYPE (\w+)", metrics, re.M))
    named = set(re.findall(r"\b((?:offloop|process|http_server)_[a-z_]+)\b", path.read_text()))
    named = {re.sub(r"_(bucket|count|sum)$", "", n) for n in named}
    assert len(named) > 8
    assert named <= there, named - there


def test_the_dashboard_is_one_that_can_be_imported():
    dashboard = json.loads(DASHBOARD.read_text())
    assert dashboard["uid"] == "offloop" and dashboard["schemaVersion"] >= 36
    ids = [p["id"] for p in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    for p in panels():
        assert p["title"] and p["description"] and p["targets"], p
        assert all(t["datasource"]["uid"] == "${datasource}" for t in p["targets"])
    places = [tuple(p["gridPos"][k] for k in "xywh") for p in dashboard["panels"]]
    assert all(x + w <= 24 for x, _, w, _ in places)
    assert len({(x, y) for x, y, _, _ in places}) == len(places)
