"""What every engine does when it builds. The engines are those of ENGINES in `tests.conformance.engines`."""

import re
import subprocess
import threading
import time

import pytest

from stapel.api import Cancel, Lay, Mount, Run
from stapel.errors import BadLay, Cancelled, CommandFailed, FileChanged, NotFound, StapelError, Unreachable
from stapel.oci.registry import RegistryStore
from tests.conformance.engines import Said, directory, file, lay, link, programs

ODD_NAMES = [
    b" leading and trailing ",
    b"-rf",
    b"a\nnew line",
    b"'quote' \"quotes\" $HOME `id` \\ * ? [x]",
    "ümläut \N{SNOWMAN}".encode(),
    b"latin-1 \xe9\xff",
    b"\x01\x1b[31m\x7f",
    b"x" * 255,
]


def blob_id(text):
    done = subprocess.run(["git", "hash-object", "--stdin"], input=text, capture_output=True, check=True)
    return done.stdout.decode().strip()


# -- bases


def test_it_can_run_and_says_what_it_builds_for(engine):
    assert engine.probe() == ""
    assert re.fullmatch(r"linux/[a-z0-9]+(/v\d+)?", engine.platform())
    assert engine.name


def test_a_base_has_its_configuration(subject):
    held = subject.base()
    assert held.id
    assert len(held.config.diff_ids) == 1
    assert held.config.platform == subject.engine.platform()
    assert any(text.startswith("PATH=") for text in held.config.run["Env"])


def test_a_base_that_nobody_has_is_not_found(subject, registry):
    with pytest.raises(NotFound) as caught:
        subject.engine.base(f"{registry.host}/absent/image:1", subject.engine.platform(), Said())
    assert "absent/image" in str(caught.value)
    assert caught.value.hint


def test_a_base_whose_registry_is_away_is_unreachable(subject):
    with pytest.raises(Unreachable):
        subject.engine.base("127.0.0.1:9/absent/image:1", subject.engine.platform(), Said())


def test_a_base_is_pulled_by_tag_and_by_digest(subject, registry):
    store = RegistryStore(f"{registry.host}/bases/{subject.home_dir.name}-{time.time_ns()}")
    made = subject.build(subject.base(), lay(file(b"from", b"a registry")))
    pushed = store.get(subject.engine.put(made, made.config, store, Cancel()).digest)
    store.name("v1", pushed.descriptor)
    image_id = pushed.manifest.config.digest
    for reference in (store.reference("v1"), store.reference(pushed.descriptor.digest)):
        subject.forget(image_id)
        held = subject.keep(subject.engine.base(reference, subject.engine.platform(), Said()))
        assert held.config.diff_ids == made.config.diff_ids
        assert subject.files(held, b"from")[1] == {b"": b"a registry"}
    subject.stored.append(image_id)


def test_a_base_of_another_platform_is_an_error(subject, registry):
    store = RegistryStore(f"{registry.host}/bases/other-{time.time_ns()}")
    pushed = subject.store(subject.base(), subject.base().config.with_(architecture="s390x"), store)
    store.name("v1", pushed.descriptor)
    with pytest.raises(StapelError):
        subject.engine.base(store.reference("v1"), subject.engine.platform(), Said())


def test_scratch_has_no_files_at_all(subject):
    held = subject.scratch()
    assert held.config.diff_ids == ()
    assert held.config.platform == subject.engine.platform()
    assert list(subject.paths(held)) == [b""]
    with subject.engine.tree(held) as tree:
        for path in (b".dockerenv", b"etc", b"etc/hosts", b"etc/mtab", b"dev/console", b"dev", b"dev/shm", b"proc", b"sys"):
            assert tree.stat(path) is None, path
            assert list(tree.walk(path)) == [], path
            with pytest.raises(NotFound):
                tree.open(path)


def test_closing_twice_is_fine(subject):
    held = subject.engine.build(subject.base(), [Run("echo >/file")], Said(), Cancel())
    held.close()
    held.close()


# -- no steps


@pytest.mark.parametrize("steps", [(), (lay(file(b"f", b"x")),), (Run("echo x >/f"),)], ids=["base", "lay", "run"])
def test_no_steps_hold_the_same_image_once_more(subject, steps):
    on = subject.base() if not steps else subject.engine.build(subject.base(), steps, Said(), Cancel())
    again = subject.build(on)
    assert again.config == on.config
    on.close()
    on.close()  # closes nothing of the other one
    time.sleep(0.3)
    assert subject.run(again, "if [[ -e /f ]]; then cat /f; fi").strip() == ("x" if steps else "")
    assert again.config == on.config


