"""Filters read from text, for the command line and for people.

    filter: conditions joined by or, and, not, binding ever tighter, and round brackets; keywords in any case
    condition: name = value, !=, <, <=, >, >=, ^= (starts with), in (value, ...), not in (value, ...)
    name: a word, dots and hyphens allowed inside, or anything in `backquotes`
    value: "text" or 'text' with JSON's escapes, a number, true, false
"""

from __future__ import annotations

import json
import math
import re
from typing import NoReturn
from unicodedata import east_asian_width

from qianru.errors import BadInput
from qianru.index.filter import KEYWORDS, Compare, Field, Filter, Scalar, encodable

MAX_DEPTH = 100     # of brackets, well within what Python can recurse

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<text> "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' )
    | (?P<number> [-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?!\w) )
    | (?P<quoted> `(?:[^`]|``)+` )
    | (?P<word> [^\W\d](?:[\w.-]*\w)? )
    | (?P<sign> \^= | == | != | <= | >= | [=<>(),] )
    | (?P<end> \Z )
    )""",
    re.VERBOSE | re.DOTALL,
)


class Parser:
    """Recursive descent over the text form; holds one token of look-ahead."""

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise BadInput(f"A filter is read from a text, not from {text!r:.60}.")
        self.text = text
        self.place = 0          # where the look-ahead begins
        self.after = 0
        self.kind = self.token = ""
        self.depth = 0
        self.advance()

    def whole(self) -> Filter:
        if self.kind == "end":
            self.fail("A filter is needed, for example year >= 2020")
        found = self.either()
        if self.kind != "end":
            self.fail("Only 'and' or 'or' can follow here")
        return found

    def either(self) -> Filter:
        found = self.both()
        while self.keyword("or"):
            found = found | self.both()
        return found

    def both(self) -> Filter:
        found = self.single()
        while self.keyword("and"):
            found = found & self.single()
        return found

    def single(self) -> Filter:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail(f"More than {MAX_DEPTH} brackets within one another")
        if self.keyword("not"):
            found = ~self.single()
        elif self.sign("("):
            found = self.either()
            if not self.sign(")"):
                self.fail("A closing bracket is missing")
        else:
            found = self.condition()
        self.depth -= 1
        return found

    def condition(self) -> Filter:
        named = Field(self.name())
        if self.keyword("not"):
            if not self.keyword("in"):
                self.fail("'in' belongs after 'not' here")
            return ~named.isin(self.values())
        if self.keyword("in"):
            return named.isin(self.values())
        sign, place = self.token, self.place
        if self.kind != "sign" or sign in "(),":
            self.fail(f"One of = != < <= > >= ^= in belongs after the field {named.name}")
        self.advance()
        value_place, value = self.place, self.value()
        if sign in ("=", "=="):
            return named == value
        if sign == "!=":
            return named != value
        self.place = value_place if sign == "^=" else place
        if sign == "^=":
            return named.startswith(value) if isinstance(value, str) else self.fail("^= needs a text in quotes")
        if isinstance(value, bool):
            self.fail("true and false have no order; use = or !=")
        return Compare(named.name, sign, value)

    def name(self) -> str:
        kind, token = self.kind, self.token
        if kind == "quoted":
            self.advance()
            return token[1:-1].replace("``", "`")
        if kind == "word" and token.lower() not in KEYWORDS:
            self.advance()
            return token
        return self.fail("A field's name is needed; a name that is not one plain word goes in `backquotes`")

    def values(self) -> list[Scalar]:
        if not self.sign("("):
            self.fail('A list in brackets belongs after in, for example ("zh", "en")')
        if self.sign(")"):
            return []
        found = [self.value()]
        while self.sign(","):
            found.append(self.value())
        if not self.sign(")"):
            self.fail("A comma or a closing bracket is missing in the list")
        return found

    def value(self) -> Scalar:
        kind, token = self.kind, self.token
        found: Scalar | None = None
        try:
            if kind == "text":
                found = encodable(json.loads(f'"{_double_quoted(token)}"', strict=False))
            elif kind == "number":
                found = float(token) if set(token) & set(".eE") else int(token)
            elif token.lower() in ("true", "false"):
                found = token.lower() == "true"
        except ValueError:
            self.fail("This value cannot be read; in a text a backslash is written twice")
        if found is None:
            self.fail("A value is needed: a text in quotes, a number, true or false")
        if isinstance(found, float) and not math.isfinite(found):
            self.fail("This number is too large")
        self.advance()
        return found

    def keyword(self, word: str) -> bool:
        return self.kind == "word" and self.token.lower() == word and self.advance()

    def sign(self, sign: str) -> bool:
        return self.kind == "sign" and self.token == sign and self.advance()

    def advance(self) -> bool:
        found = _TOKEN.match(self.text, self.after)
        if found is None:
            self.place = self.after + len(self.text[self.after :]) - len(self.text[self.after :].lstrip())
            quote = self.text[self.place] in "\"'`"
            self.fail("This quote is never closed" if quote else "This is not part of a filter; texts go in \"quotes\"")
        self.kind = found.lastgroup or ""
        self.token = found[self.kind]
        self.place, self.after = found.start(self.kind), found.end()
        return True

    def fail(self, why: str) -> NoReturn:
        before = self.text[: self.place].rpartition("\n")[2]
        line = before + self.text[self.place :].partition("\n")[0]
        # Chinese letters take two columns in a terminal
        column = sum(2 if east_asian_width(letter) in "WF" else 1 for letter in before)
        raise BadInput(f"{why} (filter, character {self.place + 1}).\n    {line}\n    {' ' * column}^")


def _double_quoted(token: str) -> str:
    """The inside of a quoted token, as JSON would write it."""
    if token[0] == '"':
        return token[1:-1]
    return re.sub(r'\\.|"', lambda m: {"\\'": "'", '"': '\\"'}.get(m[0], m[0]), token[1:-1], flags=re.DOTALL)
