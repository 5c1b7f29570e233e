"""Functions of sprig over semantic versions and constraints on them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from conveyor.config.template.functions import Function, FunctionError, Runtime, declare
from conveyor.config.template.json_text import Marshaled
from conveyor.config.template.number_text import parse_int
from conveyor.config.template.sprig.regexps import compile_pattern
from conveyor.config.template.values import Uint64, Value, raw
from conveyor.config.template.values import text as as_text

_IDENTIFIER = r"(?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)"
_VERSION = re.compile(
    r"v?(0|[1-9][0-9]*)(?:\.(0|[1-9][0-9]*))?(?:\.(0|[1-9][0-9]*))?"
    rf"(?:-({_IDENTIFIER}(?:\.{_IDENTIFIER})*))?(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?"
)
_SUFFIXES = r"(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
_LOOSE = rf"v?[0-9|xX*]+(?:\.[0-9|xX*]+)?(?:\.[0-9|xX*]+)?{_SUFFIXES}"
_OPERATORS = r"=|!=|>|<|>=|=>|<=|=<|~|~>|\^"
_OPERATOR = rf"(?:{_OPERATORS}|)"
_SPACE = r"[\t\n\f\r ]"
_BYTES_COPIED_IN_A_STEP = 16
_RANGE = rf"{_SPACE}*({_LOOSE}){_SPACE}+-{_SPACE}+({_LOOSE}){_SPACE}*"
_ONE = rf"(?:{_OPERATOR}){_SPACE}*(?:{_LOOSE})"
_ALL = rf"^(?:{_SPACE}*{_ONE}{_SPACE}*)(?:(?:{_SPACE}+|,{_SPACE}*){_ONE}{_SPACE}*)*$"
_PARTS = (
    rf"^{_SPACE}*({_OPERATOR}){_SPACE}*v?([0-9|xX*]+)(?:\.([0-9|xX*]+))?(?:\.([0-9|xX*]+))?"
    rf"(-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?{_SPACE}*$"
)
_OF_POINTERS = frozenset(("Original", "Compare", "Equal", "LessThan", "LessThanEqual", "GreaterThan", "GreaterThanEqual"))
_WILDCARDS = frozenset(("x", "X", "*", ""))

Numbers = tuple[int, int, int]


class Version(Marshaled):
    """`*semver.Version`: three numbers, a prerelease and metadata."""

    __slots__ = ("metadata", "numbers", "original", "prerelease")
    go_type = "*semver.Version"
    kind = "ptr"

    def __init__(self, numbers: Numbers, prerelease: str = "", metadata: str = "", original: str = "") -> None:
        self.numbers = numbers
        self.prerelease = prerelease
        self.metadata = metadata
        self.original = original or self.text()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._parts() == self._parts()

    def __hash__(self) -> int:
        return hash(self._parts())

    def _parts(self) -> tuple[Numbers, str, str, str]:
        return self.numbers, self.prerelease, self.metadata, self.original

    def text(self) -> str:
        """The version in full."""
        text = ".".join(map(str, self.numbers))
        return text + (f"-{self.prerelease}" if self.prerelease else "") + (f"+{self.metadata}" if self.metadata else "")

    def marshal_text(self) -> str:
        """The version in full."""
        return self.text()

    def methods(self) -> Mapping[str, Function]:
        """Its parts, comparisons, and the versions that follow it."""
        return dict(
            (
                declare("Major", "", lambda: Uint64(self.numbers[0])),
                declare("Minor", "", lambda: Uint64(self.numbers[1])),
                declare("Patch", "", lambda: Uint64(self.numbers[2])),
                declare("Prerelease", "", lambda: self.prerelease),
                declare("Metadata", "", lambda: self.metadata),
                declare("Original", "", lambda: self.original),
                declare("String", "", self.text),
                declare("Compare", "*semver.Version", lambda other: compare(self, other)),
                declare("Equal", "*semver.Version", lambda other: compare(self, other) == 0),
                declare("LessThan", "*semver.Version", lambda other: compare(self, other) < 0),
                declare("LessThanEqual", "*semver.Version", lambda other: compare(self, other) <= 0),
                declare("GreaterThan", "*semver.Version", lambda other: compare(self, other) > 0),
                declare("GreaterThanEqual", "*semver.Version", lambda other: compare(self, other) >= 0),
                declare("IncMajor", "", lambda: self._next(self.numbers[0] + 1, 0, 0)),
                declare("IncMinor", "", lambda: self._next(self.numbers[0], self.numbers[1] + 1, 0)),
                declare("IncPatch", "", self._next_patch),
                declare("SetPrerelease", "string", lambda text: self._with(_checked(text), self.metadata)),
                declare("SetMetadata", "string", lambda text: self._with(self.prerelease, _checked(text))),
            )
        )

    def _next(self, *numbers: int) -> Version:
        return self._prefixed(VersionValue((numbers[0], numbers[1], numbers[2])))

    def _next_patch(self) -> Version:
        major, minor, patch = self.numbers
        return self._next(major, minor, patch if self.prerelease else patch + 1)

    def _with(self, prerelease: str, metadata: str) -> Version:
        return self._prefixed(VersionValue(self.numbers, prerelease, metadata))

    def _prefixed(self, version: Version) -> Version:
        version.original = ("v" if self.original.startswith("v") else "") + version.original
        return version


class VersionValue(Version):
    """`semver.Version`: what the methods of a version give."""

    __slots__ = ()
    go_type = "semver.Version"
    kind = "struct"

    def methods(self) -> Mapping[str, Function]:
        """Those that Go declares for the value itself: no comparisons."""
        return {name: method for name, method in super().methods().items() if name not in _OF_POINTERS}


def parse_version(text: str) -> Version:
    """The version of a text, which may begin with `v` and leave out minor and patch. Raises FunctionError."""
    found = _VERSION.fullmatch(text)
    if found is None:
        raise FunctionError("Invalid Semantic Version")
    numbers = []
    for part in found.groups()[:3]:
        number = parse_int(part or "0", 10, unsigned=True)
        if number is None:
            raise FunctionError(f'Error parsing version segment: strconv.ParseUint: parsing "{part}": value out of range')
        numbers.append(number)
    return Version((numbers[0], numbers[1], numbers[2]), found[4] or "", found[5] or "", text)


def compare(one: Version, other: Version | None) -> int:
    """-1, 0 or 1 by the precedence of versions; metadata does not count. Raises FunctionError for nil."""
    if other is None:
        raise FunctionError("runtime error: invalid memory address or nil pointer dereference")
    if one.numbers != other.numbers:
        return -1 if one.numbers < other.numbers else 1
    if one.prerelease == other.prerelease:
        return 0
    if not one.prerelease or not other.prerelease:
        return -1 if one.prerelease else 1
    return _compare_prereleases(one.prerelease, other.prerelease)


def satisfies(runtime: Runtime, constraint: str, version: str) -> bool:
    """Whether a version is one that a constraint allows: `>= 1.2, < 3 || ^5`, ranges `1 - 3`, wildcards."""
    alternatives = _parse_constraint(runtime, constraint)
    candidate = parse_version(version)
    return any(all(part.allows(candidate) for part in parts) for parts in alternatives)


class _Constraint:
    """An operator and a version of which the last numbers may be left open."""

    __slots__ = ("given", "operator", "version")

    def __init__(self, operator: str, version: Version, given: int) -> None:
        self.operator = operator
        self.version = version
        self.given = given  # how many of the three numbers are there

    def allows(self, version: Version) -> bool:
        """Prereleases only where the constraint names one."""
        if version.prerelease and not self.version.prerelease and (self.operator != "!=" or self.given < 3):
            return False
        return _RULES[self.operator](self, version)

    def same(self, version: Version, count: int) -> bool:
        """Whether the first numbers agree."""
        return version.numbers[:count] == self.version.numbers[:count]


def _not_equal(rule: _Constraint, version: Version) -> bool:
    if rule.given == 3:
        return compare(version, rule.version) != 0
    if rule.given == 2 and rule.same(version, 2):
        return _compare_prereleases(version.prerelease, rule.version.prerelease) != 0
    return not rule.same(version, max(rule.given, 1)) if rule.given != 0 else _differs_from_anything(rule, version)


def _differs_from_anything(rule: _Constraint, version: Version) -> bool:
    """`!=*`: Go's library compares with 0.0.0 there, prerelease and all."""
    return not rule.same(version, 2) or compare(version, rule.version) != 0