# -- files


def test_laid_files_are_one_layer_and_nothing_else_changes(subject):
    base = subject.base()
    made = subject.build(base, lay(directory(b"app"), file(b"app/a", b"text", 0o640, uid=7, gid=8), link(b"app/l", b"a")))
    assert made.config.diff_ids[:-1] == base.config.diff_ids
    assert len(made.config.diff_ids) == len(base.config.diff_ids) + 1
    assert made.config.run == base.config.run
    files, contents = subject.files(made, b"app")
    assert [files[path].kind for path in (b"", b"a", b"l")] == ["directory", "file", "symlink"]
    assert (files[b"a"].mode, files[b"a"].uid, files[b"a"].gid, files[b"a"].mtime_s) == (0o640, 7, 8, 0)
    assert contents == {b"a": b"text"}
    assert files[b"l"].link == b"a"
    seen = subject.run(made, "stat -c '%n %a %u:%g %s %Y' /app/a; readlink /app/l")
    assert seen == "/app/a 640 7:8 4 0\na\n"


def test_files_on_scratch_are_the_whole_layer(subject):
    made = subject.build(subject.scratch(), lay(file(b"etc/app.conf", b"x"), file(b"tool", b"y", 0o755)))
    assert list(subject.top_layer(made)) == ["etc", "etc/app.conf", "tool"]
    assert list(subject.paths(made)) == [b"", b"etc", b"etc/app.conf", b"tool"]


@pytest.mark.parametrize("base", ["base", "scratch"])
def test_equal_files_are_equal_layers_at_any_time(subject, base):
    step = lay(file(b"etc/app.conf", b"x"), file(b"dev/x"), file(b"top"), mtime_s=1_700_000_000)
    first = subject.build(getattr(subject, base)(), step)
    time.sleep(1.1)
    second = subject.build(getattr(subject, base)(), step)
    assert first.config.diff_ids == second.config.diff_ids


def test_what_stands_keeps_its_metadata_and_links_are_followed(subject):
    base = subject.build(
        subject.base(),
        lay(
            directory(b"data", 0o2750, uid=5, gid=6),
            directory(b"real"),
            link(b"way", b"/real"),
            link(b"out", b"../../../real"),
        ),
    )
    files = lay(
        file(b"tmp/t"), file(b"data/deep/d"), file(b"way/w", b"w"), file(b"out/o", b"o"), owner="www-data", root=b"data"
    )
    for step in (files,), (files, Run("true")):
        made = subject.build(base, *step)
        seen = subject.run(made, "stat -c '%n %a %u:%g' /tmp /data /data/deep; ls -F / | grep -E 'way|out'; ls /real")
        assert seen == "/tmp 1777 0:0\n/data 2750 5:6\n/data/deep 755 33:0\nout@\nway@\no\nw\n"


def test_owners_are_names_of_the_image(subject):
    step = lay(file(b"a", owner="www-data", group="users"), file(b"b", owner="12", group="34"), file(b"c", uid=1, gid=2))
    for steps in (step,), (step, Run("true")):
        made = subject.build(subject.base(), *steps)
        assert subject.run(made, "stat -c '%u:%g' /a /b /c") == "33:100\n12:34\n1:2\n"


def test_something_of_another_kind_gives_way(subject):
    below = lay(file(b"dir/deep/x"), file(b"file"), link(b"link", b"dir"), directory(b"empty"))
    above = lay(file(b"dir", b"now a file"), file(b"file/x"), file(b"empty", b"too"), link(b"link", b"file"))
    for steps in (above,), (above, Run("true")):
        made = subject.build(subject.build(subject.base(), below), *steps)
        assert subject.run(made, "cat /dir /empty; ls /file; readlink /link") == "now a filetoox\nfile\n"


def test_several_lays_are_one_layer_and_the_later_wins(subject):
    first = lay(file(b"app/both", b"first"), file(b"app/one", b"1"))
    second = lay(file(b"app/both", b"second"), file(b"app/two", b"2"), remove=[b"app/one", b"app/gone"])
    below = subject.build(subject.base(), lay(file(b"app/gone")))
    for steps in (first, second), (first, second, Run("true")):
        made = subject.build(below, *steps)
        assert len(made.config.diff_ids) == len(below.config.diff_ids) + 1
        assert subject.files(made, b"app")[1] == {b"both": b"second", b"one": b"1", b"two": b"2"}


