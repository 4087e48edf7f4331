"""The operations handbook says what is: both languages the same, and nothing named that does not exist.

Commands that need no cluster are run by test_docs_run.py; here their words are looked up."""

import html.parser
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml

import handbook
from chart_cases import CASES, S3, SPLIT, nested, objects, over
from handbook import BOOKS, REPOSITORY, read_book, read_page
from platform_process import binary
from test_chart_front_door import doors, matched

PAGES = sorted(path.stem for path in (BOOKS["en"] / "src").glob("*.md") if path.name != "SUMMARY.md")
SHELL = {"sh", "bash"}


@pytest.fixture(scope="module")
def books():
    return {language: read_book(language) for language in BOOKS}


@pytest.fixture(scope="module")
def en(books):
    return books["en"]


# --- structure


@pytest.mark.parametrize("language", BOOKS)
def test_the_summary_lists_every_page(books, language):
    files = {path.stem for path in (BOOKS[language] / "src").glob("*.md")} - {"SUMMARY"}
    assert set(books[language]) == files


def test_both_languages_have_the_same_pages(books):
    assert list(books["en"]) == list(books["zh"])


@pytest.mark.parametrize("page", PAGES)
def test_both_languages_have_the_same_structure(books, page):
    en, zh = books["en"][page], books["zh"][page]
    assert [(level, anchor or handbook.slug(text)) for level, text, anchor in en.headings] == [
        (level, anchor or handbook.slug(text)) for level, text, anchor in zh.headings
    ], "a heading of the Chinese page has the English one's anchor, written as {#anchor}"
    assert [(b.info, b.text) for b in en.blocks] == [(b.info, b.text) for b in zh.blocks], "blocks are the same, letter for letter"
    assert en.tables == zh.tables
    assert all(len(set(table)) == 1 for table in en.tables), "rows of a table have as many cells as its head"
    assert sorted(target for _, target in en.links) == sorted(target for _, target in zh.links)
    # What stands in code is a name and is not translated; word order may differ.
    assert sorted({code for _, code in en.code}) == sorted({code for _, code in zh.code})


@pytest.mark.parametrize("page", PAGES)
def test_the_chinese_page_is_chinese(books, page):
    text = "".join(text for _, text in books["zh"][page].prose)
    han = len(re.findall(r"[\u4e00-\u9fff]", text))
    latin_words = len(re.findall(r"[A-Za-z]{2,}", re.sub(r"`[^`]*`", "", text)))
    assert han > latin_words, f"{han} Chinese characters, {latin_words} Latin words outside of code"
    # Punctuation between Chinese characters is full-width.
    wrong = re.findall(r"[\u4e00-\u9fff][,;:?!][\u4e00-\u9fff]", text)
    assert not wrong, wrong


@pytest.mark.parametrize("language", BOOKS)
def test_links_stay_in_the_book_and_lead_somewhere(books, language):
    anchors = {
        f"{name}.md": {anchor or handbook.slug(text) for _, text, anchor in page.headings} for name, page in books[language].items()
    }
    for name, page in books[language].items():
        for line, target in page.links:
            file, _, anchor = target.partition("#")
            file = file or f"{name}.md"
            assert file in anchors, f"{name}.md:{line}: {target} is no page of the book"
            assert not anchor or anchor in anchors[file], f"{name}.md:{line}: {file} has no heading #{anchor}"


class Ids(html.parser.HTMLParser):
    """Ids of headings and relative links of a built page."""

    def __init__(self, text):
        super().__init__()
        self.headings, self.links = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if re.fullmatch("h[1-6]", tag) and "id" in attributes:
            self.headings.append((tag, attributes["id"]))
        if tag == "a" and (target := attributes.get("href")) and not re.match(r"[a-z]+:|#", target):
            self.links.append(target)


