"""What every engine does with bases and files. The engines are those of ENGINES in `tests.conformance.engines`."""

import re
import subprocess
import time

import pytest

from stapel.api import Cancel, Lay, Run
from stapel.errors import BadLay, FileChanged, NotFound, StapelError, Unreachable
from stapel.oci.registry import RegistryStore
from tests.conformance.engines import Said, directory, file, lay, link

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


def test_an_image_is_held_once_more_until_both_are_closed(subject):
    made = subject.engine.build(subject.base(), [Run("echo x >/f")], Said(), Cancel())
    again = made.again()
    made.close()
    made.close()
    assert again.config == made.config
    assert subject.run(again, "cat /f").strip() == "x"
    again.close()


def test_after_a_rest_it_builds_as_before(subject):
    base = subject.base()
    subject.engine.rest()
    assert subject.run(base, "echo x").strip() == "x"
    subject.engine.rest()
    subject.engine.rest()
    assert subject.run(base, "echo y").strip() == "y"


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