def test_special_files_modes_and_attributes_are_laid(subject):
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    from stapel.api import File

    step = lay(
        file(b"s/setuid", b"x", 0o4755),
        file(b"s/setgid", b"x", 0o2755),
        directory(b"s/sticky", 0o1777),
        File(b"s/null", "character", 0o666, device=(1, 3)),
        File(b"s/loop", "block", 0o660, gid=6, device=(7, 0)),
        File(b"s/fifo", "fifo", 0o600),
        file(b"s/able", b"x", 0o755, xattrs={"security.capability": capability}),
    )
    for steps in (step,), (step, Run("true")):
        files = subject.paths(subject.build(subject.base(), *steps), b"s")
        modes = {path.decode(): oct(item.mode) for path, item in files.items()}
        assert modes == {
            "": "0o755",
            "able": "0o755",
            "fifo": "0o600",
            "loop": "0o660",
            "null": "0o666",
            "setgid": "0o2755",
            "setuid": "0o4755",
            "sticky": "0o1777",
        }
        assert {path: item.kind for path, item in files.items()} == {
            b"": "directory",
            b"able": "file",
            b"fifo": "fifo",
            b"loop": "block",
            b"null": "character",
            b"setgid": "file",
            b"setuid": "file",
            b"sticky": "directory",
        }
        assert (files[b"null"].device, files[b"loop"].device) == ((1, 3), (7, 0))
        assert files[b"able"].xattrs == {"security.capability": capability}


def test_times_are_those_of_the_lay(subject):
    before_s = int(time.time())
    step = lay(file(b"t/own", mtime_s=11), file(b"t/lay"), mtime_s=22)
    now = lay(file(b"t/now"), mtime_s=None)
    for steps in (step, now), (step, now, Run("true")):
        files = subject.paths(subject.build(subject.base(), *steps), b"t")
        assert (files[b"own"].mtime_s, files[b"lay"].mtime_s) == (11, 22)
        assert before_s <= files[b"now"].mtime_s <= time.time()


@pytest.mark.parametrize("run", [(), (Run("ls -A /full /absent"),)], ids=["files", "commands"])
def test_emptied_directories(subject, run):
    below = subject.build(
        subject.base(),
        lay(
            directory(b"full", 0o750, uid=3),
            *(file(b"full/" + name) for name in ODD_NAMES),
            file(b"full/sub/x/y"),
            file(b"other"),
        ),
    )
    said = Said()
    made = subject.build(below, lay(file(b"full/new", b"n"), empty=[b"full", b"absent/deep"]), *run, log=said)
    if run:
        assert said.text() == "/absent:\ndeep\n\n/full:\nnew\n"
    files = subject.paths(made)
    assert [path for path in files if path.startswith((b"full", b"absent", b"other"))] == [
        b"absent",
        b"absent/deep",
        b"full",
        b"full/new",
        b"other",
    ]
    assert (files[b"full"].mode, files[b"full"].uid) == (0o750, 3)
    assert (files[b"absent/deep"].mode, files[b"absent/deep"].uid) == (0o755, 0)


@pytest.mark.parametrize("run", [(), (Run("find /odd | wc -l"),)], ids=["files", "commands"])
def test_files_with_odd_names_are_laid_seen_and_removed(subject, run):
    names = [b"odd/" + name for name in ODD_NAMES]
    below = subject.build(
        subject.base(), lay(*(file(name, name) for name in names), link(b"odd/link", b"/etc"), file(b"odd/d/x"))
    )
    assert subject.files(below, b"odd")[1] == {**{name: b"odd/" + name for name in ODD_NAMES}, b"d/x": b""}
    assert subject.run(below, "find /odd -type f | wc -l") == "10\n"  # one holds a new line
    said = Said()
    made = subject.build(
        below, Lay(lambda: iter(()), remove=[*names[1:], b"odd/link", b"odd/d/x", b"odd/no"], root=b"odd"), *run, log=said
    )
    assert said.text() == ("2\n" if run else "")
    assert list(subject.paths(made, b"odd")) == [b"", ODD_NAMES[0]]
    assert subject.run(made, "ls -d /etc") == "/etc\n"


def test_directories_that_removal_leaves_empty_go_up_to_the_root_of_the_lay(subject):
    below = subject.build(subject.base(), lay(file(b"a/b/c/d/x"), file(b"a/b/c/e/y"), file(b"p/q/z")))
    step = Lay(lambda: iter(()), remove=[b"a/b/c/d/x", b"p/q/z"], root=b"a/b")
    for steps in (step,), (step, Run("true")):
        made = subject.build(below, *steps)
        assert subject.run(made, "find /a /p") == "/a\n/a/b\n/a/b/c\n/a/b/c/e\n/a/b/c/e/y\n/p\n/p/q\n"
    everything = Lay(lambda: iter(()), remove=[b"a/b/c/d/x", b"a/b/c/e/y"], root=b"a/b")
    for steps in (everything,), (everything, Run("true")):
        assert subject.run(subject.build(below, *steps), "find /a") == "/a\n/a/b\n"