def _greater(rule: _Constraint, version: Version) -> bool:
    if rule.given in (1, 2):
        return version.numbers[: rule.given] > rule.version.numbers[: rule.given]
    return version.numbers[0] > rule.version.numbers[0] or compare(version, rule.version) > 0


def _less(rule: _Constraint, version: Version) -> bool:
    return compare(version, rule.version) < 0


def _greater_or_equal(rule: _Constraint, version: Version) -> bool:
    return compare(version, rule.version) >= 0


def _less_or_equal(rule: _Constraint, version: Version) -> bool:
    if rule.given == 3:
        return compare(version, rule.version) <= 0
    count = 1 if rule.given == 1 else 2
    return version.numbers[:count] <= rule.version.numbers[:count]


def _tilde(rule: _Constraint, version: Version) -> bool:
    if compare(version, rule.version) < 0:
        return False
    if rule.version.numbers == (0, 0, 0) and rule.given in (0, 3):
        return True
    return rule.same(version, 1 if rule.given == 1 else 2)


def _equal(rule: _Constraint, version: Version) -> bool:
    return _tilde(rule, version) if rule.given < 3 else compare(version, rule.version) == 0


def _caret(rule: _Constraint, version: Version) -> bool:
    if compare(version, rule.version) < 0:
        return False
    major, minor, _ = rule.version.numbers
    if major > 0 or rule.given == 1:
        return rule.same(version, 1)
    if minor > 0 or rule.given == 2:
        return rule.same(version, 2)
    return rule.same(version, 3)


