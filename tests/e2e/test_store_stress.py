"""Eight processes on one store of the sandbox, killed at random: nothing is broken, nothing is lost, nothing is left.

`CONVEYOR_TEST_STRESS_S` is how long it lasts, `CONVEYOR_TEST_STRESS_SEED` what is drawn, `CONVEYOR_TEST_STRESS_DRIVERS` over
which drivers of the store.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from samples.make_base import busybox_archive, find_busybox
from tests.e2e.projects import Project

LASTS_S = float(os.environ.get("CONVEYOR_TEST_STRESS_S", "20"))
SEED = os.environ.get("CONVEYOR_TEST_STRESS_SEED", "") or str(time.time_ns())
DRIVERS = (os.environ.get("CONVEYOR_TEST_STRESS_DRIVERS", "") or "overlay copy").split()
SLOTS = 8
OLD_S = time.time() - 9 * 86400
PROJECTS = 3
PATIENCE_S = 240
NOT_BUILT = 3  # what is to be exported may have been cleaned up
TAKEN_AWAY = "something removes stages while they are used"  # four times: what is in use is made to look old here
TEXT = """\
artifact: tools
from: busybox:1
git: [{add: /src, to: /src, stageDependencies: {install: "*"}}]
shell: {install: "mkdir /made; chown 33:33 /made; for f in /src/*; do head -c 200000 /dev/zero >/made/${f##*/}; done"}
---
image: app
from: busybox:1
git: [{add: /, to: /app, stageDependencies: {setup: slow}}]
import: [{artifact: tools, add: /made, to: /taken, before: setup}]
shell: {beforeInstall: "rm /usr/bin/yes; mkdir -m 000 /closed", setup: "cat /app/slow; sleep 0.2; ln /taken/a /b"}
docker: {ENV: {A: b}}
"""


class Slot:
    """A work tree of one of the projects, and what is done in it."""

    def __init__(self, number: int, directory: Path, home: Path, driver: str) -> None:
        self.draw = random.Random(f"{SEED} {number}")
        self.project = Project(directory / str(number), f"stress-{number % PROJECTS}", "busybox:1", home)
        self.project.env |= {"CONVEYOR_ENGINE": "sandbox", "CONVEYOR_SANDBOX_STORE": driver}
        self.project.configure(TEXT)
        for path in "src/a", "src/b", "slow":
            self.project.write(path, "1\n")
        self.project.commit()
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []

    def work(self, until: float) -> None:
        while time.monotonic() < until and not self.wrong:
            action = self.draw.choices([self._build, self._again, self._export, self._clean, self._check], [6, 2, 2, 2, 1])[
                0
            ]
            action()

    def _build(self) -> None:
        path = self.draw.choice(["src/a", "src/b", "slow", "other"])
        self.project.change(path, f"{self.draw.randrange(5)}\n")
        self._run("build")

    def _again(self) -> None:
        self._run("build")

    def _export(self) -> None:
        target = self.project.directory.parent / f"export-{self.project.directory.name}"
        self._run("export", "app", "--to", f"oci-archive:{target}", allowed=(0, NOT_BUILT))

    def _clean(self) -> None:
        share = self.draw.choice([0.9, 1.0])
        for place in "sandbox/images", "logs", "remembered", "stages":
            for directory, directories, files in os.walk(self.home / place):  # it passes over what others remove meanwhile
                for name in (*directories, *files):
                    with suppress(FileNotFoundError):
                        if self.draw.random() < share:
                            os.utime(f"{directory}/{name}", (OLD_S, OLD_S))  # so that it is taken for old
        self._run("host", "cleanup", "--allowed-size", "1kB")

    def _check(self) -> None:
        self._run("host", "fsck")

    @property
    def home(self) -> Path:
        return Path(self.project.env["CONVEYOR_HOME_DIR"])

    def _run(self, *arguments: str, allowed: tuple[int, ...] = (0,)) -> None:
        command = self.project.command(*arguments)
        log = self.project.directory.parent / f"log-{self.project.directory.name}"
        with log.open("w+") as said:
            process = subprocess.Popen(
                command, cwd=self.project.directory, env=self.project.env, stdin=subprocess.DEVNULL, stdout=said, stderr=said
            )
            killed = self.draw.random() < 0.5
            try:
                process.wait(timeout=self.draw.uniform(0.05, 2.0) if killed else PATIENCE_S)
                killed = False
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                if not killed:
                    self.wrong.append(f"{' '.join(arguments)} has not ended")
        name = " ".join(arguments[:2]) if arguments[0] == "host" else arguments[0]
        text = log.read_text()
        taken_away = process.returncode == 1 and TAKEN_AWAY in text
        self.done[f"{name}{' killed' if killed else ' taken away' if taken_away else ''}"] += 1
        self.done["image removed"] += text.count("remove  image")
        if not killed and not taken_away and process.returncode not in allowed:
            self.wrong.append(f"{' '.join(arguments)}: exit status {process.returncode}\n{text}")


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_store_survives_what_is_killed_over_it(driver, tmp_path, record_property, request):
    home = (request.getfixturevalue("btrfs_dir") if driver == "btrfs" else tmp_path) / "stressed"
    home.mkdir()
    slots = [Slot(number, tmp_path, home, driver) for number in range(SLOTS)]
    (tmp_path / "busybox.tar").write_bytes(busybox_archive(find_busybox()))
    assert slots[0].project.conveyor("image", "import", "busybox:1", str(tmp_path / "busybox.tar")).status == 0
    until = time.monotonic() + LASTS_S / len(DRIVERS)
    with ThreadPoolExecutor(SLOTS) as threads:
        for work in [threads.submit(slot.work, until) for slot in slots]:
            work.result()
    done = sum((slot.done for slot in slots), Counter())
    told = f"seed {SEED}, " + ", ".join(f"{count} {name}" for name, count in sorted(done.items()))
    record_property("counted", told)
    wrong = [text for slot in slots for text in slot.wrong]
    assert not wrong, f"{told}\n" + "\n".join(wrong)
    with ThreadPoolExecutor(SLOTS) as threads:
        list(threads.map(lambda slot: slot.project.build(), slots))
    for slot in slots[:PROJECTS]:
        assert slot.project.build("--require-built-images").built == {}
    store = slots[0].home / "sandbox"
    assert list((store / "filling").iterdir()) == []
    assert list((store / "pins").iterdir()) == []
    checked = slots[0].project.conveyor("host", "fsck")  # writes every layer of every image again
    assert checked.status == 0, checked.output
    assert " 0 faults" in checked.stderr
    kept = {path.name for path in (store / "snapshots").iterdir()}
    slots[0].project.conveyor("host", "cleanup")
    assert {path.name for path in (store / "snapshots").iterdir()} == kept, "snapshots that no image has were left"
