"""What people are told about refusals. The key phrases are werf's: people search for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

EXTERNAL = "the configuration with potential external dependency found in the werf config: "

_ELSEWHERE = "another machine has another one, and the same commit would give another image"
_REFUSED = {
    "config.goTemplateRendering.allowEnvVariables": (
        EXTERNAL + 'env name "{}" not allowed by giterminism',
        "the value of the variable is not in the commit: " + _ELSEWHERE,
    ),
    "config.stapel.allowFromLatest": (
        EXTERNAL + "fromLatest directive not allowed by giterminism",
        "what the tag names today is not in the commit, and may be another image tomorrow",
    ),
    "config.stapel.git.allowBranch": (
        EXTERNAL + "git branch directive not allowed by giterminism",
        "a branch moves: name a commit or a tag",
    ),
    "config.stapel.mount.allowBuildDir": (
        EXTERNAL + '"mount {{ from: build_dir, ... }}" not allowed by giterminism',
        "the directory keeps what earlier builds on this machine left in it",
    ),
    "config.stapel.mount.allowFromPaths": (
        EXTERNAL + '"mount {{ fromPath: {}, ... }}" not allowed by giterminism',
        "the directory of this machine is not in the commit: " + _ELSEWHERE,
    ),
    "config.dockerfile.allowContextAddFiles": (
        EXTERNAL + 'contextAddFile "{}" not allowed by giterminism',
        "the file is taken from the disk and not from the commit",
    ),
    "config.secrets.allowEnvVariables": (
        EXTERNAL + 'secret "{}" is not allowed by giterminism',
        "the value of the variable is not in the commit",
    ),
    "config.secrets.allowFiles": (
        EXTERNAL + 'secret "{}" is not allowed by giterminism',
        "the file is read from this machine and not from the commit",
    ),
    "config.secrets.allowValueIds": (
        EXTERNAL + 'secret "{}" is not allowed by giterminism',
        "a secret that is written in the configuration is one that everybody can read",
    ),
    "cli.allowCustomTags": ("custom tags not allowed by giterminism", "a custom tag may be moved by anybody"),
    "includes.allowIncludesUpdate": (
        "using --allow-includes-update option is not allowed by giterminism",
        "what is newest today is not in the commit",
    ),
}
_FLAGS = frozenset({"allowCustomTags", "allowUncommitted", "allowFromLatest", "allowBranch", "allowBuildDir"})
_FLAGS |= {"allowIncludesUpdate"}
_FILES = {
    "untracked": "is not tracked by git",
    "modified": "has changes that are not committed",
    "staged": "has staged changes that are not committed",
    "deleted": "is deleted, and the deletion is not committed",
    "submodule": "has changes inside, or another commit",
}


def say_refusal(directive: str, value: str) -> tuple[str, str]:
    """What is refused, and why."""
    message, why = _REFUSED.get(directive, (EXTERNAL + f'"{{}}" not allowed by giterminism ({directive})', ""))
    return message.format(show_text(value)), why


def name_kind(kind: str) -> str:
    """What it is that has a change of a kind."""
    return {"untracked": "untracked file", "submodule": "submodule"}.get(kind, "file")


def say_file(kind: str) -> str:
    """In which way a file is not as the commit has it."""
    return _FILES.get(kind, "is not as in the commit")


def say_files(subject: str, what: str, files: Mapping[str, tuple[str, str]]) -> str:
    """Files that must be committed, each with why and who uses it ("": nobody in particular).

    `what` is `untracked file`, `file` or `submodule`.
    """
    prefix = f"unable to read {show_text(subject)}: " if subject else ""
    used = {path: f"; used by {user}" if user else "" for path, (_, user) in files.items()}
    if len(files) == 1:
        ((path, (why, _)),) = files.items()
        must = "is not clean and must be committed" if what == "submodule" else "must be committed"
        return f'{prefix}the {what} "{show_text(path)}" {must}: it {why}{used[path]}'
    is_plain = what != "file"
    lines = [f"  - {show_text(path)}{'' if is_plain else ' ' + why}{used[path]}" for path, (why, _) in files.items()]
    return f"{prefix}the following {what}s must be committed:\n" + "\n".join(lines)


def is_flag(directive: str) -> bool:
    """Whether a directive is true or false; the others list names or patterns."""
    return directive.rpartition(".")[2] in _FLAGS and directive != "config.dockerfile.allowUncommitted"


def suggest_lines(values: Mapping[str, Sequence[str]]) -> str:
    """What `werf-giterminism.yaml` must hold to allow values by directive, indented for a hint."""
    root: dict[str, object] = {}
    for directive in sorted(values):
        *parents, name = directive.split(".")
        level = root
        for parent in parents:
            level = level.setdefault(parent, {})  # type: ignore[assignment] # parents are maps
        level[name] = True if is_flag(directive) else sorted({_pattern(directive, value) for value in values[directive]})
    return "\n".join(["    giterminismConfigVersion: 1", *_write(root, "    ")])


def _write(level: Mapping[str, object], indent: str) -> list[str]:
    lines = []
    for name, value in level.items():
        if isinstance(value, dict):
            lines += [f"{indent}{name}:", *_write(value, indent + "  ")]
        elif isinstance(value, list):
            lines += [f"{indent}{name}:", *(f"{indent}- {_quote(item)}" for item in value)]
        else:
            lines.append(f"{indent}{name}: true")
    return lines


def _pattern(directive: str, value: str) -> str:
    """The glob or the name that means a value alone."""
    from conveyor.config.globs import escape_glob

    return value if directive.endswith(("allowEnvVariables", "allowValueIds")) else escape_glob(value)


def _quote(text: str) -> str:
    """A scalar of YAML."""
    if text.isidentifier() or all(character.isalnum() or character in "._-/" for character in text):
        return text if text[:1] not in ("-", "") and not text[:1].isdigit() else f'"{text}"'
    import json

    return json.dumps(text, ensure_ascii=False)


def show_text(text: str) -> str:
    """A text from a file as it may be printed: no line ends, no controls of a terminal, no bytes that are no UTF-8."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"  # a byte that is no UTF-8
    return character.encode("unicode_escape", "surrogatepass").decode()
