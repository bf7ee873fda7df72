"""The rules are right, and each alert is tested, and explained to whom it wakes."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "deploy/prometheus/rules"
TESTS = Path(__file__).with_name("rules")
RUNBOOKS = REPOSITORY / "docs/runbooks"

FILES = {path.name: yaml.safe_load(path.read_text()) for path in sorted(FOLDER.glob("*.yml"))}
RULES = [
    rule for content in FILES.values() for group in content["groups"] for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
NAMES = sorted({rule["alert"] for rule in ALERTS})


def known_by(rule: dict[str, Any]) -> str:
    return f"{rule['alert']}-{rule['labels']['severity']}"


each_alert = pytest.mark.parametrize("alert", ALERTS, ids=known_by)


def test_promtool_has_nothing_to_say(promtool):
    assert promtool("check", "rules", "--lint=all", "--lint-fatal", *FOLDER.glob("*.yml")) == ""


def test_names_are_level_metric_operations():
    for name in RECORDED:
        assert re.fullmatch(r"(instance|job)(_[a-z]+)*:gunicorn_[a-z_]+:[a-z0-9_]+", name), name


def test_rules_name_only_what_there_is(families_in):
    for rule in RULES:
        assert families_in(rule["expr"]) or ":" in rule["expr"]
        named = set(re.findall(r"\w+:\w+:\w+", rule["expr"]))
        assert named <= RECORDED, rule["expr"]


def test_alerts_have_one_name_and_severity_each():
    assert len(set(map(known_by, ALERTS))) == len(ALERTS)
    for alert in ALERTS:
        assert re.fullmatch("Gunicorn[A-Z][A-Za-z]+", alert["alert"])
        assert alert["labels"].keys() == {"severity"}
        assert alert["labels"]["severity"] in ("warning", "critical")


# Each alert fires when it has to, and not otherwise.


def test_every_alert_has_tests_and_every_test_an_alert():
    assert sorted(path.stem for path in TESTS.glob("*.yml")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_tests_of_the_alert_pass(promtool, name):
    assert promtool("test", "rules", TESTS / f"{name}.yml") == ""


def with_another(alert: dict[str, Any], folder: Path, **changes: str) -> Path:
    """The tests of this alert, against rules in which it alone is another one."""
    for file, content in FILES.items():
        changed = copy.deepcopy(content)
        for rule in (rule for group in changed["groups"] for rule in group["rules"]):
            if (rule.get("alert"), rule.get("labels")) == (alert["alert"], alert["labels"]):
                rule.update(changes)
        (folder / file).write_text(yaml.safe_dump(changed))
    tests = yaml.safe_load((TESTS / f"{alert['alert']}.yml").read_text())
    tests["rule_files"] = sorted(FILES)
    path = folder / "tests.yml"
    path.write_text(yaml.safe_dump(tests))
    return path


@each_alert
def test_there_is_a_test_in_which_it_fires(promtool, tmp_path, alert):
    silenced = with_another(alert, tmp_path, expr=f"({alert['expr']}) and on () vector(1) > 1")
    assert "FAILED" in promtool("test", "rules", silenced)


@each_alert
def test_there_is_a_test_in_which_it_never_fires(alert):
    tests = yaml.safe_load((TESTS / f"{alert['alert']}.yml").read_text())["tests"]
    severities = [
        {
            expected["exp_labels"]["severity"]
            for moment in test["alert_rule_test"]
            for expected in moment["exp_alerts"]
        }
        for test in tests
    ]
    assert any(alert["labels"]["severity"] not in each for each in severities)


@each_alert
def test_there_is_a_test_that_it_does_not_fire_for_everything(promtool, tmp_path, alert):
    loud = with_another(alert, tmp_path, expr="vector(1)", **{"for": "0s"})
    assert "FAILED" in promtool("test", "rules", loud)


@pytest.mark.parametrize("alert", [rule for rule in ALERTS if "for" in rule], ids=known_by)
def test_there_is_a_test_in_which_it_waits(promtool, tmp_path, alert):
    at_once = with_another(alert, tmp_path, **{"for": "0s"})
    assert "FAILED" in promtool("test", "rules", at_once)


# Each alert has a page for whom it wakes.


def test_every_alert_has_a_runbook_and_every_runbook_an_alert():
    assert sorted(path.stem for path in RUNBOOKS.glob("*.md")) == NAMES


@each_alert
def test_alerts_tell_what_and_where(alert):
    annotations = alert["annotations"]
    assert annotations.keys() == {"summary", "description", "runbook_url"}
    assert annotations["runbook_url"] == f"docs/runbooks/{alert['alert']}.md"
    assert "$labels" in annotations["summary"]
    assert "$labels.job" in annotations["description"]


@pytest.mark.parametrize("name", NAMES)
def test_runbooks_have_what_is_looked_for(name):
    page = (RUNBOOKS / f"{name}.md").read_text()
    assert page.startswith(f"# {name}\n")
    assert re.findall("^## (.+)$", page, re.MULTILINE) == ["Impact", "Diagnosis", "Mitigation"]
    assert "```promql" in page
