"""Runs the commands of the operations handbook that are marked `run=SESSION`, as they stand there, and compares what they print.

A session is the marked blocks of one page in their order, in one shell, in a folder of its own and in a network of its own: the
handbook uses the default ports, and nothing else is on them there."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import handbook
from conftest import cannot
from handbook import REPOSITORY
from platform_process import binary

SURROUNDINGS = Path(__file__).parent / "handbook.sh"
MARK = "@@@ block "


def sessions():
    """(page, session) -> its blocks, each with the output that stands behind it or None."""
    found = {}
    for page in handbook.read_book("en").values():
        for block, following in zip(page.blocks, [*page.blocks[1:], None]):
            if block.session:
                output = following.text if following and following.info == ["text", "output"] else None
                found.setdefault((page.name, block.session), []).append((block, output))
    return found


SESSIONS = sessions()


def network_of_its_own():
    """The command that gives a process loopback addresses of its own."""
    return ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-current-user", "--keep-caps", "--net"]


def matches(expected, printed):
    """`…` stands for anything within a line, and alone on a line for any lines."""
    pattern = "".join(
        "(?:.*\n)*" if line.strip() == "…" else ".*".join(map(re.escape, line.split("…"))) + "\n" for line in expected.splitlines()
    )
    return re.fullmatch(pattern, printed) is not None


def in_a_network_of_its_own(script, place):
    """Runs a bash script after tests/deploy/handbook.sh, in the new folder `place`. Returns its exit code, output and troubles."""
    if subprocess.run([*network_of_its_own(), "true"], capture_output=True).returncode != 0:
        cannot("this machine gives no network namespaces, so the handbook's default ports cannot be used")
    place.mkdir()
    # PostgreSQL runs as another user.
    for path in (place.parent, place):
        path.chmod(0o755)
    for name in ("docker", "docs", "helm", "k8s", "monitoring", "scripts"):
        if (REPOSITORY / name).exists():
            (place / name).symlink_to(REPOSITORY / name)
    binaries = place / "bin"
    binaries.mkdir()
    (binaries / "otlp-rust").symlink_to(binary("otlp-rust", "OTLP_RUST_BIN"))
    # The older of the two that the chart is for.
    (binaries / "helm").symlink_to(REPOSITORY / ".tools/kubernetes/helm3")
    path = [binaries, Path(sys.executable).parent, REPOSITORY / ".tools/handbook/bin", os.environ["PATH"], "/usr/sbin:/sbin"]
    environment = {k: v for k, v in os.environ.items() if not re.match("OTLP_RUST|AWS_|PG", k)}
    environment |= {"PATH": ":".join(map(str, path)), "TZ": "UTC", "LC_ALL": "C.UTF-8"}
    out, err = place / "session.out", place / "session.err"
    with open(out, "wb") as stdout, open(err, "wb") as stderr:
        process = subprocess.Popen(
            [*network_of_its_own(), "bash", "-euo", "pipefail", "-c", f". '{SURROUNDINGS}'\n{script}"],
            cwd=place, env=environment, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True,
        )
        try:
            code = process.wait(timeout=280)
        except subprocess.TimeoutExpired:
            code = "none: it took too long"
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)  # the session's own group: whatever it left running
            except ProcessLookupError:
                pass
            process.wait()
    trouble = "".join(f"\n--- {path.name}\n{tail(path)}" for path in [err, *sorted(place.glob("*.log"))])
    return code, out.read_text(errors="replace"), trouble


@pytest.mark.parametrize("page, session", SESSIONS, ids=lambda value: value)
def test_commands_do_what_the_page_says(page, session, folder):
    blocks = SESSIONS[page, session]
    script = f"set_up_{session}\n"
    # What the page calls values.yaml is its first block of values.
    values = next((b.text for b in handbook.read_book("en")[page].blocks if b.info[:2] == ["yaml", "values"]), "")
    script += f"cat >values.yaml <<'END'\n{values}END\n"
    for number, (block, _) in enumerate(blocks):
        script += f"echo '{MARK}{number}'\n"
        script += "".join(f"{word}_platform\n" for word in block.info if word in ("stop", "start"))
        script += block.text
    code, out, trouble = in_a_network_of_its_own(script, folder / f"{page}-{session}")
    printed = dict(re.findall(rf"^{MARK}(\d+)\n(.*?)(?=^{MARK}|\Z)", out, re.M | re.S))
    last = max(len(printed) - 1, 0)
    for number, (block, expected) in enumerate(blocks[: last + 1]):
        if expected is not None and (number < last or code == 0):
            got = printed[str(number)]
            assert matches(expected, got), f"{block} printed\n{got}instead of\n{expected}{trouble}"
    assert code == 0, f"{blocks[last][0]} ended the session with code {code}; it printed\n{printed.get(str(last), out)}{trouble}"
    assert len(printed) == len(blocks)


def tail(path):
    return path.read_text(errors="replace")[-3000:]


def test_outputs_are_compared():
    assert matches("a …\n…\nz\n", "a 1\nb\nc\nz\n")
    assert matches("a …\n…\nz\n", "a 1\nz\n")
    assert not matches("a\n", "a\nb\n")
    assert not matches("a\nb\n", "a\n")
    assert not matches("ok: true\n", "ok: false\n")


# --- metrics


def test_metrics_exist(folder):
    """Every metric that the handbook names is one that a server shows which has met every kind of event."""
    script = "set_up_every_metric\ncurl -fsS http://127.0.0.1:9090/metrics"
    code, out, trouble = in_a_network_of_its_own(script, folder / "metrics")
    assert code == 0, trouble
    shown = set(re.findall(r"^(otlp_[a-z0-9_]+)", out, re.M)) | set(re.findall(r"^# TYPE (otlp_\w+)", out, re.M))
    named = 0
    for page in handbook.read_book("en").values():
        texts = [(line, code) for line, code in page.code] + [(b.line, b.text) for b in page.blocks]
        for line, text in texts:
            for name in re.findall(r"\botlp_[a-z0-9_]*[a-z0-9]\b", text):
                if name in {"otlp_restored", "otlp_drill"}:  # databases
                    continue
                named += 1
                assert name in shown, f"{page.name}.md:{line}: no server shows {name}"
    assert named > 20