@pytest.mark.parametrize(
    "bad",
    [
        lay(file(b"f", owner="nobody-knows")),
        lay(file(b"f", group="nobody-knows")),
        lay(file(b"a/../b")),
        lay(file(b"loop/x")),
        lay(file(b"f"), file(b"f/x")),
        Lay(lambda: iter(()), remove=[b"../etc/passwd"]),
    ],
    ids=["owner", "group", "path", "loop", "nested", "removal"],
)
def test_files_that_cannot_be_laid(subject, bad):
    base = subject.build(subject.base(), lay(link(b"loop", b"loop")))
    for steps in (bad,), (bad, Run("true")):
        with pytest.raises(BadLay):
            subject.engine.build(base, steps, Said(), Cancel())


def test_an_error_of_who_gives_the_files_is_passed_on(subject):
    def files():
        yield file(b"a")
        if asked.append(1) or len(asked) > 1:
            raise ConnectionError("gone")

    for steps in (Lay(files),), (Lay(files), Run("true")):
        asked = []
        with pytest.raises(ConnectionError):
            subject.engine.build(subject.base(), steps, Said(), Cancel())


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        ("echo other >/app/a", True),
        ("rm /app/a", True),
        ("mv /app/a /app/b; ln -s b /app/a", True),
        ("rm /app/a; mkdir /app/a", True),
        ("rm /app/l; ln -s other /app/l", True),
        ("chmod 777 /app/a; touch /app/a /app/l; echo >/app/more", False),
    ],
)
def test_files_that_git_laid_are_not_overwritten_once_commands_changed_them(subject, change, changed):
    laid = subject.build(subject.base(), lay(file(b"app/a", b"text"), link(b"app/l", b"a"), file(b"app/stays")))
    after = subject.build(laid, Run(change))
    delta = lay(
        file(b"app/a", b"new"),
        remove=[b"app/l"],
        expected={b"app/a": blob_id(b"text"), b"app/l": blob_id(b"a")},
    )
    for steps in (delta,), (delta, Run("echo ran")):
        said = Said()
        if changed:
            with pytest.raises(FileChanged) as caught:
                subject.engine.build(after, steps, said, Cancel())
            assert set(caught.value.paths) <= {b"/app/a", b"/app/l"}
            assert said.bytes() == b""
        else:
            made = subject.build(after, *steps)
            assert subject.run(made, "cat /app/a; ls /app") == "newa\nmore\nstays\n"


def test_many_expected_files_are_all_checked(subject):
    files = [file(b"many/%03d" % number, b"%d" % number) for number in range(60)]
    laid = subject.build(subject.base(), lay(*files))
    expected = {item.path: blob_id(b"%d" % number) for number, item in enumerate(files)}
    made = subject.build(laid, lay(file(b"many/000", b"new"), expected=expected))
    assert subject.files(made, b"many/000")[1] == {b"": b"new"}
    after = subject.build(laid, Run("echo >/many/007; rm /many/021"))
    with pytest.raises(FileChanged) as caught:
        subject.engine.build(after, [lay(file(b"many/000", b"new"), expected=expected)], Said(), Cancel())
    assert caught.value.paths == (b"/many/007", b"/many/021")


@pytest.mark.parametrize("path", [b"etc/hosts", b"etc/hostname", b"etc/resolv.conf"])
def test_files_that_engines_mount_over_can_be_laid_and_laid_again(subject, path):
    first = subject.build(subject.base(), lay(file(path, b"1"), file(b"x")))
    second = subject.build(first, lay(file(path, b"2"), expected={path: blob_id(b"1")}))
    third = subject.build(second, lay(file(path, b"3"), expected={path: blob_id(b"2")}), Run("true"))
    assert path.decode() in subject.top_layer(third)


# -- commands


def test_commands_leave_their_files_in_one_layer(subject):
    base = subject.base()
    made = subject.build(base, Run("mkdir /made\necho text >/made/file\nrm /usr/bin/yes"))
    assert made.config.diff_ids[:-1] == base.config.diff_ids
    assert len(made.config.diff_ids) == 2
    assert made.config.with_(rootfs=None, history=None) == base.config.with_(rootfs=None, history=None)
    assert (
        subject.run(made, "cat /made/file; ls /usr/bin/yes 2>&1 || true")
        == "text\nls: /usr/bin/yes: No such file or directory\n"
    )