_RULES: dict[str, Callable[[_Constraint, Version], bool]] = {
    "": _equal, "=": _equal, "!=": _not_equal, ">": _greater, "<": _less, ">=": _greater_or_equal, "=>": _greater_or_equal,
    "<=": _less_or_equal, "=<": _less_or_equal, "~": _tilde, "~>": _tilde, "^": _caret,
}  # fmt: skip


def _parse_constraint(runtime: Runtime, text: str) -> list[list[_Constraint]]:
    octets = raw(text)
    for found in list(compile_pattern(_RANGE).finditer(octets)):
        runtime.charge(len(octets) // _BYTES_COPIED_IN_A_STEP)
        octets = octets.replace(found.group(), b">= %b, <= %b " % (found.group(1), found.group(2)), 1)
    alternatives = []
    for alternative in octets.split(b"||"):
        if not compile_pattern(_ALL).search(alternative):
            raise FunctionError(f"improper constraint: {as_text(alternative)}")
        alternatives.append([_parse_one(found.group()) for found in compile_pattern(_ONE).finditer(alternative)])
    return alternatives


def _parse_one(octets: bytes) -> _Constraint:
    found = compile_pattern(_PARTS).search(octets)
    if found is None:
        raise FunctionError(f"improper constraint: {as_text(octets)}")
    operator, *numbers, prerelease = (as_text(group or b"") for group in found.groups())
    given = next((index for index, number in enumerate(numbers) if number in _WILDCARDS), 3)
    try:
        version = parse_version(".".join((*numbers[:given], *("0",) * (3 - given))) + prerelease)
    except FunctionError:
        raise FunctionError("constraint Parser Error") from None
    return _Constraint(operator, version, given)


def _compare_prereleases(one: str, other: str) -> int:
    ours, theirs = one.split("."), other.split(".")
    length = max(len(ours), len(theirs))
    for left, right in zip(ours + [""] * (length - len(ours)), theirs + [""] * (length - len(theirs)), strict=True):
        if left != right:
            return _compare_identifiers(left, right)
    return 0


def _compare_identifiers(one: str, other: str) -> int:
    if not one or not other:
        return 1 if one else -1
    left, right = parse_int(one, 10, unsigned=True), parse_int(other, 10, unsigned=True)
    if left is None or right is None:
        if left is None and right is None:
            return 1 if one > other else -1
        return 1 if left is None else -1
    return 1 if left > right else -1


def _checked(identifiers: str) -> str:
    if identifiers and not re.fullmatch(r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*", identifiers):
        raise FunctionError("Invalid Metadata string")
    return identifiers


def version_of(text: str) -> Value:
    """As `parse_version`."""
    return parse_version(text)


FUNCTIONS = dict(
    (
        declare("semver", "string", version_of, walks=3),
        declare("semverCompare", "string string", satisfies, runtime=True, walks=120, each=100),
    )
)
