"""Which series an expression asks for, as far as names and labels go. Prometheus 2 has no API that tells."""

import re

STRING = r'"(?:[^"\\]|\\.)*"'
# Words that are neither a metric nor a function: functions are told by the parenthesis behind them.
WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}


def selectors(expression):
    """The selectors of an expression, as `name` or `name{matchers}`, without ranges and offsets."""
    text = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", expression)
    found = []
    # First those with braces: what is inside them may look like anything.
    for name, matchers in re.findall(rf"([a-zA-Z_:][\w:]*)\s*\{{((?:{STRING}|[^}}\"])*)\}}", text):
        found.append(f"{name}{{{matchers}}}")
    text = re.sub(rf"[a-zA-Z_:][\w:]*\s*\{{(?:{STRING}|[^}}\"])*\}}", " ", text)
    text = re.sub(rf"{STRING}|\[[^\]]*\]", " ", text)
    # Numbers before names, so that 1e5 is not the metric e5.
    text = re.sub(r"\b\d[\w.]*", " ", text)
    for name, call in re.findall(r"([a-zA-Z_:][\w:]*)(\s*\()?", text):
        if not call and name not in WORDS:
            found.append(name)
    return found


def name_of(selector):
    return selector.split("{")[0]
