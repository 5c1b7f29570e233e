import pytest

from conveyor.storage.names import (
    Mark,
    StageName,
    commit_record_name,
    copy_record_name,
    custom_tag_record_name,
    import_record_name,
    index_name,
    is_index_name,
    is_own_name,
    is_record_of_build,
    is_record_of_stage,
    managed_image_name,
    parse_copy_record,
    parse_import_record,
    parse_mark,
    parse_stage_name,
    stage_name,
)
from stapel.oci.reference import is_tag

D = "a" * 56


def test_a_name_is_read_as_it_was_written():
    name = stage_name(D, 1_700_000_000_123, "sha256:" + "0123456789abcdef" * 4)
    assert str(name) == f"{D}-1700000000123-01234567"
    assert parse_stage_name(str(name)) == name


@pytest.mark.parametrize(
    ("mark", "ending"),
    [
        (Mark(f"{D}-1700000000123-01234567", 1, lifted=False), "-rejected"),
        (Mark(f"{D}-1700000000123-01234567", 12, lifted=False), "-rejected-12"),
        (Mark(f"{D}-1700000000123-01234567", 1, lifted=True), "-unrejected"),
        (Mark(f"{D}-1700000000123-01234567", 3, lifted=True), "-unrejected-3"),
    ],
)
def test_a_mark_is_read_as_it_was_written_and_is_no_stage(mark, ending):
    assert str(mark) == mark.stage + ending
    assert parse_mark(str(mark)) == mark
    assert parse_stage_name(str(mark)) is None
    assert is_own_name(str(mark))


@pytest.mark.parametrize(
    "ending", ["", "-rejected-", "-rejected-0", "-rejected-01", "-rejected-x", "-unrejected-\u0661", "-Rejected"]
)
def test_other_endings_are_no_marks(ending):
    assert parse_mark(f"{D}-1700000000123-01234567{ending}") is None


def test_names_are_tags():
    assert len(str(Mark(str(StageName(1, D, "0" * 8)), 999_999_999, lifted=True))) <= 128
    assert len(import_record_name(D, D)) <= 128


def test_older_comes_first_and_ties_are_broken_by_name():
    names = [StageName(2, D, "00000000"), StageName(1, D, "ffffffff"), StageName(1, D, "00000001")]
    assert sorted(names) == [names[2], names[1], names[0]]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "latest",
        D,
        f"{D}-1",
        f"{D}-1700000000123",
        f"{D}-1700000000123-0123456",
        f"{D}-1700000000123-01234567-x",
        f"{D}-1700000000123-01234567\n",
        f"x{D}-1700000000123-01234567",
        f"{D.upper()}-1700000000123-01234567",
        f"{D}-١٧٠٠٠٠٠٠٠٠١٢٣-01234567",
    ],
)
def test_other_names_are_no_stages(text):
    assert parse_stage_name(text) is None


def test_import_records():
    assert parse_import_record(import_record_name(D, "b" * 56)) == (D, "b" * 56)
    assert parse_import_record("import-x") is None


STAGE = StageName(1_700_000_000_123, D, "01234567")


@pytest.mark.parametrize("image", ["", "app", "a/b+c d", "x" * 300, "caf\u00e9", "-"])
def test_names_of_images_commits_and_tags_are_tags_of_a_form_that_is_known(image):
    names = {
        managed_image_name(image),
        commit_record_name(image, "c" * 40, STAGE),
        commit_record_name(image, "c" * 64, STAGE),
        custom_tag_record_name(STAGE, "v1"),
        custom_tag_record_name(STAGE, "v" * 128),
        copy_record_name(STAGE, "sha256:" + "d" * 64),
    }
    for name in names:
        assert is_tag(name)
        assert is_own_name(name)
        assert parse_stage_name(name) is None
    assert len(names) == 6


def test_two_images_have_two_records():
    images = ["", "a", "a/b", "a+b", "a b", "a__slash__c", "x" * 300, "x" * 301]
    assert len({managed_image_name(image) for image in images}) == len(images)


def test_a_record_speaks_of_its_stage():
    other = StageName(STAGE.timestamp_ms + 1, D, STAGE.suffix)
    records = [
        str(Mark(str(STAGE), 1, lifted=False)),
        commit_record_name("a", "c" * 40, STAGE),
        custom_tag_record_name(STAGE, "v"),
    ]
    assert all(is_record_of_stage(record, {STAGE}) for record in records)
    assert not any(is_record_of_stage(record, {other}) for record in records)
    assert is_record_of_stage(managed_image_name("a"), {other})


def test_copies_are_read_as_they_were_written():
    assert parse_copy_record(copy_record_name(STAGE, "sha256:" + "d" * 64)) == (str(STAGE), "d" * 16)
    assert parse_copy_record(str(STAGE)) is None


def test_an_index_is_named_by_its_stages_and_is_no_stage_and_no_record():
    name = index_name({"linux/amd64": str(STAGE), "linux/arm64": str(STAGE)})
    assert name == index_name({"linux/arm64": str(STAGE), "linux/amd64": str(STAGE)})
    assert name != index_name({"linux/amd64": str(STAGE)})
    assert is_index_name(name) and is_own_name(name)
    assert parse_stage_name(name) is None and not is_record_of_build(name)
