"""A project in a git repository, and what a stranger does with it: write, commit, run conveyor, read the report."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPORT = ".conveyor-build-report.json"

# An image with files of git, a command that depends on one of them, and what an artifact has made.
APP = """\
artifact: tools
from: BUSYBOX
shell: {setup: "mkdir /out; echo tool > /out/tool"}
---
image: app
from: BUSYBOX
git: [{add: /src, to: /app, stageDependencies: {install: packages.txt}}]
import: [{artifact: tools, add: /out, to: /opt, after: install}]
shell: {install: cat /app/packages.txt > /installed}
docker: {CMD: [cat, /app/main.txt]}
"""
FILES = {"src/main.txt": "one\n", "src/packages.txt": "bolts\n"}


@dataclass(frozen=True)
class Link:
    """A symbolic link to write into a project."""

    target: str


@dataclass(frozen=True)
class Program:
    """An executable file to write into a project."""

    text: str


Content = str | bytes | Link | Program


@dataclass(frozen=True)
class Run:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return f"exit status {self.status}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


@dataclass(frozen=True)
class Build:
    """How a build ended and what it says of its images."""

    run: Run
    report: Mapping[str, Any]

    @property
    def built(self) -> dict[str, list[str]]:
        """The stages that this build made, by image; images of which nothing was made are left out."""
        stages = {
            name: [stage["Name"] for stage in image["Stages"] if stage["Rebuilt"]]
            for name, image in self.report["Images"].items()
        }
        return {name: names for name, names in stages.items() if names}

    def stages(self, image: str) -> list[str]:
        return [stage["Name"] for stage in self.report["Images"][image]["Stages"]]

    def stage(self, image: str, name: str) -> Mapping[str, Any]:
        found: list[Mapping[str, Any]] = [s for s in self.report["Images"][image]["Stages"] if s["Name"] == name]
        assert len(found) == 1, f"{image} has the stages {self.stages(image)}"
        return found[0]

    def reference(self, image: str) -> str:
        """What `docker run` takes."""
        reference: str = self.report["Images"][image]["DockerImageName"]
        assert reference, f"{image} is not there: {self.run.output}"
        return reference

    def names(self) -> list[str]:
        """The names of all stages of all images, as they are stored."""
        return [stage["DockerImageName"] for image in self.report["Images"].values() for stage in image["Stages"]]


class Project:
    """A git repository with a project in its root. Git, docker and conveyor see no configuration of the user who tests."""

    def __init__(self, directory: Path, name: str, base: str, home: Path) -> None:
        self.directory = directory
        self.name = name
        self.base = base
        self.home = home
        self.env = _environment(home)
        self._clock_s = 1_700_000_000
        directory.mkdir(parents=True)
        home.mkdir(exist_ok=True)
        self.git("-c", "init.defaultBranch=main", "init", "--quiet")
        (directory / ".git/info/exclude").write_text(".conveyor-build-report.*\n")

    def configure(self, werf_yaml: str) -> None:
        """Write werf.yaml; the words `NAME` and `BUSYBOX` stand for the project's name and base."""
        text = werf_yaml if "configVersion" in werf_yaml else f"configVersion: 1\nproject: NAME\n---\n{werf_yaml}"
        self.write("werf.yaml", text.replace("project: NAME", f"project: {self.name}").replace("BUSYBOX", self.base))

    def write(self, path: str | bytes, content: Content) -> None:
        """Have a file, link or program at a path, whatever stood there."""
        target = self.directory / os.fsdecode(path)
        for parent in target.relative_to(self.directory).parents:
            if (self.directory / parent).is_symlink() or (self.directory / parent).is_file():
                self.remove(os.fsencode(parent))
        self.remove(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Link):
            target.symlink_to(content.target)
            return
        raw = content.text if isinstance(content, Program) else content
        target.write_bytes(raw.encode() if isinstance(raw, str) else raw)
        target.chmod(0o755 if isinstance(content, Program) else 0o644)

    def remove(self, path: str | bytes) -> None:
        """Have nothing at a path."""
        target = self.directory / os.fsdecode(path)
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)

    def copy_sample(self, sample: Path) -> None:
        shutil.copytree(sample, self.directory, dirs_exist_ok=True, symlinks=True)

    def git(self, *arguments: str) -> str:
        """Run git here; its stdout without the last line end."""
        ran = subprocess.run(["git", *arguments], cwd=self.directory, env=self.env, capture_output=True, text=True)
        assert ran.returncode == 0, f"git {' '.join(arguments)}: {ran.stderr}"
        return ran.stdout.rstrip("\n")

    def docker(self, *arguments: str) -> str:
        """Run docker's client with the credentials of this project; its stdout."""
        ran = subprocess.run(["docker", *arguments], env=self.env, capture_output=True, text=True)
        assert ran.returncode == 0, f"docker {' '.join(arguments)}: {ran.stderr}"
        return ran.stdout

    def commit(self, message: str = "Something changed") -> str:
        """Commit everything as it is; the commit. Commits are a minute apart."""
        self._clock_s += 60
        self.env["GIT_AUTHOR_DATE"] = self.env["GIT_COMMITTER_DATE"] = f"{self._clock_s} +0000"
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    def change(self, path: str, content: Content) -> str:
        """Write a file and commit it."""
        self.write(path, content)
        return self.commit(f"Changed {path}")

    def conveyor(self, *arguments: str, env: Mapping[str, str] | None = None, timeout_s: float = 300) -> Run:
        """Run conveyor here, with stdin closed to it."""
        return self._run(self.command(*arguments), env or {}, timeout_s)

    def shell(self, command: str, *, timeout_s: float = 300) -> Run:
        """Run a line of a shell here, with stdin closed to it."""
        return self._run(["bash", "-c", command], {}, timeout_s)

    def _run(self, command: list[str], env: Mapping[str, str], timeout_s: float) -> Run:
        ran = subprocess.run(
            command,
            cwd=self.directory,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
        )
        return Run(
            ran.returncode, ran.stdout.decode(errors="backslashreplace"), ran.stderr.decode(errors="backslashreplace")
        )

    def command(self, *arguments: str) -> list[str]:
        """The command line of conveyor, for tests that start it themselves in `directory` with `env`."""
        return [str(Path(sys.executable).with_name("conveyor")), *arguments]

    def build(self, *arguments: str, status: int = 0, env: Mapping[str, str] | None = None) -> Build:
        """Build, and read the report; fails the test where the exit status is another one."""
        report = self.directory / REPORT
        report.unlink(missing_ok=True)
        run = self.conveyor("build", "--save-build-report", *arguments, env=env)
        assert run.status == status, run.output
        return Build(run, json.loads(report.read_text()) if report.exists() else {"Images": {}})


def _environment(home: Path) -> dict[str, str]:
    kept = ("PATH", "TMPDIR", "LANG", "DOCKER_HOST", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY")
    proxies = ("http_proxy", "https_proxy", "no_proxy")
    env = {name: value for name, value in os.environ.items() if name in kept or name.lower() in proxies}
    return env | {
        "HOME": str(home),
        "CONVEYOR_HOME_DIR": str(home / "conveyor"),
        "CONVEYOR_ENGINE": "docker",  # tests that look into the engine look into this one
        "DOCKER_CONFIG": str(home / "docker"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "A. Tester",
        "GIT_AUTHOR_EMAIL": "tester@example.com",
        "GIT_COMMITTER_NAME": "A. Tester",
        "GIT_COMMITTER_EMAIL": "tester@example.com",
    }
