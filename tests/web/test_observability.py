"""The alert rules and the dashboard of ``docs/observability/`` use the metrics that there are, and the rules fire."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from bridge.db.engine import Sessions
from bridge.web.queries.metrics import TIMES, build_registry
from tests.conftest import not_there
from tests.scene import NUMBER, Scene

FOLDER = Path(__file__).parents[2] / "docs" / "observability"

RULES = [rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]]

PANELS = json.loads((FOLDER / "dashboard.json").read_text())["panels"]


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in RULES)
    yield from (target["expr"] for panel in PANELS for target in panel["targets"])


def named(expression: str) -> set[str]:
    return set(re.findall(r"\bbridge_\w+", expression))


def labels(expression: str) -> set[tuple[str, str]]:
    """The metrics with each label that an expression groups them by, or chooses them by."""
    by = {label for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(", ")}
    chosen = {label for group in re.findall(r"\{([^}]*)\}", expression) for label in re.findall(r"(\w+)=", group)}
    return {(name, label) for name in named(expression) for label in by | chosen}


@pytest.fixture
def metrics(sessions: Sessions) -> dict[str, str]:
    """The names of all samples, each with its label."""
    scene = Scene(sessions, metrics_open=True, twilio_numbers=NUMBER)
    found = {}
    for family in build_registry(scene.rt).collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(family.type, [""])
        label = "le" if family.type == "histogram" else next(iter(getattr(family, "_labelnames", ())), "")
        found.update({family.name + suffix: label for suffix in suffixes})
    return found


def test_every_metric_of_the_rules_and_of_the_dashboard_is_there(metrics: dict[str, str]) -> None:
    used = {name for expression in expressions() for name in named(expression)}
    assert used - metrics.keys() == set()


def test_every_label_of_theirs_is_there(metrics: dict[str, str]) -> None:
    used = {pair for expression in expressions() for pair in labels(expression)}
    assert {(name, label) for name, label in used if metrics.get(name) != label} == set()


def test_the_dashboard_shows_every_metric(metrics: dict[str, str]) -> None:
    shown = {name for panel in PANELS for target in panel["targets"] for name in named(target["expr"])}
    assert metrics.keys() - shown == set()
    assert all(name in str(shown) for name, _ in TIMES.values())


def test_each_rule_says_what_is_wrong_and_what_to_do() -> None:
    assert all({"summary", "action"} == rule["annotations"].keys() for rule in RULES)
    assert {rule["labels"]["severity"] for rule in RULES} == {"page", "ticket"}
    assert len({rule["alert"] for rule in RULES}) == len(RULES)


def test_each_rule_is_tried() -> None:
    tried = (FOLDER / "alerts_test.yml").read_text()
    assert [rule["alert"] for rule in RULES if rule["alert"] not in tried] == []


def test_the_rules_fire_when_they_must_and_not_before() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        not_there("promtool", "it is in Debian's package prometheus")
    tested = subprocess.run(
        [promtool, "test", "rules", "alerts_test.yml"], cwd=FOLDER, capture_output=True, text=True, timeout=240
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr
