"""From a text to tokens: one frozen set of options that says how, and does it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import compress, filterfalse
from typing import Any, Literal, Self

from qianru.errors import BadInput, UnknownName
from qianru.text.normalize import fold, spelled_in_ascii
from qianru.text.segment import Segmenter, Span, parse_user_word, segmenter
from qianru.text.stopwords import stop_words as words_of_list

_WHITESPACE = re.compile(r"\s\s+")
_HAN = re.compile("[\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_CHARACTER = re.compile(r"\s\s+|.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Analyzer:
    """How a text becomes tokens; every option is part of a model's identity.

    unit: words that hold a letter, digit or Han character, or all characters (as scikit-learn's "char")
    ngrams: shortest and longest run of units that is a token; word n-grams are joined by a space
    mode: "search" adds the shorter words inside long ones, as jieba's cut_for_search
    characters: each Han character of a longer word is a token too, so that 花 finds 花落
    hmm: guess words that are not in the dictionary
    lowercase: capitals to small letters
    fold_width, fold_script: full-width to usual forms, Traditional to Simplified, character by character
    split: each of these characters becomes a space, before anything else is looked at
    drop: regular expression; what it matches is taken out, after split
    pattern: regular expression whose matches (or whose one group) are the words, in place of segmentation
    stop_lists, stop_words: names of lists ("zh", "en") and single words to leave out
    user_words: lines of a jieba user dictionary, see read_user_words

    Raises BadInput for options that contradict each other or patterns that do not compile, UnknownName
    for a list that there is not.

    >>> Analyzer().tokens("BGE-M3能读懂中文，100%！")
    ['bge', 'm3', '能', '读懂', '中文', '100%']
    >>> Analyzer(unit="char", ngrams=(2, 3)).tokens("我爱吃肉")
    ['我爱', '爱吃', '吃肉', '我爱吃', '爱吃肉']
    """

    unit: Literal["word", "char"] = "word"
    ngrams: tuple[int, int] = (1, 1)
    mode: Literal["default", "search"] = "default"
    characters: bool = False
    hmm: bool = True
    lowercase: bool = True
    fold_width: bool = True
    fold_script: bool = False
    split: str = ""
    drop: str | None = None
    pattern: str | None = None
    stop_lists: tuple[str, ...] = ()
    stop_words: tuple[str, ...] = ()
    user_words: tuple[str, ...] = ()
    _plan: list[_Plan] = field(default_factory=list, init=False, repr=False, compare=False)      # made when first used

    def __post_init__(self) -> None:
        for option in fields(self)[:-1]:
            _check_type(option.name, getattr(self, option.name), option.default)
        if len(self.ngrams) != 2 or not all(isinstance(n, int) for n in self.ngrams):
            raise BadInput(f"ngrams must be two whole numbers, shortest and longest, not {self.ngrams}.")
        if not 1 <= self.ngrams[0] <= self.ngrams[1]:
            raise BadInput(f"ngrams go from 1 or more to as many or more, not {self.ngrams[0]} to {self.ngrams[1]}.")
        _one_of("unit", self.unit, ("word", "char"))
        _one_of("mode", self.mode, ("default", "search"))
        segmented = {"user_words": self.user_words, "mode": self.mode == "search", "characters": self.characters}
        worded = {"pattern": self.pattern, "stop_lists": self.stop_lists, "stop_words": self.stop_words, **segmented}
        _no_use("unit='char'", worded if self.unit == "char" else {})
        _no_use("a pattern", segmented if self.pattern is not None else {})
        _no_use("n-grams of words", {"characters": self.characters} if self.ngrams != (1, 1) else {})
        if self.pattern is not None and _compiled(self.pattern).groups > 1:
            raise BadInput(f"The pattern {self.pattern!r} has several groups; write (?:…) for all but the word.")
        if self.drop is not None:
            _compiled(self.drop)
        for name in self.stop_lists:
            words_of_list(name)
        for line in self.user_words:
            parse_user_word(line)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_json, (self.to_json(),)      # to another process without the dictionary

    def tokens(self, text: str) -> list[str]:
        """The tokens in order, shorter n-grams before longer ones.

        >>> Analyzer(ngrams=(1, 2), stop_lists=("zh",)).tokens("蔬菜和水果的味道")
        ['蔬菜', '水果', '味道', '蔬菜 水果', '水果 味道']
        """
        plan = self._made()
        text = plan.cleaned(text)
        if self.characters and plan.stop:
            return self._words_that_stay(plan, text)
        if self.unit == "char":
            return _ngrams(_WHITESPACE.sub(" ", plan.lowered(text)), self.ngrams, joint="")
        if plan.pattern is not None:
            words = [word for word in plan.pattern.findall(plan.lowered(text)) if word]
        elif spelled_in_ascii(text) is text:
            words = plan.segmenter.words(text, search=self.mode == "search", hmm=self.hmm)
            if self.lowercase and text.lower() != text:
                words = [word.lower() for word in words]
        else:
            words = [word for word, _, _ in self._segmented(plan, text)]
        if self.characters:
            characters = _HAN.findall(text)
            single = set(characters)
            words = [*filterfalse(single.__contains__, words), *characters]      # of a million words, so in C
        if plan.stop:
            words = [word for word in words if word not in plan.stop]
        return words if self.ngrams == (1, 1) else _ngrams(words, self.ngrams, joint=" ")

    def spans(self, text: str) -> list[Span]:
        """The single words or characters, each with its start and end in the text as it was given, for highlighting.

        >>> Analyzer().spans("我爱ＡＩ")
        [('我', 0, 1), ('爱', 1, 2), ('ai', 2, 4)]
        """
        plan = self._made()
        cleaned = plan.cleaned(text)
        if self.unit == "char":
            characters = _CHARACTER.finditer(plan.lowered(cleaned))
            found = [(" " if len(each[0]) > 1 else each[0], *each.span()) for each in characters]
        elif plan.pattern is not None:
            group = plan.pattern.groups      # 0, the match, or 1, its group
            matches = plan.pattern.finditer(plan.lowered(cleaned))
            found = [(each[group], *each.span(group)) for each in matches if each[group]]
        else:
            found = self._segmented(plan, cleaned)
            if self.characters:
                found = [span for span in found if span[0] not in plan.stop]
                covered = {at for _, start, end in found for at in range(start, end)}
                found = [span for span in found if len(span[0]) > 1 or not _HAN.match(span[0])]
                found += [(each[0], *each.span()) for each in _HAN.finditer(cleaned) if each.start() in covered]
                found.sort(key=lambda span: (span[1], -span[2]))
        if plan.drop is not None:
            origin = plan.origin(text)
            found = [(word, origin[start], origin[end - 1] + 1) for word, start, end in found]
        return [span for span in found if span[0] not in plan.stop] if plan.stop else found

    def to_json(self) -> dict[str, Any]:
        """Every option, as JSON can hold it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in self._options().items()}

    @classmethod
    def from_json(cls, options: Mapping[str, Any]) -> Self:
        """The analyzer that to_json described; options left out have their defaults.

        Raises UnknownName for an option that there is not.
        """
        known = [f.name for f in fields(cls) if f.init]
        for name in options:
            if name not in known:
                raise UnknownName("option of an analyzer", name, known)
        given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in options.items()}
        return cls(**given)

    def _options(self) -> dict[str, Any]:
        return {option.name: getattr(self, option.name) for option in fields(self) if option.init}

    def _made(self) -> _Plan:
        if not self._plan:
            self._plan.append(_Plan(self))
        return self._plan[0]

    def _words_that_stay(self, plan: _Plan, text: str) -> list[str]:
        """Words that are no stop words, then the characters inside of them that are none."""
        stop = plan.stop
        words = [span for span in self._segmented(plan, text) if span[0] not in stop]
        covered = bytearray(len(text))
        for word, start, end in words:
            covered[start:end] = b"\1" * len(word)
        characters = _HAN.findall("".join(compress(text, covered)))
        single = set(characters)
        return [word for word, _, _ in words if word not in single] + [each for each in characters if each not in stop]

    def _segmented(self, plan: _Plan, text: str) -> list[Span]:
        spelled = spelled_in_ascii(text)
        spans = plan.segmenter.spans(spelled, search=self.mode == "search", hmm=self.hmm)
        if spelled is text and (not self.lowercase or text.lower() == text):
            return spans
        if self.lowercase:
            return [(text[start:end].lower(), start, end) for _, start, end in spans]
        return [(text[start:end], start, end) for _, start, end in spans]


