"""Fixtures of the tests of deployment: the repository, a folder for the session, the services of the black-box tests."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def cannot(reason):
    """Skips a test that this machine cannot run. Where CI is set it fails instead: there a green run says that everything was run."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason} (in continuous integration nothing is skipped)")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def repository():
    """The root of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def folder():
    """A folder that goes when the session ends; E2E_KEEP=1 keeps it."""
    path = Path(tempfile.mkdtemp(prefix="otlp-rust-deploy-"))
    yield path
    if not os.environ.get("E2E_KEEP"):
        shutil.rmtree(path, ignore_errors=True)
