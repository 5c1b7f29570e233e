"""Large layers are sent to a registry while their diff ids are made; whatever becomes of that, the image is whole."""

import hashlib
import io
import secrets
import threading

import pytest
from msgspec.structs import replace

from stapel.api import Cancel, Run
from stapel.errors import CommandFailed
from stapel.oci.compress import decompressed
from stapel.oci.registry import RegistryStore
from stapel.oci.retries import Retries
from tests.conformance.engines import Said, file, lay
from tests.fault_proxy import cut_head, failing, incomplete_names
from tests.servers import Reply, Reset

QUICK = Retries(attempts=4, first_s=0.001, longest_s=0.01, longest_asked_s=0.01)
LARGE = Run("head -c 12000000 /dev/urandom >/much; echo x >/little\n")
SMALL = Run("head -c 8000000 /dev/urandom >/much; echo x >/little\n")


class Taking:
    """A store that takes blobs while they are written."""

    def __init__(self, fails=None):
        self.blobs = {}
        self.writes = []
        self.fails = fails
        self.has_ended, self.may_end = threading.Event(), threading.Event()
        self.may_end.set()

    def put_written(self, write):
        self.writes.append(write)
        if self.fails is not None:
            raise self.fails
        out = io.BytesIO()
        try:
            blob = write(out)
        finally:
            self.has_ended.set()
        assert self.may_end.wait(60)
        self.blobs[blob.digest] = out.getvalue()


def build(sandbox, on, *steps, into, key="", cancel=None):
    return sandbox.keep(sandbox.engine.build(on, steps, Said(), cancel or Cancel(), key, into))


def tar_of(blob):
    return b"".join(decompressed(io.BytesIO(blob)))


def test_a_large_layer_is_sent_and_a_small_one_is_not(sandbox):
    taking = Taking()
    held = sandbox.base()
    for run in (SMALL, LARGE, LARGE):
        held = build(sandbox, held, run, into=taking)
    view = sandbox.store(held, held.config)
    layers = view.layers()[1:]
    view.unwritten()  # waits for them
    assert len(taking.writes) == 2
    assert list(taking.blobs) == [layer.digest for layer in layers[1:]]
    for blob, diff_id in zip(taking.blobs.values(), held.config.diff_ids[2:], strict=True):
        assert f"sha256:{hashlib.sha256(tar_of(blob)).hexdigest()}" == diff_id


def test_who_stores_waits_for_what_is_on_its_way(sandbox):
    taking = Taking()
    taking.may_end.clear()
    held = build(sandbox, sandbox.base(), LARGE, into=taking)
    view = sandbox.store(held, held.config)
    asked = []
    thread = threading.Thread(target=lambda: asked.append(view.unwritten()))
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    taking.may_end.set()
    thread.join()
    assert asked == [[]]
    assert not view.has_unwritten()


@pytest.mark.parametrize("fails", [OSError("no route"), RuntimeError("a mistake of ours")])
def test_one_that_could_not_be_sent_is_still_to_be_written(sandbox, fails):
    taking = Taking(fails)
    held = build(sandbox, sandbox.base(), LARGE, into=taking)
    view = sandbox.store(held, held.config)
    assert view.has_unwritten()
    assert len(view.unwritten()) == 1
    assert len(taking.writes) == 1


def test_what_is_known_already_is_not_sent_to_its_end(sandbox):
    taking, again = Taking(), Taking()
    run = Run("seq 2000000 >/much; touch -d @1577836800 /much /\n")
    first = build(sandbox, sandbox.base(), run, into=taking)
    sandbox.store(first, first.config).unwritten()
    assert len(taking.blobs) == 1
    second = build(sandbox, sandbox.base(), run, into=again)
    assert second.config.diff_ids == first.config.diff_ids
    assert len(again.writes) == 1
    assert again.has_ended.wait(60)
    assert again.blobs == {}


def test_commands_that_fail_send_nothing(sandbox):
    taking = Taking()
    with pytest.raises(CommandFailed):
        build(sandbox, sandbox.base(), replace(LARGE, script=LARGE.script + "exit 3\n"), into=taking)
    assert taking.writes == []


def test_a_layer_of_files_before_commands_is_sent_with_what_they_leave(sandbox):
    taking = Taking()
    held = build(sandbox, sandbox.base(), lay(file(b"here", b"x")), LARGE, into=taking)
    sandbox.store(held, held.config).unwritten()
    (blob,) = taking.blobs.values()
    assert f"sha256:{hashlib.sha256(tar_of(blob)).hexdigest()}" == held.config.diff_ids[-1]
    assert b"here" in tar_of(blob)


@pytest.mark.parametrize("made_ready", [False, True])
def test_it_comes_to_a_registry_once(sandbox, front, registry, made_ready):
    path, key = f"t/{secrets.token_hex(6)}", secrets.token_hex(28)
    here = RegistryStore(f"{front.host}/{path}", retries=QUICK)
    held = sandbox.base()
    if made_ready:
        sandbox.engine.make_ready(lambda: [LARGE], key)
        held = build(sandbox, held, Run("echo first >/first; sleep 0.3\n"), into=here, key=key)
        assert held.readied is not None
    held = build(sandbox, held, LARGE, into=here)
    here.name("x", sandbox.engine.put(held, held.config.with_(author="me"), here, Cancel()))
    sent = [request.method for request in front.seen if "/uploads/" in request.path]
    assert sent.count("PATCH") == 1
    there = RegistryStore(f"{registry.host}/{path}").get("x")
    assert [digest(there, layer) for layer in there.layers()] == list(held.config.diff_ids)


def digest(view, layer):
    return f"sha256:{hashlib.sha256(tar_of(view.open(layer).read())).hexdigest()}"


@pytest.mark.parametrize(
    ("answer", "method"),
    [(Reply(405), "PATCH"), (Reset(after=1), "PATCH"), (cut_head(0), "PATCH"), (Reply(500), "PUT"), (Reply(503), "POST")],
    ids=["405", "reset", "no answer", "500 at the end", "503 at the beginning"],
)
def test_what_a_registry_does_not_take_so_it_gets_afterwards(sandbox, front, registry, answer, method):
    path = f"t/{secrets.token_hex(6)}"
    front.rules.append(failing(1, answer, method=method, path="/uploads/"))
    here = RegistryStore(f"{front.host}/{path}", retries=QUICK)
    held = build(sandbox, sandbox.base(), LARGE, into=here)
    here.name("x", sandbox.engine.put(held, held.config.with_(author="me"), here, Cancel()))
    assert incomplete_names(registry.storage, path) == []
    there = RegistryStore(f"{registry.host}/{path}").get("x")
    assert [digest(there, layer) for layer in there.layers()] == list(held.config.diff_ids)