def test_mdbook_builds_both_books(folder, books):
    """The real mdBook: no warning, the anchors that runbook links rely on, no dead link in what it wrote."""
    mdbook = shutil.which("mdbook", path=f"{Path(sys.executable).parent}:{REPOSITORY / '.tools/handbook/bin'}:{os.environ['PATH']}")
    assert mdbook, "mdbook is missing: run scripts/setup-tests.sh"
    built = {}
    for language, source in BOOKS.items():
        out = folder / f"book-{language}"
        done = subprocess.run([mdbook, "build", "--dest-dir", out, source], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert not re.search("WARN|ERROR", done.stderr), done.stderr
        built[language] = {name: Ids((out / f"{name}.html").read_text()) for name in books[language]}
        for name, page in built[language].items():
            for target in page.links:
                file, _, anchor = target.partition("#")
                assert (out / file).exists(), f"{language}/{name}.html links to {target}"
                if anchor:
                    ids = re.findall(r'id="([^"]+)"', (out / file).read_text())
                    assert anchor in ids, f"{language}/{name}.html links to {target}"
    for name in books["en"]:
        mine = [(f"h{level}", anchor or handbook.slug(text)) for level, text, anchor in books["en"][name].headings]
        assert [h for h in built["en"][name].headings if h in mine] == mine
        assert [h for h in built["zh"][name].headings if h in mine] == mine


# --- runbooks


def alerts():
    rules = yaml.safe_load((REPOSITORY / "monitoring/otlp-rules.yml").read_text())
    return [rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule]


def test_every_alert_has_a_runbook_and_every_runbook_an_alert(books):
    names = [alert["alert"] for alert in alerts()]
    for language, book in books.items():
        written = [text for level, text, _ in book["runbooks"].headings if level == 2 and not text.startswith(("#", "Template"))]
        written = [text for text in written if re.fullmatch(r"[A-Za-z0-9]+", text)]
        assert sorted(written) == sorted(set(names)), language


# --- commands


def shell_blocks(book):
    return [block for page in book.values() for block in page.blocks if block.kind in SHELL]


def all_commands(book):
    """Every command of the book: of shell blocks, and of code in the text that begins with a program's name."""
    for block in shell_blocks(book):
        for words in handbook.commands(block.text):
            yield str(block), words
    for page in book.values():
        for line, code in page.code:
            if re.match(r"(otlp-rust|kubectl|helm|docker|amtool|promtool|make) [a-z-]", code):
                for words in handbook.commands(code):
                    yield f"{page.name}.md:{line}", words


def test_shell_is_sound(books, folder):
    """shellcheck, over each session as a whole, so that it sees variables of earlier blocks."""
    scripts = {}
    for block in shell_blocks(books["en"]):
        scripts.setdefault((block.page, block.session or block.line), []).append(block.text)
    for (page, name), parts in scripts.items():
        path = folder / f"{page}-{name}.sh"
        path.write_text("#!/usr/bin/env bash\n" + "\n".join(parts))
        # SC2016: programs of jq and queries stand in single quotes, with their own variables.
        done = subprocess.run(["shellcheck", "--shell=bash", "--exclude=SC2016", path], capture_output=True, text=True)
        assert done.returncode == 0, f"{page} {name}:\n{done.stdout}"


class Help:
    """What `otlp-rust ... --help` knows, asked once per subcommand."""

    def __init__(self):
        self.known = {}

    def of(self, path):
        if path not in self.known:
            text = subprocess.run([binary("otlp-rust", "OTLP_RUST_BIN"), *path, "--help"], capture_output=True, text=True).stdout
            options = {match[1]: bool(match[2]) for match in re.finditer(r"^\s+(?:-\w, )?(--[a-z-]+)( <[^>]+>)?", text, re.M)}
            listed = re.search(r"^Commands:\n((?:  .*\n)+)", text, re.M)
            subcommands = re.findall(r"^  ([a-z-]+)", listed[1], re.M) if listed else []
            self.known[path] = options, set(subcommands)
        return self.known[path]

    def complain(self, words):
        """What is wrong with `otlp-rust WORDS`, or None."""
        path = ()
        options, subcommands = self.of(path)
        rest = list(words)
        while subcommands - {"help"} and rest and not rest[0].startswith("-"):
            if rest[0] not in subcommands:
                return f"there is no {' '.join((*path, rest[0]))}"
            path = (*path, rest.pop(0))
            options, subcommands = self.of(path)
        if subcommands - {"help"} and not (rest and set(rest) <= {"--help", "--version"}):
            return f"{' '.join(path)} needs one of {sorted(subcommands)}"
        while rest:
            word = rest.pop(0)
            if word.startswith("--"):
                name, given, _ = word.partition("=")
                if name not in options:
                    return f"{' '.join(path)} has no {name}"
                if options[name] and not given and not rest:
                    return f"{name} needs a value"
                if options[name] and not given:
                    rest.pop(0)
        return None


def test_subcommands_and_flags_exist(en):
    helps, seen = Help(), 0
    for where, words in all_commands(en):
        # In code in the text, `otlp-rust` may stand for the program alone; everywhere else it is the first word.
        if words[0] == "otlp-rust":
            seen += 1
            complaint = helps.complain([word for word in words[1:] if word != "…"])
            assert complaint is None, f"{where}: otlp-rust {' '.join(words[1:])}: {complaint}"
    assert seen > 20


def test_the_help_is_read_right():
    helps = Help()
    assert helps.complain(["verify", "--deep", "--data-dir", "x"]) is None
    assert "no --deeper" in helps.complain(["verify", "--deeper"])
    assert "no verifi" in helps.complain(["verifi"])
    assert "no config chek" in helps.complain(["config", "chek"])
    assert "needs one of" in helps.complain(["catalog"])


def test_commands_are_found():
    script = "a=1 otlp-rust health >x 2>&1 | jq . && kubectl exec d -- otlp-rust doctor\nuntil otlp-rust health; do sleep 1; done"
    assert [w for w in handbook.commands(script) if w[0] == "otlp-rust"] == [
        ["otlp-rust", "health"], ["otlp-rust", "doctor"], ["otlp-rust", "health"]
    ]


KUBERNETES_TOOLS = {"kubectl": [Path(sys.executable).parent / "kubectl"], "helm": [REPOSITORY / f".tools/kubernetes/helm{major}" for major in (3, 4)]}


def test_the_real_kubectl_and_helm_know_every_option(en):
    """`--help` at the end makes them parse what stands before it and do nothing."""
    asked = {}
    for where, words in all_commands(en):
        if words[0] in KUBERNETES_TOOLS:
            words = words[: words.index("--")] if "--" in words else words
            asked.setdefault(tuple(words), where)
    assert len(asked) > 30
    for words, where in asked.items():
        for tool in KUBERNETES_TOOLS[words[0]]:
            done = subprocess.run([tool, *words[1:], "--help"], capture_output=True, text=True)
            assert done.returncode == 0 and "Usage:" in done.stdout, f"{where}: {' '.join(words)}: {done.stderr}"


EXIT_CODES = re.compile(r"exit codes?:\s+(.*?)(?:\.\n|\Z)", re.S | re.I)


def test_exit_codes_are_those_that_each_help_names(en):
    """Where a program's help names its exit codes, the handbook's table has the same ones."""
    text = (BOOKS["en"] / "src/automation.md").read_text().partition("### Exit codes")[2]
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    assert head[1:4] == ["0", "1", "2"]
    compared = set()
    for command, *meanings in rows:
        program, *words = command.strip("`").split()
        path = binary("otlp-rust", "OTLP_RUST_BIN") if program == "otlp-rust" else REPOSITORY / program
        shown = subprocess.run([path, *words, "--help"], capture_output=True, text=True, check=True).stdout
        written = {"0", "1", "2"} | set(re.findall(r"(?:^|; )(\d+) ", meanings[3]))
        if told := EXIT_CODES.search(shown):
            compared.add(command.strip("`"))
            assert set(re.findall(r"(?:^|[,;]\s)(\d+) ", told[1])) == written, command
    assert {"otlp-rust health", "otlp-rust doctor", "otlp-rust verify", "scripts/deploy.sh", "scripts/undeploy.sh"} <= compared


def test_options_of_the_scripts_exist(en):
    """`--help` at the end makes deploy.sh and undeploy.sh read the arguments before it and do nothing."""
    asked = {tuple(words): where for where, words in all_commands(en) if words[0] in {"scripts/deploy.sh", "scripts/undeploy.sh"}}
    assert len(asked) > 3
    for words, where in asked.items():
        done = subprocess.run([REPOSITORY / words[0], *words[1:], "--help"], capture_output=True, text=True)
        assert done.returncode == 0, f"{where}: {' '.join(words)}: {done.stderr}"
    helps = {name: subprocess.run([REPOSITORY / name, "--help"], capture_output=True, text=True).stdout for name in ("scripts/deploy.sh", "scripts/undeploy.sh")}
    # Options in the text: both scripts have chapters of their own, so either may be meant.
    text = (BOOKS["en"] / "src/kubernetes.md").read_text()
    chapter = text.partition("## One command")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(--[a-z-]+)", chapter))
    assert len(named) > 10 and all(any(re.search(rf"{option}\b", shown) for shown in helps.values()) for option in named), named


# --- configuration


def schema_keys():
    """All keys of the configuration, dotted; `*` for a tenant's name."""
    schema = json.loads(subprocess.run([binary("otlp-rust", "OTLP_RUST_BIN"), "config", "schema"], capture_output=True, text=True, check=True).stdout)

    def walk(node, prefix):
        while "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
        for option in node.get("anyOf", []) + node.get("allOf", []) + node.get("oneOf", []):
            yield from walk(option, prefix)
        for name, child in node.get("properties", {}).items():
            yield ".".join((*prefix, name))
            yield from walk(child, (*prefix, name))
        if isinstance(extra := node.get("additionalProperties"), dict):
            yield from walk(extra, (*prefix, "*"))

    return set(walk(schema, ()))


def test_keys_of_the_configuration_exist(en):
    keys, values = schema_keys(), chart_values()
    sections = {key.split(".")[0] for key in keys}
    seen = 0
    for page in en.values():
        for line, code in page.code:
            path = code.split(".")
            if not re.fullmatch(r"\w+(\.\w+)+", code) or path[0] not in sections | set(values) or path[-1] in {"db", "yaml"}:
                continue
            seen += 1
            # Some sections of the chart's values are called as those of the configuration.
            known = code in keys or path[0] in values and value_problem(path, values) is None
            assert known, f"{page.name}.md:{line}: {code} is neither a key of the configuration nor a value of the chart"
        for block in page.blocks:
            for name in re.findall(r"\bOTLP_RUST__([A-Z0-9_]+)", block.text):
                assert name.lower().replace("__", ".") in keys, f"{block}: OTLP_RUST__{name}"
    assert seen > 10


def test_configurations_are_valid(en, tmp_path):
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for name, text in {
        "catalog-url": "postgres://otlp:secret@db.example:5432/otlp",
        "redis-url": "rediss://:secret@redis.example:6379/0",
        "s3-secret-access-key": "secret",
    }.items():
        (secrets / name).write_text(text)
    blocks = [block for page in en.values() for block in page.blocks if block.info == ["yaml", "config"]]
    assert blocks
    for block in blocks:
        path = tmp_path / "config.yaml"
        path.write_text(block.text.replace("/run/secrets/", f"{secrets}/"))
        done = subprocess.run([binary("otlp-rust", "OTLP_RUST_BIN"), "config", "check", "--config", path], capture_output=True, text=True)
        assert done.returncode == 0 and not done.stderr, f"{block}:\n{done.stdout}{done.stderr}"


# --- names


# Made by what the handbook says, not part of the repository.
MADE = {"docker/secrets", "docker/prebuilt/otlp-rust"}


def test_paths_exist(en):
    """Files of the repository that are named in code or in commands."""
    seen = 0
    pattern = re.compile(r"(?<![\w./@:-])((?:\.github|benches|crates|docker|docs|helm|k8s|monitoring|scripts|tests)/[\w./*-]*[\w*])")
    for page in en.values():
        texts = [(line, code) for line, code in page.code] + [(b.line, b.text) for b in page.blocks]
        for line, text in texts:
            for name in set(pattern.findall(text)) - MADE:
                seen += 1
                found = list(REPOSITORY.glob(name)) if "*" in name else (REPOSITORY / name).exists()
                assert found, f"{page.name}.md:{line}: there is no {name}"
    assert seen > 10


FOLDERS = r"(?:\.github|benches|crates|docker|docs|helm|k8s|migrations|monitoring|scripts|tests)"
DOCUMENTS = sorted(
    str(path.relative_to(REPOSITORY))
    for pattern in ("docs/guarantees.md", "docs/architecture.md", "docs/guides/*.md", "docs/decisions/*.md")
    for path in REPOSITORY.glob(pattern)
)


def paths_in(code):
    """Paths of the repository that a piece of code is or begins with: `tests/{a,b}.py` are two."""
    if match := re.match(rf"{FOLDERS}(?:/[\w.{{}},*-]+)*(?=$|[\s:#])", code):
        head, brace, rest = match[0].partition("{")
        inner, _, tail = rest.partition("}")
        yield from [head + one + tail for one in inner.split(",")] if brace else [head]


def test_paths_in_code_are_found():
    assert list(paths_in("crates/a/{b,c}.rs")) == ["crates/a/b.rs", "crates/a/c.rs"]
    assert list(paths_in("tests/e2e/test_x.py::test_y")) == ["tests/e2e/test_x.py"]
    assert list(paths_in("/tests/x")) == list(paths_in("testsuite/x")) == []


def there(name):
    """What a path or a pattern names."""
    return list(REPOSITORY.glob(name)) if "*" in name else [path for path in [REPOSITORY / name] if path.exists()]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_paths_in_documents_exist(name):
    """In code, from the root; in links, from the document."""
    page = read_page(REPOSITORY / name)
    for line, code in page.code:
        for path in paths_in(code):
            assert there(path), f"{name}:{line}: there is no {path}"
    for line, target in page.links:
        target, _, anchor = target.partition("#")
        if target and not re.match(r"[a-z]+:", target):
            linked = (REPOSITORY / name).parent / target
            assert linked.exists(), f"{name}:{line}: there is no {target}"
            if anchor and linked.suffix == ".md":
                anchors = {given or handbook.slug(text) for _, text, given in read_page(linked).headings}
                assert anchor in anchors, f"{name}:{line}: {target} has no heading #{anchor}"


def has_tests(path):
    """Whether it is a test, or has some in it."""
    files = [path] if path.is_file() else [*path.rglob("*.rs"), *path.rglob("*.py")]
    return any(file.name.startswith("test_") if file.suffix == ".py" else re.search(r"#\[(tokio::)?test\b|proptest!", file.read_text()) for file in files)


def test_every_promise_names_a_test():
    text = (REPOSITORY / "docs/guarantees.md").read_text().partition("\n## Promises\n")[2].partition("\n## ")[0]
    promises = re.split(r"^\*\*(\d+)\. ", text, flags=re.M)[1:]
    numbers, texts = promises[::2], promises[1::2]
    assert numbers == [str(number) for number in range(1, len(numbers) + 1)] and len(numbers) > 10
    for number, promise in zip(numbers, texts):
        _, bullet, shown_by = promise.partition("\n* ")
        named = [path for code in re.findall(r"`([^`]+)`", shown_by) for name in paths_in(code) for path in there(name)]
        assert bullet and any(map(has_tests, named)), f"promise {number} names no test"


def test_targets_of_make_exist(en):
    targets = set(re.findall(r"^([a-z0-9-]+):", (REPOSITORY / "Makefile").read_text(), re.M))
    for where, words in all_commands(en):
        if words[0] == "make":
            for word in words[1:]:
                assert "=" in word or word in targets, f"{where}: make {word}"


def test_promql_is_sound(en, folder):
    blocks = [block for page in en.values() for block in page.blocks if block.kind == "promql"]
    rules = [{"record": f"handbook:rule:{number}", "expr": block.text} for number, block in enumerate(blocks)]
    assert rules
    path = folder / "promql.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "handbook", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# --- the chart


def chart_values():
    return yaml.safe_load((REPOSITORY / "helm/otlp-rust/values.yaml").read_text())


# Below these, names are the user's own.
FREE = {"config", "retention", "commonLabels", "commonAnnotations", "podAnnotations", "podLabels", "nodeSelector"}


def value_problem(path, values):
    node = values
    for index, name in enumerate(path):
        name = re.sub(r"\[\d+\]$", "", name)
        if path[0] in FREE or not isinstance(node, dict) or not node and index:
            return None
        if name not in node:
            return ".".join(path)
        node = node[name]
    return None


def test_values_render(en):
    """Blocks of values, laid over the least that the chart needs, pass its schema and its checks and render."""
    blocks = [block for page in en.values() for block in page.blocks if block.info[:2] == ["yaml", "values"]]
    assert len(blocks) > 3
    for block in blocks:
        values = yaml.safe_load(block.text)
        assert objects(over(S3, values)), str(block)


def test_what_is_asked_from_outside_is_routed(en):
    """doctor's questions, and the blackbox exporter's, at the hosts that the handbook asks: those of the example for Nginx."""
    routes = {host: rules for host, _, rules in doors(objects(CASES["examples/nginx/values.yaml"]))}
    asked = []
    for where, words in all_commands(en):
        given = dict(zip(words, words[1:]))
        if words[:2] == ["otlp-rust", "doctor"] and "://" in given.get("--url", ""):
            otlp = given.get("--otlp-url", given["--url"])
            asked += [(where, "GET", given["--url"], "/readyz", 8080), (where, "POST", otlp, "/v1/traces", 4318)]
            if "--write" in words:
                asked.append((where, "GET", given["--url"], "/tempo/api/traces/5b8efff798038103d269b633813fc60c", 8080))
    for block in (block for page in en.values() for block in page.blocks if block.info[:2] == ["yaml", "values"]):
        for url in (yaml.safe_load(block.text).get("probe") or {}).get("targets", []):
            asked.append((str(block), "GET", url, urlsplit(url).path, 8080))
    assert len(asked) > 8
    for where, method, url, path, port in asked:
        assert matched(routes[urlsplit(url).hostname], method, path) == port, f"{where}: {method} {url} {path}"


def handbook_values(en):
    """What the handbook calls values.yaml: its first block of values."""
    return next(yaml.safe_load(b.text) for page in en.values() for b in page.blocks if b.info[:2] == ["yaml", "values"])


def test_manifests_fit_the_chart(en):
    """Manifests pass Kubernetes' strict schema, and a pod has the configuration that the chart gives its own, from the handbook's values."""
    # On AWS the pod's identity stands for a key.
    made = objects(over({"catalog": S3["catalog"]}, handbook_values(en)))
    deployment = next(o for o in made if o["kind"] == "Deployment")
    ours = deployment["spec"]["template"]["spec"]
    migration = next(o for o in made if o["kind"] == "Job")["spec"]["template"]
    blocks = [block for page in en.values() for block in page.blocks if block.info == ["yaml", "manifest"]]
    assert blocks
    for block in blocks:
        manifest = yaml.safe_load(block.text)
        kubernetes_validate.validate(manifest, "1.27", strict=True)
        kubernetes_validate.validate(manifest, "1.37", strict=True)
        template = manifest["spec"]["jobTemplate"]["spec"]["template"]
        # A mesh's proxy beside it would keep the Job from ending: out of the mesh, by what keeps the chart's own Job out.
        for kind in ("labels", "annotations"):
            ours_out = {name: value for name, value in migration["metadata"].get(kind, {}).items() if name.endswith("/inject")}
            assert ours_out and ours_out.items() <= template["metadata"][kind].items(), str(block)
        pod = template["spec"]
        assert pod["volumes"] == ours["volumes"], str(block)
        assert pod["containers"][0]["volumeMounts"] == ours["containers"][0]["volumeMounts"], str(block)
        assert pod["serviceAccountName"] == ours["serviceAccountName"]
        helps = Help()
        assert helps.complain(pod["containers"][0]["args"]) is None, str(block)


def test_helm_commands_render(en):
    """`helm ... --values FILE --set KEY=VALUE` with the files of the repository; values.yaml is the handbook's first block of values."""
    mine, seen = handbook_values(en), 0
    for where, words in all_commands(en):
        if words[0] != "helm" or words[1] not in {"lint", "template", "upgrade", "install"} or len(words) == 2:
            continue
        assert (REPOSITORY / "helm/otlp-rust").exists() and "helm/otlp-rust" in words, where
        values = S3
        for option, value in zip(words, words[1:]):
            if option == "--values":
                values = over(values, mine if value == "values.yaml" else yaml.safe_load((REPOSITORY / value).read_text()))
            if option == "--set":
                key, _, text = value.partition("=")
                assert value_problem(key.split("."), chart_values()) is None, f"{where}: the chart has no value {key}"
                values = over(values, nested(key, yaml.safe_load(text)))
        assert objects(values), where
        seen += 1
    assert seen > 3


def test_a_wrong_value_is_noticed():
    values = chart_values()
    assert value_problem(["autoscaling", "maxReplicas"], values) is None
    assert value_problem(["autoscaling", "maxReplica"], values) == "autoscaling.maxReplica"
    with pytest.raises(Exception, match="maxReplica"):
        objects(over(S3, {"autoscaling": {"maxReplica": 3}}))


KINDS = {
    "deployment": "deployment", "job": "job", "deploy": "deployment", "service": "service", "svc": "service", "hpa": "horizontalpodautoscaler",
    "networkpolicy": "networkpolicy", "configmap": "configmap", "poddisruptionbudget": "poddisruptionbudget", "ingress": "ingress",
    "serviceaccount": "serviceaccount", "role": "role", "rolebinding": "rolebinding",
}


def test_objects_of_kubectl_exist(en):
    known, seen = {(o["kind"].lower(), o["metadata"]["name"]) for values in (S3, over(S3, SPLIT)) for o in objects(values)}, 0
    for where, words in all_commands(en):
        if words[0] != "kubectl" or "otlp-system" not in words:
            continue
        words = words[: words.index("--")] if "--" in words else words
        named = [word.split("/", 1) for word in words if "/" in word and word.split("/")[0] in KINDS]
        named += [[kind, name] for kind, name in zip(words, words[1:]) if kind in KINDS and not name.startswith("-")]
        for kind, name in named:
            seen += 1
            assert (KINDS[kind], name) in known, f"{where}: the chart makes no {kind} {name}"
    assert seen > 3


# --- README


def test_the_readmes_say_the_same():
    en, zh = read_page(REPOSITORY / "README.md"), read_page(REPOSITORY / "README.zh-CN.md")
    assert [level for level, _, _ in en.headings] == [level for level, _, _ in zh.headings]
    assert [(b.info, strip_comments(b.text)) for b in en.blocks] == [(b.info, strip_comments(b.text)) for b in zh.blocks]
    assert en.tables == zh.tables
    assert sorted({code for _, code in en.code}) == sorted({code for _, code in zh.code})
    other = {"README.md": "README.zh-CN.md", "README.zh-CN.md": "README.md"}
    assert sorted(t for _, t in en.links) == sorted(other.get(t, t) for _, t in zh.links)
    assert "README.zh-CN.md" in [t for _, t in en.links]


def strip_comments(text):
    return re.sub(r"\s+# .*$", "", text, flags=re.M)


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_links_of_the_readmes_lead_somewhere(name):
    for line, target in read_page(REPOSITORY / name).links:
        if not re.match(r"[a-z]+:", target):
            assert (REPOSITORY / target.partition("#")[0]).exists(), f"{name}:{line}: {target}"
