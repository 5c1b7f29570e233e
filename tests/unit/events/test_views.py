"""The same events through every view, against golden files. A difference leaves `<name>.actual` beside the golden file."""

import io
import json
from pathlib import Path

import pytest

from conveyor.build.results import BuildResult, Failure, ImageResult, MissingStage, StageResult, Why
from conveyor.events.api import (
    Fetching,
    Finished,
    ImageFailed,
    ImageMissing,
    PlanMade,
    PlannedImage,
    StageBuilt,
    StageLog,
    StageStarted,
    StageUsed,
    StageWaits,
    Warned,
)
from conveyor.events.jsonlines import JsonLinesView
from conveyor.events.output import Output
from conveyor.events.plain import PlainView
from conveyor.events.terminal import TerminalView
from conveyor.events.text import Look

GOLDEN = Path(__file__).parent / "golden"
COMMIT = "c0ffee" + "0" * 34
CHANGED = Why("changed", ("commands", "stageDependencies"), "9f8e7d-1700000000000-0a0b0c0d")


def stage(image, name, **changes):
    values = {
        "image": image,
        "stage": name,
        "digest": "d1d2d3d4",
        "name": "d1d2d3d4-1700000000000-0a0b0c0d",
        "reference": "registry.example:5000/shop:d1d2d3d4-1700000000000-0a0b0c0d",
        "image_id": "sha256:0123456789abcdef0123456789abcdef",
        "image_digest": "sha256:feedface",
        "size_bytes": 12_897_485,
        "parent_size_bytes": 12_892_877,
        "created_ms": 1_700_000_000_123,
        "commit": COMMIT,
        "source": "primary",
        "why": None,
        "seconds": 0.0,
    }
    return StageResult(**(values | changes))


def result(*images, seconds=12.345):
    return BuildResult("shop", COMMIT, "registry.example:5000/shop", "docker", "linux/amd64", images, seconds)


BASE = stage("base/go", "from", size_bytes=1_048_576, parent_size_bytes=-1)
USED = stage("", "install")
BUILT = stage("", "setup", source="built", why=CHANGED, seconds=3.21, parent_size_bytes=13_000_000)
DISCARDED = stage("tool", "from", source="primary", why=Why("first_build"), seconds=0.5, discarded=True)
FAILURE = Failure(
    "web", "install", "stage_failed", "the commands failed", status=3, tail=("make: all", "make: *** [all] Error 3")
)
BLOCKED = Failure("web/docs", "", "blocked", "", blocked_by="web")
STOPPED = Failure("", "setup", "not_started", "", blocked_by="web")

GOOD = [
    PlanMade(
        (
            (PlannedImage("base/go", False, False), PlannedImage("tool", True, False)),
            (PlannedImage("", False, True),),
        ),
        5,
    ),
    StageUsed(BASE),
    StageUsed(USED),
    StageStarted("", "setup", "d1d2d3d4", CHANGED),
    StageStarted("tool", "from", "d1d2d3d4", Why("first_build")),
    StageLog("", "setup", "stdout", b"one\ntw"),
    StageLog("tool", "from", "stderr", b"10%\r50%\r"),
    StageLog("", "setup", "stdout", b"o \xe2\x82"),
    StageLog("", "setup", "stderr", b"\x1b[31mred\x1b[0m \x1b[2Jtext\r\n"),
    StageLog("", "setup", "stdout", b"\xac\nnot text: \xff\xfe\n"),
    StageLog("tool", "from", "stderr", b"100%\r\n"),
    StageLog("", "setup", "stdout", b"no line end"),
    StageWaits("tool", "from", "registry.example:5000/shop.d1d2d3d4", "ci-7 (pid 42)"),
    Warned("the registry is slow\nit answers in 9 s"),
    Fetching("the tag v1", "https://example.org/a.git"),
    StageBuilt(BUILT),
    StageBuilt(DISCARDED),
    Finished(
        result(
            ImageResult("base/go", False, False, (BASE,)),
            ImageResult("tool", True, False, (DISCARDED,)),
            ImageResult("", False, True, (USED, BUILT), custom_tags=("registry.example:5000/shop:v1",)),
        )
    ),
]

BAD = [
    PlanMade(((PlannedImage("web", False, True),),), 0),
    StageStarted("web", "install", "d1d2d3d4", Why("no_ancestor")),
    StageLog("web", "install", "stdout", b"make: all\nmake: *** [all] Error 3"),
    ImageFailed(FAILURE),
    ImageFailed(BLOCKED),
    ImageFailed(STOPPED),
    Finished(
        result(
            ImageResult("web", False, True, (stage("web", "from"),), failure=FAILURE),
            ImageResult("web/docs", False, True, (), failure=BLOCKED),
            ImageResult("", False, True, (), failure=STOPPED),
            ImageResult("api", False, True, (stage("api", "from"),)),
        )
    ),
]

MISSING = MissingStage("web", "install", "d1d2d3d4", CHANGED, ("setup", "dockerInstructions"))
REQUIRED = [
    ImageMissing(MISSING),
    Finished(result(ImageResult("web", False, True, (stage("web", "from"),), missing=MISSING), seconds=0.25)),
]

SEQUENCES = {"good": GOOD, "bad": BAD, "required": REQUIRED}
LOOKS = {
    "plain": Look(),
    "color": Look(colors=True),
    "verbose": Look(verbose=True),
    "debug": Look(verbose=True, debug=True),
}


def compare(name, actual):
    golden = GOLDEN / name
    beside = golden.with_name(golden.name + ".actual")
    if not golden.exists() or golden.read_text(encoding="utf-8") != actual:
        beside.write_text(actual, encoding="utf-8")
        expected = golden.read_text(encoding="utf-8") if golden.exists() else ""
        assert actual == expected, f"{beside} differs from {golden}"
    beside.unlink(missing_ok=True)


def shown(make, events):
    stream = io.StringIO()
    view = make(Output(stream))
    for event in events:
        view(event)
    view.close()
    view.close()
    return stream.getvalue()


@pytest.mark.parametrize("sequence", SEQUENCES)
@pytest.mark.parametrize("look", LOOKS)
def test_plain(sequence, look):
    compare(f"{sequence}.{look}.txt", shown(lambda output: PlainView(output, LOOKS[look]), SEQUENCES[sequence]))


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_json(sequence):
    lines = [json.loads(line) for line in shown(JsonLinesView, SEQUENCES[sequence]).splitlines()]
    assert all(line.pop("at_ms") > 1_600_000_000_000 for line in lines)
    compare(f"{sequence}.json.txt", "".join(json.dumps(line, indent=1) + "\n" for line in lines))


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_terminal(sequence):
    clock = iter(range(0, 10_000, 7))

    def make(output):
        return TerminalView(output, Look(), tick_s=0, clock=lambda: next(clock), size=lambda: (40, 24))

    # Escapes are spelled out so that the golden file can be read; what one write draws starts on a line of its own.
    compare(f"{sequence}.terminal.txt", shown(make, SEQUENCES[sequence]).replace("\r", "\n<CR>").replace("\x1b", "<ESC>"))


def test_every_event_of_the_interface_is_in_a_golden_sequence():
    from typing import get_args

    from conveyor.events import api

    told = {type(event) for events in SEQUENCES.values() for event in events}
    assert told == set(get_args(api.Event))
