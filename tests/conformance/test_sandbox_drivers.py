"""The sandbox over each driver of its store: the tests of engines that touch trees, equal layers, a store that changes."""

import secrets
import subprocess
import tarfile

import pytest
from msgspec.structs import replace

from stapel.api import Cancel, Run
from stapel.oci.api import Descriptor
from stapel.runs import open_run
from stapel.sandbox.engine import SandboxEngine
from stapel.sandbox.store import EMPTY, Store
from tests.conformance.engines import DRIVERS, Said, busybox_of, directory, file, lay, link, sandbox_subject
from tests.conformance.test_engine import (  # noqa: F401 -- they are run here too
    test_emptied_directories,
    test_files_on_scratch_are_the_whole_layer,
    test_files_that_engines_mount_over_can_be_laid_and_laid_again,
    test_files_with_odd_names_are_laid_seen_and_removed,
    test_something_of_another_kind_gives_way,
    test_special_files_modes_and_attributes_are_laid,
    test_what_stands_keeps_its_metadata_and_links_are_followed,
)
from tests.conformance.test_engine_commands import (  # noqa: F401
    test_a_base_without_anything,
    test_a_layer_of_a_layer,
    test_commands_leave_their_files_in_one_layer,
    test_commands_see_the_files_that_are_laid_before_them,
    test_files_under_mounts_are_laid_in_the_image_and_not_on_the_host,
    test_one_image_is_built_on_and_read_by_many_threads,
    test_running_commands_are_cancelled_at_once_and_leave_nothing,
)
from tests.conformance.test_engine_images import test_an_image_of_another_store_is_brought  # noqa: F401


@pytest.fixture(scope="session")
def home_of(tmp_path_factory, request):
    """The home of a driver."""
    homes = {}

    def home(driver):
        if driver not in homes:
            parent = request.getfixturevalue("btrfs_dir") if driver == "btrfs" else tmp_path_factory.mktemp(driver)
            homes[driver] = parent / "home"
            homes[driver].mkdir()
        return homes[driver]

    return home


@pytest.fixture(params=DRIVERS.values(), ids=list(DRIVERS))
def subject(request, home_of):
    with request.param(home_of(request.param.keywords["driver"]), request) as subject:
        yield subject


FILES = lay(
    directory(b"app", 0o1775, uid=33, gid=100),
    file(b"app/text", b"text\n" * 1000, 0o4755, owner="www-data"),
    file(b"app/same", b"same", xattrs={"user.note": b"\x00\xff"}),
    link(b"app/link", b"text"),
    file(b"app/\xff\n odd", b"odd"),
    *(file(b"deep/%d/file" % number, b"%d" % number) for number in range(20)),
    mtime_s=1_000_000_000,
)
# The same file again, a directory emptied, files removed: all of it is in a layer, and some of it is no difference.
AGAIN = lay(
    file(b"app/same", b"same", xattrs={"user.note": b"\x00\xff"}),
    file(b"app/new", b"new"),
    remove=[b"deep/%d/file" % number for number in range(10)],
    empty=[b"full"],
    mtime_s=1_000_000_000,
)
SCRIPT = """
mkdir /full /full/inner
echo x >/full/inner/file
dd if=/dev/zero of=/full/sparse bs=1 count=1 seek=400000000 2>/dev/null
echo more >>/app/text
chown 33:33 /app/text
ln /app/text /app/other
rm /app/link
touch -d @1000000000 /full/inner/file /full/inner /full/sparse /full /app/text /app
"""


def build_chain(subject):
    """An image with every kind of layer."""
    return subject.build(subject.build(subject.build(subject.base(), FILES), Run(SCRIPT)), AGAIN)


def read_layers(subject, held):
    """The names in each layer of an image, written from the store: a view verifies the bytes against the diff ids."""
    view = subject.store(held, held.config.with_(author=secrets.token_hex(4)))
    names = []
    for layer in view.layers():
        with view.open(layer) as stream, tarfile.open(fileobj=stream, mode="r:*") as archive:
            names.append(archive.getnames())
    return names


@pytest.mark.parametrize("driver", [name.removeprefix("sandbox-") for name in DRIVERS])
def test_layers_are_those_of_overlays_and_can_be_read_back(driver, home_of, request):
    with sandbox_subject(home_of("overlay"), request, driver="overlay") as subject:
        held = build_chain(subject)
        expected = (
            held.config.diff_ids,
            read_layers(subject, held),
            subject.files(held, b"app"),
            subject.files(held, b"full"),
        )
    with sandbox_subject(home_of(driver), request, driver=driver) as subject:
        held = build_chain(subject)
        found = held.config.diff_ids, read_layers(subject, held), subject.files(held, b"app"), subject.files(held, b"full")
    assert found[0] == expected[0]
    assert found[1] == expected[1]
    assert {"app/same", "app/new", "deep/.wh.0", "full/.wh..wh..opq"} <= set(found[1][-1])
    for (files, contents), (expected_files, expected_contents) in zip(found[2:], expected[2:], strict=True):
        assert contents == expected_contents
        assert {path: replace(item, open=None) for path, item in files.items()} == {
            path: replace(item, open=None) for path, item in expected_files.items()
        }


