"""Reads the operations handbook: pages, headings, fenced blocks, links, what stands in code."""

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
BOOKS = {language: REPOSITORY / "docs/operations" / language for language in ("en", "zh")}

HEADING = re.compile(r"^(#{1,6}) (.*?)(?: \{#([a-z0-9_-]+)\})?$")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`]+)`")


@dataclass
class Block:
    """A fenced block. `info` is what stands behind the fence, such as ["sh", "run=sqlite", "stop"]."""

    page: str
    line: int
    info: list
    text: str

    @property
    def kind(self):
        return self.info[0] if self.info else ""

    @property
    def session(self):
        """The session that the block is run in, if it is."""
        return next((word.removeprefix("run=") for word in self.info if word.startswith("run=")), None)

    def __str__(self):
        return f"{self.page}:{self.line}"


@dataclass
class Page:
    name: str
    headings: list = field(default_factory=list)  # (level, text, anchor or None)
    blocks: list = field(default_factory=list)
    prose: list = field(default_factory=list)  # (line number, text) outside of blocks
    tables: list = field(default_factory=list)  # number of columns of each row of each table

    @property
    def links(self):
        return [(line, target) for line, text in self.prose for target in LINK.findall(text)]

    @property
    def code(self):
        return [(line, code) for line, text in self.prose for code in CODE.findall(text)]


def read_page(path, name=None):
    page = Page(name or path.stem)
    block = None
    in_table = False
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith("```"):
            if block is None:
                block = Block(f"{page.name}.md", number, line[3:].split(), "")
            else:
                page.blocks.append(block)
                block = None
            continue
        if block is not None:
            block.text += line + "\n"
            continue
        page.prose.append((number, line))
        if match := HEADING.match(line):
            page.headings.append((len(match[1]), match[2], match[3]))
        if line.startswith("|"):
            if not in_table:
                page.tables.append([])
            page.tables[-1].append(len(re.sub(r"`[^`]*`", "", line).split("|")))
        in_table = line.startswith("|")
    assert block is None, f"{path}: the block that begins in line {block.line} has no end"
    return page


def read_book(language):
    """Pages by name, in the order of the summary."""
    source = BOOKS[language] / "src"
    names = [target for _, target in read_page(source / "SUMMARY.md").links]
    return {name.removesuffix(".md"): read_page(source / name) for name in names}


def slug(heading):
    """The anchor that mdBook gives a heading without one of its own."""
    text = re.sub(r"[`*]", "", heading).strip().lower()
    return "".join("-" if c.isspace() else c for c in text if c.isalnum() or c in "_-" or c.isspace())


def commands(script):
    """The simple commands of a shell script, each a list of words; also those behind `--` of kubectl, docker and buildah.

    Good enough for the handbook's scripts, which shellcheck reads, too: here only the words count.
    """
    # Here-documents are data.
    script = re.sub(r"<<'?(\w+)'?.*?\n.*?^\1$", "", script, flags=re.S | re.M)
    lexer = shlex.shlex(script.replace("\\\n", " ").replace("\n", " ; "), posix=True, punctuation_chars="();<>|&")
    lexer.commenters = ""
    lexer.whitespace_split = True
    found, current, skip = [], [], False
    for word in lexer:
        if skip:
            skip = False
        elif re.fullmatch(r"[<>]+&?|&>+", word):
            skip = True
            if current and current[-1].isdigit():
                current.pop()
        elif re.fullmatch(r"[();|&]+", word):
            found.append(current)
            current = []
        else:
            current.append(word)
    found.append(current)
    simple = []
    for words in found:
        while words and (re.fullmatch(r"\w+=.*", words[0], flags=re.S) or words[0] in {"if", "then", "do", "while", "until", "!", "else", "sudo"}):
            words = words[1:]
        if not words:
            continue
        simple.append(words)
        if "--" in words and words[0] in {"kubectl", "docker", "buildah"}:
            simple.append(words[words.index("--") + 1 :])
    return [words for words in simple if words]