def test_commands_see_the_files_that_are_laid_before_them(subject):
    step = lay(file(b"app/in", b"laid", owner="www-data"), remove=[b"app/old"])
    below = subject.build(subject.base(), lay(file(b"app/old")))
    said = Said()
    made = subject.build(below, step, Run("cd /app; ls; cat in; stat -c ' %U' in; mv in out"), log=said)
    assert said.text() == "in\nlaid www-data\n"
    assert len(made.config.diff_ids) == 3
    assert subject.files(made, b"app")[1] == {b"out": b"laid"}


def test_a_layer_of_a_layer(subject):
    held = subject.base()
    for number in range(4):
        held = subject.build(held, Run(f"echo {number} >>/log"))
        held = subject.build(held, lay(file(b"n%d" % number)))
    assert len(held.config.diff_ids) == 9
    assert subject.run(held, "cat /log; ls -d /n?") == "0\n1\n2\n3\n/n0\n/n1\n/n2\n/n3\n"


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("exit 7", 7),
        ("false\necho not reached", 1),
        ("no-such-command", 127),
        ("/etc/passwd", 126),
        ("sh -c 'kill -KILL $$'", 137),
        ("sh -c 'kill -TERM $$'", 143),
        ("if [[ a == a ]]; then (exit 9); fi", 9),
        ("syntax ( error", 2),
    ],
)
def test_commands_that_fail(subject, script, status):
    said = Said()
    for steps in (Run(script),), (lay(file(b"x")), Run(script)):
        with pytest.raises(CommandFailed) as caught:
            subject.engine.build(subject.base(), steps, said, Cancel())
        assert caught.value.status == status
    assert "not reached" not in said.text()


def test_the_log_gets_both_outputs_in_their_order(subject):
    said = Said()
    script = "for n in 1 2 3; do echo out $n; sleep 0.05; echo err $n >&2; sleep 0.05; done; printf 'no end'"
    subject.build(subject.base(), Run(script), log=said)
    joined = []
    for stream, data in said.pieces:
        if joined and joined[-1][0] == stream:
            joined[-1] = (stream, joined[-1][1] + data)
        else:
            joined.append((stream, data))
    expected = [item for n in b"123" for item in (("stdout", b"out %c\n" % n), ("stderr", b"err %c\n" % n))]
    assert joined == [*expected, ("stdout", b"no end")]
    assert not said.overlapped


def test_the_log_gets_every_byte(subject):
    said = Said()
    script = "seq 1 300000; printf '\\x00\\xff\\r\\n'; seq 1 1000 >&2"
    subject.build(subject.base(), Run(script), log=said)
    lines = b"".join(b"%d\n" % number for number in range(1, 300001))
    assert said.bytes("stdout") == lines + b"\x00\xff\r\n"
    assert said.bytes("stderr") == b"".join(b"%d\n" % number for number in range(1, 1001))


def test_output_of_what_stays_behind_does_not_keep_a_step(subject):
    started = time.monotonic()
    subject.build(subject.base(), Run("sleep 1000 & echo done"))
    assert time.monotonic() - started < 20


# -- the contract of build containers


def test_the_environment_is_the_images_and_what_is_given(subject, monkeypatch):
    for name in ("HTTP_PROXY", "https_proxy", "no_proxy"):
        monkeypatch.setenv(name, f"http://{name}.example:3128")
    monkeypatch.setenv("FTP_PROXY", "")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    monkeypatch.setenv("SECRET", "of the host")
    base = subject.with_config(subject.base(), Env=["PATH=/bin:/usr/bin", "OF_IMAGE=a b=c", "BOTH=image", "EMPTY="])
    said = subject.run(base, "/usr/bin/env", env={"BOTH": "given", "GIVEN": "x\ny $HOME"})
    assert said.replace("x\ny $HOME", "x y").splitlines().sort() is None
    found = dict(line.partition("=")[::2] for line in said.replace("x\ny $HOME", "x|y").splitlines())
    assert found.pop("HOSTNAME")
    assert found == {
        "PATH": "/bin:/usr/bin",
        "OF_IMAGE": "a b=c",
        "BOTH": "given",
        "EMPTY": "",
        "GIVEN": "x|y",
        "HOME": "/root",
        "PWD": "/",
        "SHLVL": "1",
        "_": "/usr/bin/env",
        "HTTP_PROXY": "http://HTTP_PROXY.example:3128",
        "https_proxy": "http://https_proxy.example:3128",
        "no_proxy": "http://no_proxy.example:3128",
    }