class _Plan:
    """What an analyzer needs compiled, folded or loaded before it can work."""

    def __init__(self, options: Analyzer) -> None:
        self._options = options
        self._split = {ord(sign): " " for sign in options.split}
        self.drop = None if options.drop is None else _compiled(options.drop)
        self.pattern = None if options.pattern is None else _compiled(options.pattern)
        stop = {self.folded(word) for word in options.stop_words}.union(*map(words_of_list, options.stop_lists))
        self.stop = frozenset(map(self.lowered, stop))
        self.user_words = tuple(map(self.folded, options.user_words))

    @cached_property
    def segmenter(self) -> Segmenter:
        return segmenter(self.user_words)

    def folded(self, text: str) -> str:
        """As long as the text."""
        text = fold(text, width=self._options.fold_width, script=self._options.fold_script)
        if self._options.lowercase:
            text = text.replace("İ", "I")      # the one letter whose small form is two characters
        return text.translate(self._split) if self._split else text

    def lowered(self, text: str) -> str:
        """As long as the text."""
        return text.lower() if self._options.lowercase else text

    def cleaned(self, text: str) -> str:
        """The folded text without what is dropped."""
        text = self.folded(text)
        return text if self.drop is None else "".join([text[start:end] for start, end in self._kept(text)])

    def origin(self, text: str) -> list[int]:
        """For each character of the cleaned text, where it stood in the text."""
        return [at for start, end in self._kept(self.folded(text)) for at in range(start, end)]

    def _kept(self, folded: str) -> Iterator[tuple[int, int]]:
        assert self.drop is not None
        start = 0
        for out in self.drop.finditer(self.lowered(folded)):
            yield start, out.start()
            start = out.end()
        yield start, len(folded)


