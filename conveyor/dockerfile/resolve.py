"""What building a target of a Dockerfile depends on: its instructions, arguments, base images, and paths of the context.

Only the stages that the target needs count. The values of arguments that are declared there are taken, those of others
are not. What a COPY, an ADD or a mounted directory takes of the context is told as patterns; where that cannot be known
(a variable of a base image, a frontend that is not Docker's) it is everything.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from msgspec import Struct, field

from conveyor.dockerfile.parser import DockerfileError, Instruction, ParsedFile, parse_instruction
from conveyor.dockerfile.shell import BadSubstitution, expand, split_pairs, split_words
from conveyor.keys.encoding import Value
from stapel.oci.api import ImageConfig
from stapel.oci.errors import BadReference
from stapel.oci.reference import normalise

_URL = re.compile(r"(?:https?|git|ssh)://|git@")
_DOCKERS_FRONTEND = re.compile(r"(?:docker\.io/)?docker/dockerfile(?:-upstream)?(?:[:@].*)?")
_FOR_BUILDKIT = re.compile(r"BUILDKIT_.*|SOURCE_DATE_EPOCH")  # it heeds them without a declaration
_OF_BUILDER = frozenset({"BUILDPLATFORM", "BUILDOS", "BUILDARCH", "BUILDVARIANT"})


class Question(Struct, frozen=True):
    """What is built, and by what. `config_of`: the configuration of an image where it is known, for one of the project."""

    target: str  # a name or a number, "" is the last stage
    args: Mapping[str, str]
    platform: str
    builder_platform: str
    config_of: Callable[[str], ImageConfig | None] = lambda reference: None


class Resolved(Struct, frozen=True):
    """What the target is made of. `patterns` are relative to the context; None: everything may be taken.

    `bases` are the images from outside as they are named, each with the platform that FROM asks for, "" where it does not.
    """

    instructions: Value
    args: Mapping[str, Mapping[str, str]]  # by position of the stage, "" for those that BuildKit itself heeds
    bases: tuple[tuple[str, str], ...]
    patterns: tuple[str, ...] | None


class _Stage(Struct):
    """A stage: where it begins, what it is called, and what is known after its last instruction."""

    number: int
    name: str
    begin: Instruction
    own: list[Instruction] = field(default_factory=list)
    env: dict[str, str | None] = field(default_factory=dict)
    args: dict[str, str] = field(default_factory=dict)
    knows_env: bool = True
    triggers: list[Instruction] = field(default_factory=list)


def resolve(parsed: ParsedFile, question: Question) -> Resolved:
    """See the module. `DockerfileError` for what BuildKit would refuse, with its line."""
    syntax = question.args.get("BUILDKIT_SYNTAX") or parsed.directives.get("syntax", "")
    if syntax and not _DOCKERS_FRONTEND.fullmatch(syntax.split()[0]):
        whole: list[Value] = ["frontend", syntax, [_describe(item) for item in parsed.instructions], question.target]
        return Resolved(whole, {"": dict(question.args)}, (), None)
    return _Resolution(parsed, question).run()


class _Link(int):
    """The number of a stage in the file, to become its place among those that are needed."""


def _place(value: Value, places: Mapping[int, int]) -> Value:
    if isinstance(value, _Link):
        return ["stage", places[value]]
    return [_place(item, places) for item in value] if isinstance(value, list) else value


class _Resolution:
    def __init__(self, parsed: ParsedFile, question: Question) -> None:
        self._escape = parsed.escape
        self._syntax = parsed.directives.get("syntax", "")
        self._question = question
        self._platform_args = _platform_args(question)
        self._global: dict[str, str] = {}
        self._declared: dict[tuple[int, str], tuple[bool, str | None]] = {}
        self._stages = self._split(parsed.instructions)
        self._done: dict[int, Value] = {}
        self._bases: dict[tuple[str, str], None] = {}
        self._patterns: dict[str, None] = {}
        self._takes_all = False

    def run(self) -> Resolved:
        target = self._find_target()
        self._resolve(target)
        numbers = sorted(self._done)
        places = {number: place for place, number in enumerate(numbers)}
        stages = [_place(self._done[number], places) for number in numbers]
        args = {str(places[number]): self._stages[number].args for number in numbers}
        args[""] = {name: value for name, value in self._question.args.items() if _FOR_BUILDKIT.fullmatch(name)}
        return Resolved(
            [self._syntax, self._escape, stages],
            {place: values for place, values in args.items() if values},
            tuple(self._bases),
            None if self._takes_all else tuple(sorted(self._patterns)),
        )

    def _split(self, instructions: Sequence[Instruction]) -> list[_Stage]:
        stages: list[_Stage] = []
        for item in instructions:
            if item.keyword == "FROM":
                words = item.text.split()
                if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
                    raise DockerfileError(item.line, f"FROM {item.text}: one image is asked for, or `IMAGE AS NAME`")
                stages.append(_Stage(len(stages), words[2].lower() if len(words) == 3 else "", item))
            elif stages:
                stages[-1].own.append(item)
            elif item.keyword == "ARG":
                self._declare_globally(item)
            else:
                raise DockerfileError(item.line, f"{item.keyword} before the first FROM", "only ARG may stand there")
        if not stages:
            raise DockerfileError(0, "the Dockerfile has no FROM")
        return stages

    def _declare_globally(self, item: Instruction) -> None:
        for name, default in _declarations(item):
            value = self._question.args.get(name)
            if value is None and default is not None:
                value = self._expand(default, self._look_up_globally, item)
            if value is None:
                value = self._platform_args.get(name)
            if value is not None:
                self._global[name] = value

    def _find_target(self) -> _Stage:
        wanted = self._question.target
        if not wanted:
            return self._stages[-1]
        found = self._named(wanted, len(self._stages))
        if found is None and wanted.isdigit() and int(wanted) < len(self._stages):
            found = self._stages[int(wanted)]
        if found is None:
            names = ", ".join(stage.name for stage in self._stages if stage.name) or "none has a name"
            raise DockerfileError(0, f"target stage `{wanted}` could not be found", f"stages of the Dockerfile: {names}")
        return found

    def _named(self, name: str, before: int) -> _Stage | None:
        return next((one for one in reversed(self._stages[:before]) if one.name and one.name == name.lower()), None)

    def _earlier(self, name: str, before: int) -> _Stage | None:
        """The stage that a name or a number means to the stage at a position."""
        named = self._named(name, before)
        if named is not None:
            return named
        if name.isdigit() and int(name) < before:
            return self._stages[int(name)]
        return None

    def _resolve(self, stage: _Stage) -> None:
        if stage.number in self._done:
            return
        self._done[stage.number] = None
        base, triggers = self._begin(stage)
        described = [self._instruct(stage, item) for item in (*triggers, *stage.own)]
        self._done[stage.number] = [base, described]

    def _begin(self, stage: _Stage) -> tuple[Value, list[Instruction]]:
        item = stage.begin
        name = self._expand(item.text.split()[0], self._look_up_globally, item) or ""
        if not name:
            hint = "give the argument a value by `args` or a default"
            raise DockerfileError(item.line, f"FROM {item.text}: the name of the base is empty", hint)
        platform = item.flag("platform") or ""
        earlier = self._named(name, stage.number)
        if earlier is not None:
            self._resolve(earlier)
            stage.env, stage.knows_env = dict(earlier.env), earlier.knows_env
            return [_Link(earlier.number), platform], earlier.triggers
        if name == "scratch":
            return ["scratch", platform], []
        reference = self._take_image(name, item, platform)
        config = self._question.config_of(name)
        if config is None:
            stage.knows_env = False
            return ["image", reference, platform], []
        stage.env |= {name: value for name, _, value in (text.partition("=") for text in config.run.get("Env") or ())}
        triggers = [parse_instruction(text, item.line) for text in config.run.get("OnBuild") or ()]
        return ["image", reference, platform], triggers

    def _take_image(self, name: str, item: Instruction, platform: str = "") -> str:
        try:
            reference = normalise(name)
        except BadReference as error:
            raise DockerfileError(item.line, f"{item.keyword} {item.text}: {error}", error.hint) from error
        wanted = (self._expand(platform, self._look_up_globally, item) or "") if platform else ""
        self._bases[name, wanted] = None
        return reference

    def _instruct(self, stage: _Stage, item: Instruction) -> Value:
        """What an instruction says in a key; what it takes is noted."""
        links: list[Value] = []
        if item.keyword == "ARG":
            names: list[Value] = []
            for name, default in _declarations(item):
                names.append(name)
                self._declare(stage, name, default, item)
            return ["ARG", names]
        if item.keyword == "ENV":
            for name, raw in split_pairs(item.text):
                stage.env[name] = self._expand(raw, self._look_up_in(stage), item)
        elif item.keyword in ("COPY", "ADD"):
            links += self._copy(stage, item)
        elif item.keyword == "RUN":
            for flag in item.flags:
                if flag.startswith("--mount="):
                    links += self._mount(stage, item, flag.removeprefix("--mount="))
        elif item.keyword == "ONBUILD":
            stage.triggers.append(parse_instruction(item.text, item.line, item.documents))
        return [_describe(item), links] if links else [_describe(item)]

    def _declare(self, stage: _Stage, name: str, default: str | None, item: Instruction) -> None:
        value = self._question.args.get(name)
        if value is None and default is not None:
            value = self._expand(default, self._look_up_in(stage), item)
        if value is None and default is None:
            value = self._global.get(name, self._platform_args.get(name))
        if value is not None and name not in _OF_BUILDER:
            stage.args[name] = value
        is_set = value is not None or default is not None
        self._declared[stage.number, name] = (is_set, value)

    def _copy(self, stage: _Stage, item: Instruction) -> Iterator[Value]:
        origin = item.flag("from")
        if origin:
            yield self._take_from(stage, item, origin)
            return
        words = item.json_list()
        if words is None:
            words = item.text.split()
        for word in words[:-1]:
            if word.startswith("<<") and item.documents:
                continue
            path = self._expand(word, self._look_up_in(stage), item)
            if path is None:
                self._takes_all = True
            elif not (item.keyword == "ADD" and _URL.match(path)):
                self._take_path(path)

    def _mount(self, stage: _Stage, item: Instruction, text: str) -> Iterator[Value]:
        fields: dict[str, str | None] = {}
        for word in text.split(","):
            key, _, value = word.partition("=")
            fields[key.strip().lower()] = self._expand(value, self._look_up_in(stage), item)
        kind = fields.get("type", "bind")
        if kind is None:
            self._takes_all = True
        if kind not in ("bind", "cache", None):
            return
        origin = fields.get("from")
        if origin:
            yield self._take_from(stage, item, origin)
        elif "from" in fields and origin is None:
            self._takes_all = True
        elif kind != "cache":
            source = next((fields[key] for key in ("source", "src") if key in fields), "")
            if source is None:
                self._takes_all = True
            else:
                self._take_path(source)

    def _take_from(self, stage: _Stage, item: Instruction, origin: str) -> Value:
        earlier = self._earlier(origin, stage.number)
        if earlier is not None:
            self._resolve(earlier)
            return _Link(earlier.number)
        if origin == "scratch":
            return ["scratch"]
        return ["image", self._take_image(origin, item)]

    def _take_path(self, path: str) -> None:
        cleaned = posixpath.normpath("/" + path.replace("\0", "")).lstrip("/")
        if not cleaned:
            self._takes_all = True
        self._patterns[cleaned] = None

    def _expand(self, text: str, lookup: Callable[[str], tuple[bool, str | None]], item: Instruction) -> str | None:
        try:
            return expand(text, lookup, self._escape)
        except BadSubstitution as error:
            raise DockerfileError(item.line, f"{item.keyword}: {error}") from error

    def _look_up_globally(self, name: str) -> tuple[bool, str | None]:
        value = self._global.get(name, self._platform_args.get(name))
        return value is not None, value

    def _look_up_in(self, stage: _Stage) -> Callable[[str], tuple[bool, str | None]]:
        def look_up(name: str) -> tuple[bool, str | None]:
            if name in stage.env:
                return True, stage.env[name]
            # What a base from outside sets beside an argument is looked at when it is here (`check_bases`).
            return self._declared.get((stage.number, name), (not stage.knows_env, None))

        return look_up


def _declarations(item: Instruction) -> list[tuple[str, str | None]]:
    """The names that an ARG declares, each with its raw default."""
    found: list[tuple[str, str | None]] = []
    for word in split_words(item.text):
        name, equals, default = word.partition("=")
        found.append((name, default if equals else None))
    return found


def _describe(item: Instruction) -> Value:
    documents: list[Value] = [[document.name, document.text, document.expands] for document in item.documents]
    described: list[Value] = [item.keyword, list(item.flags), item.text]
    return [*described, documents] if documents else described


def _platform_args(question: Question) -> dict[str, str]:
    found: dict[str, str] = {}
    for prefix, platform in (("TARGET", question.platform), ("BUILD", question.builder_platform)):
        system, _, rest = platform.partition("/")
        architecture, _, variant = rest.partition("/")
        found |= {
            f"{prefix}PLATFORM": platform,
            f"{prefix}OS": system,
            f"{prefix}ARCH": architecture,
            f"{prefix}VARIANT": variant,
        }
    return found