def test_what_was_given_to_one_step_is_not_seen_by_the_next_one(subject):
    base = subject.with_config(subject.base(), Env=["PATH=/bin:/usr/bin", "BOTH=image"])
    made = subject.build(base, Run("true", env={"BOTH": "given", "GIVEN": "1", "PATH": "/bin"}))
    for held in made, subject.build(made, Run("true", env={"MORE": "1"})), subject.build(made, lay(file(b"x"))):
        assert held.config.run == base.config.run
        seen = subject.run(held, 'echo "$PATH" "$BOTH" "${GIVEN-unset}" "${MORE-unset}"')
        assert seen == "/bin:/usr/bin image unset unset\n"


def test_the_configuration_of_a_base_does_not_change_how_commands_run(subject):
    base = subject.with_config(
        subject.base(),
        User="www-data",
        WorkingDir="/var/www",
        Entrypoint=["/bin/false"],
        Cmd=["never"],
        Healthcheck={"Test": ["CMD-SHELL", "touch /unhealthy"], "Interval": 1_000_000_000, "Retries": 1},
        StopSignal="SIGUSR1",
        Shell=["/bin/false"],
        OnBuild=["RUN false"],
        ExposedPorts={"80/tcp": {}},
    )
    made = subject.build(
        base, Run("id -u; id -g; pwd; echo $#; umask; sleep 1.5; test ! -e /unhealthy; >/made"), log=(said := Said())
    )
    assert said.text() == "0\n0\n/\n0\n0022\n"
    assert made.config.run == base.config.run
    stored = subject.store(made, made.config)
    assert {**stored.config.run, "Hostname": ""} == {**base.config.run, "Hostname": ""}
    assert subject.run(subject.build(made, lay(file(b"x"))), "whoami; ls /x /made") == "root\n/made\n/x\n"


def test_what_is_written_to_volumes_of_a_base_is_kept(subject):
    filled = subject.build(subject.base(), lay(file(b"vol/below", b"b", uid=5), file(b"other/below", b"b")))
    base = subject.with_config(filled, Volumes={"/vol": {}, "/other": {}, "/not/there": {}})
    first = subject.build(
        base, Run("echo w >/vol/written; rm /other/below; ls -A /not 2>/dev/null || true"), log=(said := Said())
    )
    assert said.text() == ""
    second = subject.build(
        first, lay(file(b"vol/laid", b"l"), remove=[b"vol/below"]), Run("ls /vol; echo 2 >/vol/second"), log=said
    )
    assert said.text() == "laid\nwritten\n"
    third = subject.build(second, lay(file(b"vol/third", b"3")))
    assert subject.files(third, b"vol")[1] == {b"laid": b"l", b"second": b"2\n", b"third": b"3", b"written": b"w\n"}
    assert list(subject.paths(third, b"other")) == [b""]
    assert third.config.run["Volumes"] == {"/vol": {}, "/other": {}, "/not/there": {}}
    stored = subject.store(third, third.config)
    assert stored.config.run["Volumes"] == third.config.run["Volumes"]
    assert subject.files(subject.keep(subject.engine.hold(stored)), b"vol")[1][b"second"] == b"2\n"


def test_nobody_sits_before_commands(subject):
    script = "if read -r line; then exit 3; fi; test ! -t 0; test ! -t 1; test ! -t 2; echo ok"
    assert subject.run(subject.base(), script) == "ok\n"


