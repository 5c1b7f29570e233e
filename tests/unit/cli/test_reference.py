"""docs/commands.md says of every command exactly the flags, twins and defaults that it has."""

import re
from pathlib import Path

import click
import pytest

from conveyor.cli.flags import PREFIX
from conveyor.cli.options import build_options, log_options, project_options, storage_options

PAGE = Path(__file__).parents[3] / "docs" / "commands.md"
SHARED = {
    "project": ("Project flags", project_options),
    "storage": ("Storage flags", storage_options),
    "logs": ("Log flags", log_options),
}


def sections():
    titled = re.split(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(titled[1::2], titled[2::2], strict=True))


def table(section):
    """Flag -> (flag column's names, twins, default) of a section's table."""
    rows = {}
    for line in section.splitlines():
        if not line.startswith(("| `-", "| `--")):
            continue
        flag, twins, default, meaning = (cell.strip() for cell in line.strip().strip("|").split(" | "))
        assert meaning
        names = re.findall(r"-{1,2}[a-zA-Z-]+", " ".join(re.findall(r"`([^` ]+)", flag)))
        long = next(name for name in names if name.startswith("--"))
        assert long not in rows
        rows[long] = (set(names), re.findall(r"`([^`]+)`", twins), default)
    return rows


def options_of(decorator):
    @click.command()
    @decorator
    def command():
        pass

    return [parameter for parameter in command.params if isinstance(parameter, click.Option)]


def commands():
    from conveyor.cli.commands import conveyor

    def walk(group, path):
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            if isinstance(command, click.Group):
                yield from walk(command, [*path, name])
            else:
                yield " ".join([*path, name]), command

    return dict(walk(conveyor, ["conveyor"]))


def expected_default(option):
    if option.is_flag:
        return "on" if option.default is True else "off"
    return f"`{option.default}`" if isinstance(option.default, int | str) and option.default != "" else None


def check(rows, options):
    assert set(rows) == {option.opts[-1] for option in options}
    for option in options:
        names, twins, default = rows[option.opts[-1]]
        assert names == set(option.opts)
        twin = PREFIX + option.opts[-1].removeprefix("--").replace("-", "_").upper()
        known = [option.envvar] if isinstance(option.envvar, str) else option.envvar
        assert twins == (known if known else [twin + "_*"]), option.opts
        assert twins[0].removesuffix("_*") == twin
        wanted = expected_default(option)
        assert default == wanted if wanted else default not in ("", "on", "off"), option.opts


@pytest.mark.parametrize("group", SHARED)
def test_shared_flags(group):
    title, decorator = SHARED[group]
    check(table(sections()[title]), options_of(decorator))


def test_every_command_has_a_section_and_no_other_has():
    pages = {title for title in sections() if title.startswith("conveyor ")}
    assert pages == set(commands())
    assert pages == set(re.findall(r"^\| \[`(conveyor [a-z -]+)`\]", PAGE.read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("name", sorted(commands()))
def test_flags_of_a_command(name):
    section = sections()[name]
    shared = {group for group in SHARED if f"[{group}](#" in section}
    own = commands()[name].params
    common = {parameter.name for group in shared for parameter in options_of(SHARED[group][1])}
    options = [parameter for parameter in own if isinstance(parameter, click.Option)]
    assert common <= {option.name for option in options}
    check(table(section), [option for option in options if option.name not in common])
    arguments = [parameter for parameter in own if isinstance(parameter, click.Argument)]
    usage = re.search(rf"^    {name}(.*)$", section, re.MULTILINE)
    assert usage
    words = re.sub(r"--[a-z-]+ [A-Z]+|\[FLAGS\]", "", usage[1]).split()
    assert words == [argument.metavar for argument in arguments]


def test_build_has_the_build_flags():
    names = {parameter.name for parameter in commands()["conveyor build"].params}
    assert {option.name for option in options_of(build_options)} <= names