def test_an_image_stays_usable_when_the_driver_changes(home_of, request, tmp_path):
    try:
        home, drivers = home_of("btrfs"), ("overlay", "copy", "btrfs", "overlay")
    except pytest.skip.Exception:
        home, drivers = home_of("copy"), ("overlay", "copy", "overlay")
    image_id = ""
    with open_run(home) as outer:
        for driver in drivers:
            engine = SandboxEngine("changing", run_id=outer.id, home_dir=home, tmp_dir=tmp_path, driver=driver)
            try:
                if not image_id:
                    busybox_of(engine, home)
                    on = engine.base("conveyor-test/busybox:1", engine.platform(), Said())
                    for step in (FILES, Run(SCRIPT), AGAIN):
                        on = engine.build(on, [step], Said(), Cancel())
                    image_id = engine.put(on, on.config, engine.images, Cancel()).digest
                    engine.images.name("one", Descriptor("", image_id, 0))
                held = engine.hold(engine.images.get("one"))
                assert held.id == image_id
                assert {layer.driver for layer in held.layers} == {driver}
                view = engine.images.get("one")
                for layer in view.layers():
                    with view.open(layer) as stream:
                        stream.read()  # verified
                said = Said()
                engine.build(held, [Run("cat /app/same; ls /full /deep | wc -l")], said, Cancel()).close()
                assert said.text() == "same13\n"
                held.close()
                snapshots = [path.name for path in (home / "sandbox/snapshots").iterdir()]
                kept = {layer.snapshot for image in Store(home, outer.id).images.all() for layer in image.layers}
                assert sorted(snapshots) == sorted({EMPTY, *kept})
            finally:
                engine.close()


def test_a_file_of_a_layer_below_that_has_changed_in_a_whole_tree_is_found(tmp_path):
    with open_run(tmp_path) as run:
        engine = SandboxEngine("damaged", run_id=run.id, home_dir=tmp_path, tmp_dir=tmp_path, driver="copy")
        try:
            busybox_of(engine, tmp_path)
            held = engine.base("conveyor-test/busybox:1", engine.platform(), Said())
            for step in (FILES, Run(SCRIPT), AGAIN):
                held = engine.build(held, [step], Said(), Cancel())
            engine.put(held, held.config, engine.images, Cancel())
            assert list(engine.upkeep.check(mend=False)) == []
            damaged = tmp_path / "sandbox/snapshots" / held.layers[-1].snapshot / "fs/deep/15/file"
            damaged.write_text("other")
            assert ["/deep/15/file is another" in fault.what for fault in engine.upkeep.check(mend=False)] == [True]
        finally:
            engine.close()


@pytest.mark.parametrize("driver", ["overlay", "copy"])
def test_a_chain_of_many_layers(driver, home_of, request):
    with sandbox_subject(home_of(driver), request, driver=driver) as subject:
        held = subject.base()
        count = {"overlay": 400, "copy": 120}[driver]  # more than the options of one overlay take
        for number in range(count):
            step = lay(file(b"n/%d" % number), file(b"last", b"%d" % number), remove=[b"n/%d" % (number - 2)])
            held = subject.build(held, step)
        assert subject.run(held, "ls /n | sort -n; cat /last").split() == [str(count - 2), str(count - 1), str(count - 1)]
        assert set(subject.paths(held, b"n")) == {b"", b"%d" % (count - 2), b"%d" % (count - 1)}


def test_where_overlays_are_refused_files_are_copied_and_somebody_is_told(tmp_path):
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    options = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    mounted = subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", tmp_path / "merged"], capture_output=True)
    if mounted.returncode:
        pytest.skip("no overlay can be mounted by this user, so none can be found where one is mounted already")
    home, warnings = tmp_path / "merged/home", []
    home.mkdir()
    try:
        for told in (1, 0):  # it is found out once for a place
            with open_run(home) as run:
                made = {"run_id": run.id, "home_dir": home, "tmp_dir": tmp_path, "on_warning": warnings.append}
                engine = SandboxEngine("refused", **made)
                try:
                    assert engine.probe() == ""
                    busybox_of(engine, home)
                    base = engine.base("conveyor-test/busybox:1", engine.platform(), Said())
                    engine.build(base, [Run("echo x >/x")], Said(), Cancel()).close()
                    assert {layer.driver for layer in base.layers} == {"copy"}
                finally:
                    engine.close()
            assert [text for text in warnings if "overlays cannot be mounted" in text] == warnings
            assert len(warnings) == told
            warnings.clear()
        with open_run(home) as run:
            asked = SandboxEngine("refused", run_id=run.id, home_dir=home, tmp_dir=tmp_path, driver="overlay")
            assert "--sandbox-store auto" in asked.probe()
            asked.close()
    finally:
        subprocess.run(["umount", "--lazy", tmp_path / "merged"], check=True)