@pytest.mark.parametrize("size_bytes", [300 << 10, 3 << 19], ids=["300 KiB", "1.5 MiB"])
def test_long_scripts(subject, size_bytes):
    line = ": 'ümläut $HOME `x` \\\\' \"quoted\"\n"
    script = "x=0\n" + (line + "x=$((x+1))\n") * (size_bytes // 45) + f"echo $x $# {size_bytes}\\\n\n\n"
    base = subject.base()
    said = Said()
    made = subject.build(base, Run(script), log=said)
    assert said.text() == f"{size_bytes // 45} 0 {size_bytes}\n"
    files = subject.paths(made, b".conveyor")
    assert {path: oct(item.mode) for path, item in files.items()} in ({b"": "0o755", b"stapel": "0o755"}, {})
    with pytest.raises(CommandFailed) as caught:
        subject.engine.build(base, [Run(script + "exit 5\n")], Said(), Cancel())
    assert caught.value.status == 5


@pytest.mark.parametrize("script", ["", "\n", "# nothing", "true"])
def test_scripts_of_nothing(subject, script):
    base = subject.base()
    made = subject.build(base, Run(script))
    assert len(made.config.diff_ids) == len(base.config.diff_ids) + 1


def test_any_bytes_in_a_script(subject):
    script = "printf %s '\udce9\udcff' \"a  b*\" $'\\t' | od -An -tx1; echo 'x\n\n  y'  \\\n  z"
    assert subject.run(subject.base(), script) == " e9 ff 61 20 20 62 2a 09\nx\n\n  y z\n"


def test_a_base_without_anything(subject):
    said = Said()
    made = subject.build(
        subject.scratch(), Run("echo text >/file; for f in /*; do echo $f; done; cd /proc/self; pwd"), log=said
    )
    assert "/file\n" in said.text()
    assert subject.files(made, b"file")[1] == {b"": b"text\n"}
    with pytest.raises(CommandFailed) as caught:
        subject.engine.build(made, [Run("cat /file")], Said(), Cancel())  # the tools of the engine are not for commands
    assert caught.value.status == 127
    shown = set(subject.paths(made))
    assert shown - {b"", b"file"} == {b".conveyor", b".conveyor/stapel"} or shown == {b"", b"file"}


def test_a_base_with_a_broken_libc(subject):
    broken = lay(file(b"lib/libc.so.6", b"no library", 0o755), file(b"lib64/ld-linux-x86-64.so.2", b"no loader", 0o755))
    base = subject.with_config(
        subject.build(subject.base(), broken), Env=["LD_LIBRARY_PATH=/lib:/lib64", "PATH=/bin:/usr/bin"]
    )
    assert subject.run(base, "echo works") == "works\n"
    assert (
        subject.run(subject.build(base, lay(remove_passwd := file(b"gone"))), f"ls /{remove_passwd.path.decode()}")
        == "/gone\n"
    )


def test_mounts(subject, tmp_path):
    written, read = tmp_path / "written", tmp_path / "read"
    written.mkdir()
    read.mkdir()
    (read / "in").write_text("host")
    mounts = [Mount(written, "/mnt/w"), Mount(read, "/deep/r", read_only=True)]
    base = subject.base()
    script = "cat /deep/r/in; echo container >/mnt/w/out; ! touch /deep/r/x; ! rm /deep/r/in; echo; ls /mnt/w"
    said = Said()
    made = subject.build(base, Run(script, mounts=mounts), log=said)
    assert said.bytes("stdout") == b"host\nout\n"
    assert (written / "out").read_text() == "container\n"
    assert [path.name for path in read.iterdir()] == ["in"]
    files = subject.paths(made)
    assert {path for path in files if path.startswith((b"mnt", b"deep"))} <= {b"mnt", b"mnt/w", b"deep", b"deep/r"}


def test_files_under_mounts_are_laid_in_the_image_and_not_on_the_host(subject, tmp_path):
    (tmp_path / "stays").write_text("host")
    (tmp_path / "laid").write_text("host")
    below = subject.build(subject.base(), lay(file(b"mnt/w/stays", b"1"), file(b"mnt/w/goes", b"1"), link(b"way", b"mnt")))
    run = Run("cat /mnt/w/*; echo >/made", mounts=[Mount(tmp_path, "/way/w")])
    for step in (
        lay(file(b"mnt/w/laid", b"2"), file(b"elsewhere", b"3"), remove=[b"mnt/w/goes"]),
        lay(file(b"mnt/w/laid", b"2"), file(b"mnt/w/stays", b"1"), empty=[b"mnt"]),
    ):
        said = Said()
        made = subject.build(below, step, run, log=said)
        assert said.text() == "hosthost"
        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"stays": "host", "laid": "host"}
        assert subject.files(made, b"mnt")[1] == {b"w/laid": b"2", b"w/stays": b"1"}
        assert subject.run(made, "ls /made") == "/made\n"


def test_a_mount_of_what_is_not_there_is_an_error(subject, tmp_path):
    with pytest.raises(StapelError):
        subject.engine.build(subject.base(), [Run("true", mounts=[Mount(tmp_path / "absent", "/mnt")])], Said(), Cancel())


def test_networks(subject):
    script = "for path in /sys/class/net/*; do echo ${path##*/}; done"
    assert subject.run(subject.base(), script, network="none").split() == ["lo"]
    assert len(subject.run(subject.base(), script).split()) > 1
    with pytest.raises(StapelError):
        subject.engine.build(subject.base(), [Run("true", network="no-such-network")], Said(), Cancel())


