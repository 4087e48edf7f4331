"""yamllint over every YAML file that people write. The chart and what is rendered from it have their own test (test_chart.py)."""

import subprocess

import pytest
from yamllint import linter
from yamllint.config import YamlLintConfig

from conftest import REPOSITORY

RULES = YamlLintConfig(
    "{extends: default, rules: {line-length: {max: 160}, document-start: disable, truthy: {check-keys: false},"
    " comments-indentation: disable, octal-values: disable, braces: {max-spaces-inside: 1}}}"
)
# Of the corpus, wrong files are the point; the values with Alertmanager's routes are made by scripts/chart_files.py.
ELSEWHERE = ("helm/", "k8s/", "tests/data/", "scripts/deploy/values/alertmanager.yaml")
# Queries and the templates of messages are one line each, as long as they are: PromQL's tools show a folded one in pieces.
LONG = ("monitoring/otlp-rules.yml", "monitoring/tests/", "monitoring/alertmanager.yaml")


def written():
    names = subprocess.run(["git", "ls-files", "*.yml", "*.yaml"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.split()
    return [name for name in names if not name.startswith(ELSEWHERE)]


def complaints(name, text):
    found = linter.run(text, RULES)
    return [str(problem) for problem in found if not (problem.rule == "line-length" and name.startswith(LONG))]


@pytest.mark.parametrize("name", written())
def test_yamllint_finds_nothing(name):
    assert complaints(name, (REPOSITORY / name).read_text()) == []


def test_the_places_with_yaml_are_among_them():
    folders = {name.rpartition("/")[0] for name in written()}
    assert {".github/workflows", "docker", "monitoring", "monitoring/tests", "monitoring/targets", "scripts/deploy/values"} <= folders


def test_yamllint_would_find_something():
    assert any("duplication" in problem for problem in complaints("monitoring/otlp-rules.yml", "a: 1\na: 2\n"))
    assert complaints("docker/compose.yaml", "a:\n  - b\n c: 1\n")
