import io
import os
import pty
import threading

import pytest

from conveyor.build.results import BuildResult, Failure, MissingStage, Why
from conveyor.events.api import Finished, ImageFailed, ImageMissing, PlanMade, StageLog, StageStarted, Warned
from conveyor.events.compose import make_reporter
from conveyor.events.jsonlines import JsonLinesView
from conveyor.events.plain import PlainView
from conveyor.events.terminal import TerminalView

XTERM = {"TERM": "xterm-256color"}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def make(stream, env=XTERM, **changes):
    values = {"log_format": "auto", "color_mode": "auto", "quiet": False, "verbose": False, "debug": False}
    reporter = make_reporter(**(values | changes), env=env, stream=stream)
    reporter(Warned("careful"))
    return reporter, "\x1b[" in stream.getvalue()


@pytest.mark.parametrize(
    ("env", "changes", "view", "colors"),
    [
        (XTERM, {}, TerminalView, True),
        (XTERM | {"NO_COLOR": "1"}, {}, TerminalView, False),
        (XTERM | {"NO_COLOR": ""}, {}, TerminalView, True),
        (XTERM | {"NO_COLOR": "1"}, {"color_mode": "on"}, TerminalView, True),
        (XTERM, {"color_mode": "off"}, TerminalView, False),
        (XTERM | {"CI": "true"}, {}, PlainView, False),
        (XTERM | {"CI": "false"}, {}, TerminalView, True),
        ({"TERM": "dumb"}, {}, PlainView, False),
        ({}, {}, PlainView, False),
        (XTERM, {"log_format": "plain"}, PlainView, True),
        (XTERM, {"live": False}, PlainView, True),
        (XTERM, {"log_format": "json", "color_mode": "on"}, JsonLinesView, False),
    ],
)
def test_on_a_terminal(env, changes, view, colors):
    reporter, colored = make(Terminal(), env, **changes)
    assert isinstance(reporter, view)
    assert colored is colors


@pytest.mark.parametrize("color_mode", ["auto", "on", "off"])
def test_elsewhere(color_mode):
    reporter, colored = make(io.StringIO(), color_mode=color_mode)
    assert isinstance(reporter, PlainView)
    assert colored is (color_mode == "on")


@pytest.mark.parametrize("log_format", ["auto", "json"])
def test_quiet_tells_failures_and_warnings_only(log_format):
    stream = Terminal()
    reporter = make_reporter(
        log_format=log_format, color_mode="off", quiet=True, verbose=False, debug=False, env=XTERM, stream=stream
    )
    reporter(PlanMade((), 5))
    reporter(StageStarted("web", "install", "d", Why("first_build")))
    reporter(StageLog("web", "install", "stdout", b"log\n"))
    assert stream.getvalue() == ""
    reporter(ImageFailed(Failure("web", "install", "stage_failed", "broke", status=9)))
    reporter(ImageMissing(MissingStage("api", "setup", "d", Why("first_build"), ())))
    reporter(Warned("careful"))
    told = stream.getvalue()
    assert all(word in told for word in ("broke", "9", "api", "careful"))
    reporter(Finished(BuildResult("p", "c", "", "docker", "linux/amd64", (), 1.0)))
    reporter.close()
    assert stream.getvalue() == told


def test_json_goes_to_stdout_and_talk_to_stderr(capfd):
    options = {"color_mode": "auto", "quiet": False, "verbose": False, "debug": False, "env": {}}
    make_reporter(log_format="json", **options)(Warned("as data"))
    make_reporter(log_format="auto", **options)(Warned("as talk"))
    out, err = capfd.readouterr()
    assert "as data" in out
    assert "as talk" in err
    assert "as data" not in err
    assert "as talk" not in out


@pytest.mark.parametrize("log_format", ["plain", "json"])
def test_many_threads_never_mix_their_lines(log_format):
    read, write = os.pipe()
    got = bytearray()

    def drain():
        while chunk := os.read(read, 65536):
            got.extend(chunk)

    reader = threading.Thread(target=drain)
    reader.start()
    with os.fdopen(write, "w") as stream:
        reporter = make_reporter(
            log_format=log_format, color_mode="off", quiet=False, verbose=False, debug=False, env={}, stream=stream
        )

        def talk(image):
            for number in range(200):
                reporter(StageLog(image, "install", "stdout", f"{image} {number} ".encode()))
                reporter(StageLog(image, "install", "stdout", b"x" * 300 + b"\n"))

        threads = [threading.Thread(target=talk, args=(f"image{index}",)) for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        reporter.close()
    reader.join()
    os.close(read)
    lines = got.decode().splitlines()
    if log_format == "plain":
        expected = [f"image{i}/install | image{i} {number} " + "x" * 300 for i in range(4) for number in range(200)]
        assert sorted(lines) == sorted(expected)
    else:
        assert len(lines) == 4 * 200 * 2
        assert all(line.startswith('{"version":1,"event":"stage_log"') and line.endswith("}") for line in lines)


def test_a_terminal_that_hangs_up_stops_nothing():
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as stream:
        reporter = make_reporter(
            log_format="auto", color_mode="auto", quiet=False, verbose=False, debug=False, env=XTERM, stream=stream
        )
        reporter(StageStarted("web", "install", "d", Why("first_build")))
        os.close(master)
        reporter(Warned("nobody reads this"))
        reporter.close()
        assert isinstance(reporter, TerminalView)
