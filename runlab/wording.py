"""The wording of a claim: its words on one line, its label, and the parts that the text itself marks."""

from __future__ import annotations

import re
from collections.abc import Iterator

from markdown_it.tree import SyntaxTreeNode

from runlab.model import Kind, Part, PartKind

CODE = r"`` (?:(?!``).)+ ``|`[^`]+`"
"""A code span in a claim's text. A span that holds a backtick itself is written with two on either side."""

_CODE_OR_SPACE = re.compile(rf"({CODE})|\s+")
_CODE_OR_THRESHOLD = re.compile(
    rf"(?P<code>{CODE})|(?P<threshold>(?<![-=])[<>≤≥]=?\s*\d[\d.,]*(?:\s*(?:%|(?:ms|s|min|h|[KMGT]i?B)\b))?|\d[\d.,]*\s*%)"
)
_ALERT = re.compile(r"[A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*")
_STATUS = re.compile(r"[1-5]\d\d( [A-Z].*)?")
_NOT_A_LOG_LINE = re.compile(r"[~.]{0,2}/\S*|[a-z][a-z0-9_-]*")  # a path, or the name of a program
_COMMAND_WORD = re.compile(
    "SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|SHOW|KILL|SET|GET|HSET|INCR|FLUSHDB|FLUSHALL|alembic|curl|dig|dmesg|"
    "docker|free|git|host|iptables|kill|kubectl|lsof|mtr|mysql|nft|nslookup|ping|pm2|pprof|ps|psql|redis-cli|ss|"
    "systemctl|tail|top|traceroute|ulimit"
)


def single_spaced(text: str) -> str:
    """The text with white space single and none at its ends; code spans stay as printed."""
    return _CODE_OR_SPACE.sub(lambda found: found[1] or " ", text).strip()


def words(node: SyntaxTreeNode) -> str:
    """The node's words on one line: emphasis gone, code spans in backticks, white space single."""
    return single_spaced("".join(_raw_words(node)))


def _raw_words(node: SyntaxTreeNode) -> Iterator[str]:
    match node.type:
        case "text":
            yield node.content.replace("`", "'")  # a backtick that marks no code must not look like one that does
        case "code_inline":
            yield _span(node.content)
        case "softbreak" | "hardbreak":
            yield " "
        case "html_inline":
            yield "" if node.content.startswith("<!--") else node.content  # `<pid>` is words, a comment is not
        case "fence" | "code_block":
            # SQL may run over several lines; in any other language a line is a command of its own
            lines = [line.strip() for line in node.content.splitlines() if line.strip()]
            commands = [" ".join(lines)] if node.info.split()[:1] == ["sql"] else lines
            yield " ".join(_span(command) for command in commands if command)
        case "image":
            yield node.content
        case _:
            for child in node.children:
                yield from _raw_words(child)


def _span(code: str) -> str:
    code = code.strip() or code
    return f"`` {code} ``" if "`" in code else f"`{code}`"


def inside(span: str) -> str:
    """What a code span of a claim's text holds."""
    return span[3:-3] if span.startswith("`` ") else span[1:-1]


def label(node: SyntaxTreeNode) -> str:
    """The bold opening words, if a colon or nothing follows them ("**Never** do this" has no label)."""
    if node.type != "paragraph":
        return ""
    inline = [child for child in node.children[0].children if child.type != "text" or child.content]
    if not inline or inline[0].type != "strong":
        return ""
    bold, after = words(inline[0]), single_spaced("".join(word for child in inline[1:] for word in _raw_words(child)))
    return bold.rstrip(": ") if bold.endswith(":") or not after or after.startswith(":") else ""


def parts(kind: Kind, under: tuple[str, ...], text: str) -> Iterator[Part]:
    """The code spans of a claim's text, and in symptoms and preventions its thresholds, each as one part.

    In symptoms, a CamelCase name is an alert under a label with the word "Alerts"; under one with the word "Logs", all
    but a path or a lone lower-case word is a signature; an HTTP status elsewhere is a status. In recovery and
    prevention, a span of several words, or one that is a statement or a tool, is a command. All other spans are names.
    """
    for found in _CODE_OR_THRESHOLD.finditer(text):
        if code := found["code"]:
            yield Part(inside(code), _span_kind(kind, under, inside(code)))
        elif kind in ("detect", "prevent"):
            yield Part(found["threshold"].rstrip(".,"), "threshold")


def _span_kind(kind: Kind, under: tuple[str, ...], span: str) -> PartKind:
    around = {word for name in under for word in re.findall(r"\w+", name.lower())}
    if kind == "detect":
        if around & {"log", "logs"} and not _NOT_A_LOG_LINE.fullmatch(span):
            return "signature"
        if around & {"alert", "alerts"} and _ALERT.fullmatch(span):
            return "alert"
        return "status" if _STATUS.fullmatch(span) else "name"
    if kind in ("recover", "prevent") and (" " in span or _COMMAND_WORD.fullmatch(span)):
        return "command"
    return "name"
