from conveyor.storage.names import stage_name
from conveyor.storage.notes import KEPT, Predecessors, Seen


def name(number):
    return stage_name(f"{number:056x}", 1_700_000_000_000 + number, f"sha256:{number:064x}")


def test_the_latest_are_kept_of_each_stage_of_an_image(tmp_path):
    predecessors = Predecessors(tmp_path / "absent")
    assert predecessors.names("p", "app", "setup") == []
    for number in range(KEPT + 3):
        predecessors.note("p", "app", "setup", name(number))
    predecessors.note("p", "app", "install", name(99))
    assert predecessors.names("p", "app", "setup") == [name(number) for number in reversed(range(3, KEPT + 3))]
    assert predecessors.names("p", "app", "install") == [name(99)]
    assert predecessors.names("p", "", "setup") == predecessors.names("q", "app", "setup") == []


def test_what_is_not_a_stage_is_left_out(tmp_path):
    predecessors = Predecessors(tmp_path)
    predecessors.note("p", "app", "setup", name(1))
    (file,) = tmp_path.iterdir()
    with file.open("ab") as out:
        out.write(b"\xff\n\n" + str(name(2)).encode()[:-1])
    assert predecessors.names("p", "app", "setup") == [name(1)]


def test_a_file_does_not_grow_forever(tmp_path):
    predecessors = Predecessors(tmp_path)
    for number in range(1000):
        predecessors.note("p", "app", "setup", name(number))
    (file,) = tmp_path.iterdir()
    assert file.stat().st_size < 10_000
    assert predecessors.names("p", "app", "setup")[0] == name(999)
    assert len(predecessors.names("p", "app", "setup")) == KEPT


def test_what_was_seen_is_known_by_its_digest(tmp_path):
    seen = Seen(tmp_path / "absent")
    assert not seen.has(name(1).digest)
    for number in (1, 2):
        seen.note(name(number))
    assert seen.has(name(1).digest)
    assert seen.has(name(2).digest)
    assert not seen.has(name(3).digest)
    assert not seen.has(name(1).digest[:-1])


def test_a_place_that_cannot_be_written_remembers_nothing(tmp_path):
    (tmp_path / "file").touch()
    predecessors = Predecessors(tmp_path / "file")
    predecessors.note("p", "app", "setup", name(1))
    assert predecessors.names("p", "app", "setup") == []