def test_commands_use_an_ssh_agent_and_cannot_change_it(subject, tmp_path):
    from stapel.ssh_agent import start_agent

    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "of the test", "-f", key], check=True)
    tools = lay(
        *programs("ssh-add", "ssh-keygen"),
        file(b"etc/passwd", b"root:x:0:0::/root:/bin/bash\n"),
        file(b"key.pub", key.with_suffix(".pub").read_bytes()),
        file(b"other", key.read_bytes(), 0o600),
        file(b"signed", b"content"),
    )
    base = subject.build(subject.scratch(), tools)
    script = """
        exec 2>&1
        /usr/bin/ssh-add -l
        /usr/bin/ssh-keygen -q -Y sign -n file -f /key.pub /signed
        for change in -D '-d /key.pub' /other; do ! /usr/bin/ssh-add $change; done
        echo x | { ! SSH_ASKPASS_REQUIRE=never /usr/bin/ssh-add -x; }
        /usr/bin/ssh-add -l
    """
    with start_agent([key], tmp_path) as socket:
        said = Said()
        made = subject.build(base, Run(script, ssh_socket=socket), log=said)
        lines = said.text().splitlines()
        assert lines[0] == lines[-1]
        assert "of the test" in lines[0]
        assert subject.run(made, 'echo "${SSH_AUTH_SOCK-none}"') == "none\n"
    files, contents = subject.files(made)
    (tmp_path / "signature").write_bytes(contents[b"signed.sig"])
    check = ["ssh-keygen", "-q", "-Y", "check-novalidate", "-n", "file", "-s", tmp_path / "signature"]
    subprocess.run(check, input=b"content", check=True)
    assert all(item.kind in ("file", "directory", "symlink") for item in files.values())


# -- stopping


def test_a_build_that_is_cancelled_before_it_starts(subject):
    cancel = Cancel()
    cancel.set()
    for steps in (lay(file(b"x")),), (Run("echo ran"),):
        said = Said()
        with pytest.raises(Cancelled):
            subject.engine.build(subject.base(), steps, said, cancel)
        assert said.bytes() == b""


@pytest.mark.parametrize("stubborn", ["", "trap '' TERM INT HUP; "], ids=["", "stubborn"])
def test_running_commands_are_cancelled_at_once_and_leave_nothing(subject, stubborn):
    cancel = Cancel()
    cancelled_at = []

    def log(stream, data):
        threading.Thread(target=lambda: (cancelled_at.append(time.monotonic()), cancel.set())).start()

    with pytest.raises(Cancelled):
        subject.engine.build(subject.base(), [Run(f"{stubborn}echo started; sleep 1000; sleep 1000")], log, cancel)
    assert time.monotonic() - cancelled_at[0] < 5
    subject.resources.close()
    subject.engine.close()
    assert subject.left() == []


def test_files_are_cancelled_while_they_are_laid(subject):
    cancel = Cancel()

    def files():
        for number in range(1000):
            yield file(b"%04d" % number, b"x")
            given.append(number)
            if len(given) == 1500:
                cancel.set()

    for steps in (Lay(files),), (Lay(files), Run("true")):
        given = []
        cancel = Cancel()
        with pytest.raises(Cancelled):
            subject.engine.build(subject.base(), steps, Said(), cancel)


def test_two_threads_build_at_once(subject, tmp_path):
    script = "echo >/mnt/$ME; until [[ -e /mnt/$OTHER ]]; do sleep 0.05; done; echo $ME; echo $ME >/me"
    base = subject.base()
    results = {}

    def build(me, other):
        said = Said()
        run = Run(script, env={"ME": me, "OTHER": other}, mounts=[Mount(tmp_path, "/mnt")])
        results[me] = (subject.build(base, lay(file(me.encode())), run, log=said), said)

    threads = [threading.Thread(target=build, args=names) for names in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for me, (held, said) in results.items():
        assert said.text() == f"{me}\n"
        assert subject.files(held, b"me")[1] == {b"": f"{me}\n".encode()}
    assert sorted(results) == ["a", "b"]


def test_one_image_is_built_on_and_read_by_many_threads(subject):
    base = subject.build(subject.base(), lay(file(b"x", b"x")))
    failures = []

    def work(number):
        try:
            made = subject.build(base, lay(file(b"n%d" % number, b"%d" % number)))
            assert subject.files(made, b"n%d" % number)[1] == {b"": b"%d" % number}
            assert subject.files(base, b"x")[1] == {b"": b"x"}
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
