"""Markdown → claims: reads runbooks and finds claims, procedures and signals in them by the words of the text.

The format. A runbook starts at a heading of any depth that opens with `[RB-001]`, and ends at the next heading of the
same depth or higher. Its four sections are deeper headings with the names in SECTIONS, numbered or not. A section ends
at the next heading of its own depth or higher; deeper headings inside it are labels, as a paragraph in bold is. All
else (tables of contents, paragraphs, bullets outside the sections) is for people and is not read.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

from runlab import wording
from runlab.model import Claim, Kind, LabError, Runbook, Signal

SECTIONS: Mapping[Kind, str] = {
    "detect": "Symptom Detection",
    "cause": "Root Cause Analysis (RCA)",
    "recover": "Recovery Procedures",
    "prevent": "Prevention Measures",
}

_HEADING = re.compile(r"\[(RB-\d{3,})\] (\S.*)")
_MEANT_AS_HEADING = re.compile(r"\[\s*(RB\b|[A-Z]+[\W_]?\d)|RB[\W_]?\d", re.IGNORECASE)
_LISTS = ("bullet_list", "ordered_list")

T = TypeVar("T")


# ------------------------------------------------------------------------------------------------- what is offered


def load(path: Path) -> tuple[Runbook, ...]:
    """Read one file of one or many runbooks, or every *.md file of a folder but README.md, by name.

    Raises LabError, with file and line, for what cannot be read, lacks a section, or gives an id twice.
    """
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.glob("*.md") if file.name.lower() != "readme.md")
        if not files:
            raise LabError("no runbook in this folder", where=display(path), mend="add a file such as RB-001-title.md")
    runbooks: dict[str, Runbook] = {}
    for runbook in (runbook for file in files for runbook in _read(file)):
        if earlier := runbooks.get(runbook.id):
            raise LabError(
                f"{runbook.id} stands twice, first in {earlier.file}:{earlier.line}",
                where=f"{runbook.file}:{runbook.line}",
                mend="give one of them another id",
            )
        runbooks[runbook.id] = runbook
    return tuple(runbooks.values())


def procedure(runbook: Runbook, label: str) -> tuple[Claim, ...]:
    """The steps under `label`, in the order of the text; `label` is exact or up to the colon ("Scenario C").

    The label of a single step ("Restart Service") gives that step alone: alternatives in one list are tried apart.
    Raises LabError, naming the nearest label, when there is none, and naming the places when two lists answer to it.
    """
    steps = runbook.of_kind("recover")
    lists: dict[tuple[str, ...], tuple[str, Claim]] = {}
    for step in steps:
        path = _path(step)
        for depth, name in enumerate(path, 1):
            lists.setdefault(path[:depth], (name, step))
    chosen = _choose(runbook, "procedure", label, lists)
    return tuple(step for step in steps if _path(step)[: len(chosen)] == chosen)


def has_procedure(runbook: Runbook, label: str) -> bool:
    """Whether `procedure` would find steps under this label, or complain of more than its being lacking."""
    return any(answers_to(name, label) for step in runbook.of_kind("recover") for name in _path(step))


def labelled(runbook: Runbook, kind: Kind, label: str) -> Claim:
    """The claim of `kind` that has this label, exactly or up to the colon. Raises LabError as `procedure` does."""
    what = {"cause": "cause", "prevent": "prevention"}.get(kind, f"{kind} claim")
    claims = [claim for claim in runbook.of_kind(kind) if claim.label]
    return _choose(runbook, what, label, {claim: (claim.label, claim) for claim in claims})


def signals(runbook: Runbook, not_signals: Mapping[str, str]) -> tuple[Signal, ...]:
    """The alerts and log signatures that the runbook names, without the spans in `not_signals` (span → reason).

    Raises LabError when `not_signals` names a span that no symptom of the runbook holds.
    """
    parts = [(claim, part) for claim in runbook.of_kind("detect") for part in claim.parts if part.kind != "threshold"]
    spans = [part.text for _, part in parts]
    for span in not_signals:
        if span not in spans:
            raise LabError(
                f"{runbook.id} has no span `{span}` among its symptoms{_nearest(span, spans)}",
                where=f"{runbook.file}:{runbook.line}",
                mend="drop it from not_signals or spell it as the text does",
            )
    found = [
        Signal(runbook.id, claim.id, part.text, part.kind)
        for claim, part in parts
        if part.kind in ("alert", "signature") and part.text not in not_signals
    ]
    return tuple(dict.fromkeys(found))


def answers_to(label: str, asked: str) -> bool:
    """Whether `asked` is this label, exactly or up to its colon."""
    return bool(asked) and asked in (label, _short(label))


def display(path: Path) -> str:
    """The path as people see it: relative to the current folder where it lies in it, else as given."""
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    return str(path)


# ------------------------------------------------------------------------------------------- file → sections → leaves


@dataclass
class _Piece:
    """What stands under one heading."""

    name: str
    title: str
    line: int
    depth: int
    nodes: list[SyntaxTreeNode] = field(default_factory=list)


@dataclass(frozen=True)
class _Leaf:
    """A leaf bullet; `under` are the labels around it with their lines, `index` is its place in its list."""

    label: str
    text: str
    line: int
    index: int
    under: tuple[tuple[str, int], ...]


def _read(path: Path) -> Iterator[Runbook]:
    file = display(path)
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise LabError(
            f"cannot be read ({error.strerror})", where=file, mend="give a Markdown file or a folder"
        ) from None
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise LabError("not UTF-8", where=f"{file}:{line}", mend="save the file as UTF-8") from None
    # Without link references, as a `[RB-001]: …` somewhere would take the brackets from the heading; and nested deeper
    # than the default of 20, below which the parser drops bullets in silence.
    markdown = MarkdownIt("commonmark", {"maxNesting": 200}).disable("reference")
    pieces = list(_runbooks(SyntaxTreeNode(markdown.parse(text)), file))
    if not pieces:
        raise LabError("no runbook in this file", where=f"{file}:1", mend="start one with a heading `# [RB-001] Title`")
    digest = hashlib.sha256(raw).hexdigest()
    for piece in pieces:
        claims = tuple(_claims(piece, file))
        yield Runbook(piece.name, piece.title, file, piece.line, digest, claims)


def _runbooks(tree: SyntaxTreeNode, file: str) -> Iterator[_Piece]:
    piece: _Piece | None = None
    for node in tree.children:
        if node.type == "heading":
            title, depth = wording.words(node), _depth(node)
            if found := _HEADING.fullmatch(title):
                if piece:
                    yield piece
                piece = _Piece(found[1], found[2], _line(node), depth)
                continue
            if _MEANT_AS_HEADING.match(title):
                raise LabError(
                    f"malformed runbook heading: {title}",
                    where=f"{file}:{_line(node)}",
                    mend="write it as `[RB-001] Title`",
                )
            if piece and depth <= piece.depth:
                yield piece
                piece = None
        if piece:
            piece.nodes.append(node)
    if piece:
        yield piece


def _sections(runbook: _Piece, file: str) -> dict[Kind, _Piece]:
    kinds = {_heading_words(title): kind for kind, title in SECTIONS.items()}
    found: dict[Kind, _Piece] = {}
    section: _Piece | None = None
    for node in runbook.nodes:
        if node.type == "heading":
            title, depth = wording.words(node), _depth(node)
            if kind := kinds.get(_heading_words(title)):
                if kind in found:
                    raise LabError(
                        f"{runbook.name} has the section {SECTIONS[kind]} twice, first in line {found[kind].line}",
                        where=f"{file}:{_line(node)}",
                        mend="make it one section",
                    )
                section = found[kind] = _Piece(kind, title, _line(node), depth)
                continue
            if section and depth <= section.depth:
                section = None
        if section:
            section.nodes.append(node)
    for number, (kind, title) in enumerate(SECTIONS.items(), 1):
        if kind not in found:
            headings = [wording.words(node) for node in runbook.nodes if node.type == "heading"]
            raise LabError(
                f"{runbook.name} has no section {title}{_nearest(title, headings)}",
                where=f"{file}:{runbook.line}",
                mend=f"add the heading `{'#' * (runbook.depth + 1)} {number}. {title}`",
            )
    return found


def _claims(runbook: _Piece, file: str) -> Iterator[Claim]:
    ids: set[str] = set()
    for kind, section in _sections(runbook, file).items():
        leaves = list(_leaves(section.nodes, ()))
        if not leaves:
            raise LabError(
                f"{runbook.name} claims nothing under {section.title}",
                where=f"{file}:{section.line}",
                mend="add a bullet, or say in one that nothing is known",
            )
        _check(leaves, file)
        for leaf in leaves:
            under = tuple(label for label, _ in leaf.under)
            name = base = "/".join((runbook.name, kind, *_id_words(kind, leaf)))
            for number in range(2, len(leaves) + 2):
                if name not in ids:
                    break
                name = f"{base}-{number}"
            ids.add(name)
            parts = tuple(wording.parts(kind, under, leaf.text))
            yield Claim(name, runbook.name, kind, leaf.label, leaf.text, file, leaf.line, under, parts)


def _leaves(nodes: Sequence[SyntaxTreeNode], around: tuple[tuple[str, int], ...]) -> Iterator[_Leaf]:
    headings: list[tuple[int, tuple[str, int]]] = []
    bold: tuple[tuple[str, int], ...] = ()
    for node in nodes:
        here = (*around, *(label for _, label in headings), *bold)
        if node.type == "heading":
            headings = [
                *(one for one in headings if one[0] < _depth(node)),
                (_depth(node), (wording.words(node), _line(node))),
            ]
            bold = ()
        elif node.type == "paragraph" and (label := wording.label(node)) and label == wording.words(node).rstrip(": "):
            bold = ((label, _line(node)),)
        elif node.type == "blockquote":
            yield from _leaves(node.children, here)
        elif node.type in _LISTS:
            for index, item in enumerate(node.children, 1):
                yield from _item(item, index, here)


def _item(item: SyntaxTreeNode, index: int, around: tuple[tuple[str, int], ...]) -> Iterator[_Leaf]:
    first = item.children[0] if item.children else None
    label = wording.label(first) if first else ""
    if not any(node.type in _LISTS for node in item.walk()):
        text = wording.single_spaced(" ".join(wording.words(node) for node in item.children))
        yield _Leaf(label, text, _line(item), index, around)
    elif first and first.type == "paragraph":
        name = label or wording.words(first).rstrip(": ")
        yield from _leaves(item.children[1:], (*around, (name, _line(item))))
    else:
        yield from _leaves(item.children, around)


def _check(leaves: Sequence[_Leaf], file: str) -> None:
    """Every bullet says something, and no two bullets or lists bear the same labels: they could not be told apart."""
    lines: dict[tuple[str, ...], int] = {}
    for leaf in leaves:
        if not leaf.text:
            raise LabError("a bullet without words", where=f"{file}:{leaf.line}", mend="write its claim or remove it")
        around = (*leaf.under, (leaf.label, leaf.line)) if leaf.label else leaf.under
        for depth, (label, line) in enumerate(around, 1):
            path = tuple(name for name, _ in around[:depth])
            if lines.setdefault(path, line) != line:
                raise LabError(
                    f"the label {label} stands twice, first in line {lines[path]}",
                    where=f"{file}:{line}",
                    mend="give each a label of its own",
                )


def _id_words(kind: Kind, leaf: _Leaf) -> list[str]:
    if kind in ("cause", "prevent") and (own := _slug(leaf.label)):
        return [own]
    inner = _slug(leaf.under[-1][0]) if leaf.under else ""
    return [*filter(None, [inner]), str(leaf.index)]


# ------------------------------------------------------------------------------------------------------- small pieces


def _choose(runbook: Runbook, what: str, asked: str, candidates: Mapping[T, tuple[str, Claim]]) -> T:
    """The one candidate whose label answers to `asked`; an exact one wins over those that match up to the colon."""
    answering = [key for key, (label, _) in candidates.items() if answers_to(label, asked)]
    chosen = [key for key in answering if candidates[key][0] == asked] or answering
    if len(chosen) == 1:
        return chosen[0]
    if chosen:
        several = ", ".join(f"{candidates[key][0]} ({candidates[key][1].where})" for key in chosen)
        raise LabError(
            f"{runbook.id} has several of the label {asked}: {several}",
            where=f"{runbook.file}:{runbook.line}",
            mend=f"name one {what} by its whole label, or give each a label of its own",
        )
    places = {name: place.where for label, place in candidates.values() for name in (label, _short(label))}
    known = {name.casefold(): f"; the nearest is {name} ({where})" for name, where in places.items()}
    near = difflib.get_close_matches(asked.casefold(), known, n=1, cutoff=0.0)
    raise LabError(
        f"{runbook.id} has no {what} {asked}" + "".join(known[name] for name in near),
        where=f"{runbook.file}:{runbook.line}",
        mend="name it as the text does",
    )


def _path(claim: Claim) -> tuple[str, ...]:
    return (*claim.under, claim.label) if claim.label else claim.under


def _short(label: str) -> str:
    return label.partition(":")[0].rstrip()


def _slug(label: str) -> str:
    return re.sub(r"[\W_]+", "-", _short(label).casefold()).strip("-")


def _heading_words(title: str) -> str:
    """A section's heading without its number and without what stands in brackets."""
    return re.sub(r"^\d+[.)]?\s+|\s*\(.*\)$", "", title).strip(" :").casefold()


def _depth(node: SyntaxTreeNode) -> int:
    return int(node.tag[1:])


def _line(node: SyntaxTreeNode) -> int:
    return node.map[0] + 1 if node.map else 0


def _nearest(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; the nearest is {near[0]}" if near else ""
