"""The pattern of a sentence: what a step definition is bound by, and the definition to paste where there is none.

Fields are those of the `parse` package, made strict: `{name:code}` takes exactly one code span and yields what stands
inside it, `{name:d}` and `{name:g}` take a number, and a plain `{name}` takes any words that hold no code span, so that
no field can swallow a command. A field without a name (`{:code}`) is matched and not passed on. Braces of the sentence
are doubled. Case counts, the amount of white space does not.
"""

from __future__ import annotations

import json
import keyword
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass

import parse  # type: ignore[import-untyped]

from runlab import wording
from runlab.model import Claim, Kind

_FIELD_KINDS = ("", "code", "d", "g")
_WORD = re.compile(r"[^\W\d_]{2,}")
_DECORATORS: Mapping[Kind, str] = {
    "detect": "@signal({sentence})",
    "recover": '@acts({sentence}, promises={{"fault": False}})  # or @finds, or @advises',
    "prevent": '@advises({sentence}, who="…", why="…")',
}


@dataclass(frozen=True)
class Pattern:
    """A sentence with fields: `fields` gives the kind of each named one, `literals` is the text between them all.

    It is `fixed` when it has no field, named or not.
    """

    fields: Mapping[str, str]
    literals: tuple[str, ...]
    fixed: bool
    parser: parse.Parser

    @classmethod
    def compile(cls, sentence: str) -> Pattern:
        """Raises ValueError, saying what, for a misnamed field, one of an unknown kind, or a lone brace."""
        fields: dict[str, str] = {}
        literals: list[str] = []
        rebuilt, fixed = "", True
        for literal, name, kind, conversion in string.Formatter().parse(wording.single_spaced(sentence)):
            literals.append(literal)
            rebuilt += literal.replace("{", "{{").replace("}", "}}")
            if name is None:
                continue
            if (name and not name.isidentifier()) or conversion or kind not in _FIELD_KINDS:
                raise ValueError(f"bad field {{{name}{':' + kind if kind else ''}}}")
            kind, fixed = kind or "words", False  # noqa: PLW2901 -- as parse names it
            if name and fields.setdefault(name, kind) != kind:
                raise ValueError(f"field {name} has two kinds")
            rebuilt += f"{{{name}:{kind}}}"
        kinds = {
            "code": parse.with_pattern(wording.CODE)(lambda text: text),
            "words": parse.with_pattern(r"[^`]+?")(lambda text: text),
        }
        parser = parse.compile(rebuilt, kinds, case_sensitive=True)
        return cls(fields, tuple(literals), fixed, parser)

    def says_enough(self, *, narrowed: bool) -> bool:
        """Whether it can't match many a sentence: two words side by side stand outside its fields.

        One is enough where a label narrows it, or where it has no field at all.
        """
        pieces = [piece for literal in self.literals for piece in re.split(wording.CODE, literal)]
        longest = max((len(_WORD.findall(piece)) for piece in pieces), default=0)
        return longest >= (1 if narrowed or self.fixed else 2)

    def arguments(self, text: str) -> dict[str, str] | None:
        """The text that each field takes, if the pattern matches the whole text; else None."""
        text = wording.single_spaced(text)
        result = self.parser.parse(text)
        if result is None:
            return None
        taken = {name: text[slice(*result.spans[name])] for name in self.fields}  # as written: 0.50 stays 0.50
        return {n: wording.inside(took) if self.fields[n] == "code" else took.strip() for n, took in taken.items()}


def as_pattern(text: str) -> str:
    """The sentence with a field in place of each of its code spans."""
    spans = re.findall(wording.CODE, text)
    names = ["command"] if len(spans) == 1 else [f"code_{number}" for number in range(1, len(spans) + 1)]
    literals = [literal.replace("{", "{{").replace("}", "}}") for literal in re.split(wording.CODE, text)]
    return literals[0] + "".join(f"{{{name}:code}}{after}" for name, after in zip(names, literals[1:], strict=True))


def snippet(claim: Claim) -> list[str]:
    """The lines of a step definition for this claim, to paste and to fill in; none where no step can carry it out."""
    sentence = as_pattern(claim.text)
    pattern = Pattern.compile(sentence)
    decorator = _DECORATORS.get(claim.kind)
    narrowed = claim.kind != "detect" and bool(claim.under) and not pattern.says_enough(narrowed=False)
    if decorator is None or not pattern.says_enough(narrowed=narrowed):
        return []
    said = json.dumps(sentence, ensure_ascii=False)
    if narrowed:
        said += f", under={json.dumps(claim.under[-1], ensure_ascii=False)}"
    first = ["operator"] if claim.kind == "recover" else []
    return [
        decorator.format(sentence=said),
        f"def {_function_name(claim.text)}({', '.join([*first, *pattern.fields])}):",
        "    raise NotImplementedError",
    ]


def _function_name(text: str) -> str:
    words = re.findall(r"[a-z0-9]+", re.sub(wording.CODE, " ", text).lower())[:5]
    name = "_".join(words) or "step"
    return f"step_{name}" if name[0].isdigit() or keyword.iskeyword(name) else name