def _ngrams(units: Sequence[str], lengths: tuple[int, int], *, joint: str) -> list[str]:
    """Every run of as many units as `lengths` allows, shortest first."""
    runs = range(lengths[0], min(lengths[1], len(units)) + 1)
    return [run for n in runs for run in map(joint.join, zip(*(units[at:] for at in range(n)), strict=False))]


def _check_type(name: str, value: object, default: object) -> None:
    wanted = str if default is None else type(default)
    if not isinstance(value, wanted) and not (value is None and default is None):      # "zh" for ("zh",)
        raise BadInput(f"{name} must be a {wanted.__name__}, not {value!r}.")
    if default == () and isinstance(value, tuple) and not all(isinstance(each, str) for each in value):
        raise BadInput(f"{name} must hold str, not {value!r}.")


def _one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UnknownName(option, value, known)


def _no_use(beside: str, options: dict[str, Any]) -> None:
    for name, given in options.items():
        if given:
            raise BadInput(f"{name} means nothing beside {beside}. Leave one of them out.")


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise BadInput(f"The pattern {pattern!r} is no regular expression: {error}.") from None


ENGLISH = Analyzer(
    split="/(){}[]|@,;",
    drop="[^0-9a-z #+_]",
    pattern=r"(?u)\b\w\w+\b",      # scikit-learn's
    stop_lists=("en",),
)
"""The usual recipe for English: small letters, brackets and commas to spaces, other signs out, words of two letters up.

A line break is among the signs that go, so the words on both sides of it become one unless a space stands there too.
"""

SEARCH = Analyzer(mode="search", characters=True, fold_script=True)
"""What collections use: long words are also found by the shorter ones and the characters inside, in either script."""
