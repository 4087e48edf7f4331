"""`make chart`: the package that a release publishes, by the real Helm."""

import os
import re
import shutil
import subprocess
import tarfile

import pytest

from conftest import REPOSITORY


@pytest.fixture
def make(tmp_path):
    """Runs `make chart` in a copy of what it reads, so that its dist/ is not the repository's."""
    for name in ("helm", "scripts"):
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/helm").symlink_to(REPOSITORY / ".tools/kubernetes/helm4")
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    return lambda *options: subprocess.run(["make", "chart", *options], cwd=tmp_path, env=environment, capture_output=True, text=True)


def images(package):
    done = subprocess.run([REPOSITORY / ".tools/kubernetes/helm4", "template", "x", package, "--set", "trial.enabled=true"], check=True, capture_output=True, text=True)
    return {image for image in re.findall(r'image: "?([^"\s]+)', done.stdout) if "otlp-rust" in image}


def test_a_package_for_a_registry_finds_its_image_there(make, tmp_path):
    done = make("IMAGE_REGISTRY=ghcr.io/acme")
    assert done.returncode == 0, done.stdout + done.stderr
    (package,) = (tmp_path / "dist").glob("otlp-rust-*.tgz")
    version = package.name.removeprefix("otlp-rust-").removesuffix(".tgz")
    assert images(package) == {f"ghcr.io/acme/otlp-rust:{version}"}
    with tarfile.open(package) as archive:
        assert '| `image.registry` | `"ghcr.io/acme"` |' in archive.extractfile("otlp-rust/README.md").read().decode()
        assert not [name for name in archive.getnames() if name.endswith(".orig")]
    assert 'registry: ""' in (tmp_path / "helm/otlp-rust/values.yaml").read_text(), "the repository's own stays as it is"


def test_a_package_without_a_registry_is_the_chart_as_it_stands(make, tmp_path):
    done = make()
    assert done.returncode == 0, done.stdout + done.stderr
    (package,) = (tmp_path / "dist").glob("otlp-rust-*.tgz")
    assert all("/" not in image for image in images(package))


@pytest.mark.parametrize("registry", ["https://ghcr.io/acme", "ghcr.io/acme/", "ghcr.io/Acme"])
def test_what_is_no_registry_is_refused(make, tmp_path, registry):
    done = make(f"IMAGE_REGISTRY={registry}")
    assert done.returncode != 0 and "a registry looks like" in done.stderr
    assert not (tmp_path / "dist").exists()
