"""Commands mean what bash says they mean, and what a base or configuration says of CMD and ENTRYPOINT stays."""

from __future__ import annotations

import base64
import json
import subprocess
import textwrap

import pytest

SCRIPTS = {
    "leading comment": "# a comment\necho after",
    "here-document": "cat <<'EOF'\n  two  spaces\n\ttab $HOME `id` \\\nEOF\necho end",
    "globs": "cd /; echo /et* '*' \"?\"",
    "spaces": "echo a    b; echo 'a    b'; x='1  2'; echo $x \"$x\"",
    "quotes": """echo "it's" 'say "hi"' \\"raw\\" $'tab\\there'""",
    "pipes and arrays": "a=(x y z); printf '%s\\n' \"${a[@]}\" | tail -n 1; echo ${#a[@]}",
    "unicode": "echo 'grüße 世界'",
    "continued": "echo one \\\n  two",
    "functions": "f() { local x=$1; echo \"f $x\"; }\nf 'a b'",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_prints_what_bash_prints(make_project, images, name):
    script = SCRIPTS[name]
    body = f"exec > /out\n{script}"
    project = make_project(f"image: app\nfrom: BUSYBOX\nshell:\n  setup:\n  - |\n{textwrap.indent(body, '    ')}\n")
    found = images.read(project.build().reference("app"), "/out")
    expected = subprocess.run(["bash", "-e", "-c", script], capture_output=True, cwd="/", env={"HOME": "/root"})
    assert expected.returncode == 0
    if name == "globs":
        assert found.endswith("* ?\n") and found.startswith("/etc")
    else:
        assert found == expected.stdout.decode()


def test_a_long_script_runs_whole(make_project, images):
    line = "echo " + "x" * 90
    body = "\n".join([line] * 3200 + ["echo end > /end"])
    project = make_project(f"image: app\nfrom: BUSYBOX\nshell:\n  setup:\n  - |\n{textwrap.indent(body, '    ')}\n")
    build = project.build()
    assert images.read(build.reference("app"), "/end") == "end\n"
    assert build.run.stderr.count("x" * 90) >= 3200


def test_the_first_failing_command_ends_a_stage(make_project):
    project = make_project("image: app\nfrom: BUSYBOX\nshell:\n  setup: [echo one, '(exit 42)', echo three]\n")
    failed = project.build(status=1)
    assert failed.report["Images"]["app"]["Failure"]["Status"] == 42
    assert "one" in failed.run.stderr
    assert "three" not in failed.run.stderr
    assert "exit status 42" in failed.run.stderr


ODD = ["/bin/echo", "two  spaces", "it's", 'a "b"', "$HOME ${X}", "[brackets]", "back\\slash", "{x}", "", "ünï", "%s"]


@pytest.mark.parametrize("where", ["base", "configuration"])
@pytest.mark.parametrize("key", ["CMD", "ENTRYPOINT"])
def test_cmd_and_entrypoint_come_out_unchanged_through_many_stages(make_project, images, where, key):
    stages = ("beforeInstall", "install", "beforeSetup", "setup")
    shell = "shell:\n" + "".join(f"  {stage}: echo {stage} > /{stage}\n" for stage in stages)
    docker = f"docker:\n  {key}: {json.dumps(ODD)}\n"
    first = f"image: one\nfrom: BUSYBOX\n{shell}{docker if where == 'base' else ''}"
    second = f"---\nimage: two\nfrom: one\n{shell}{docker if where == 'configuration' else ''}"
    build = make_project(first + second).build()
    config = images.config(build.reference("two"))
    assert config["Cmd" if key == "CMD" else "Entrypoint"] == ODD
    assert images.run(build.reference("two")) == " ".join(ODD[1:]) + "\n"


def test_a_base_without_a_shell_and_scratch(make_project, images):
    project = make_project(
        """\
image: empty
from: scratch
git: [{add: /src, to: /data}]
shell: {setup: "echo made > /data/made"}
---
image: upon
from: empty
shell: {setup: "echo $(</data/made) $(</data/file) > /both"}
docker: {USER: "65534", WORKDIR: /data}
""",
        {"src/file": "from git\n"},
    )
    build = project.build()
    assert images.read(build.reference("upon"), "/both") == "made from git\n"
    assert images.files(build.reference("empty"), "/data")["file"].content == b"from git\n"


def test_mounts_keep_what_they_hold_out_of_the_image(make_project, images, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "given").write_text("given\n")
    project = make_project(
        f"""\
image: app
from: BUSYBOX
mount:
  - {{from: tmp_dir, to: /scratch}}
  - {{from: build_dir, to: /cache}}
  - {{fromPath: {shared}, to: /given}}
shell:
  beforeInstall: echo x > /scratch/x; ls /cache > /cache-before; echo y > /cache/y; cat /given/given > /copy
"""
    )
    first = images.files(project.build("--loose-giterminism").reference("app"))
    assert first["copy"].content == b"given\n"
    assert not {"scratch/x", "cache/y", "given/given"} & set(first)
    project.configure((project.directory / "werf.yaml").read_text().replace("echo x", "echo z"))
    project.commit()
    second = images.files(project.build("--loose-giterminism").reference("app"))
    assert second["cache-before"].content == b"y\n"


def test_a_running_build_container_has_the_parameters_of_the_contract(make_project, images):
    import threading
    import time

    project = make_project("image: app\nfrom: BUSYBOX\nshell: {setup: sleep 3}\n")
    found = {}
    sleep = base64.b64encode(b"sleep 3").decode()[:9]

    def look():
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not found:
            for container in images.client.containers(filters={"label": "dev.conveyor.run"}):
                inspected = images.client.inspect_container(container["Id"])
                if inspected["Config"]["Cmd"][1:] and sleep in inspected["Config"]["Cmd"][1]:
                    found.update(inspected)
            time.sleep(0.05)

    watching = threading.Thread(target=look)
    watching.start()
    project.build()
    watching.join()
    config, host = found["Config"], found["HostConfig"]
    assert config["User"] == "0:0"
    assert config["WorkingDir"] == "/"
    assert config["Entrypoint"] == ["/.conveyor/stapel/bin/bash"]
    assert config["Cmd"][0] == "-ec"
    assert "| /.conveyor/stapel/bin/base64 --decode)" in config["Cmd"][1]
    assert [volume.endswith(":ro") for volume in host["VolumesFrom"]] == [True]
    assert not host["Binds"] and not host["Privileged"]
    assert not any(entry.startswith(("LANG=", "LC_")) for entry in config["Env"])
    time.sleep(0.1)
    assert not [
        container
        for container in images.client.containers(all=True, filters={"label": "dev.conveyor.run"})
        if container["Id"] == found["Id"]
    ]


def test_an_agent_is_reached_from_commands(make_project, images, tmp_path):
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "for tests", "-f", key], check=True)
    project = make_project(
        'image: app\nfrom: BUSYBOX\nshell: {setup: "echo $SSH_AUTH_SOCK > /sock; test -S $SSH_AUTH_SOCK"}\n'
    )
    build = project.build("--ssh-key", str(key))
    assert images.read(build.reference("app"), "/sock") == "/.conveyor/tmp/ssh-auth-sock\n"
    assert not [entry for entry in images.config(build.reference("app"))["Env"] if "SSH" in entry]
