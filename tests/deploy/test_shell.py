"""Every shell script is clean to shellcheck. SC1091: .tools/env is made by scripts/setup-tests.sh."""

import subprocess

import pytest

from conftest import REPOSITORY


def scripts():
    listed = subprocess.run(["git", "ls-files", "*.sh", ".ci/run"], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    return listed.stdout.split()


@pytest.mark.parametrize("script", scripts())
def test_a_script_is_clean(script):
    found = subprocess.run(["shellcheck", "-x", "-e", "SC1091", script], cwd=REPOSITORY, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
