import re

from hypothesis import given, settings
from hypothesis import strategies as st

from conveyor.config.documents import split_documents

lines = st.sampled_from(
    [
        "---",
        "--- ",
        "---\t",
        "---\r",
        "---# c",
        "--- # c\r",
        "---foo",
        " ---",
        "--- foo",
        "----",
        "...",
        "a: b",
        "# c",
        "  # c",
        "",
        " \t",
    ]
)


def split_by_lines(text: str) -> list[tuple[int, str]]:
    """The rule of separators, line by line."""
    documents: list[tuple[int, list[str]]] = [(0, [])]
    offset = 0
    for line in re.findall("[^\n]*\n|[^\n]+", text):
        rest = line.rstrip("\n").removeprefix("---").lstrip(" \t\r")
        offset += len(line)
        if line.startswith("---") and (not rest or rest.startswith("#")):
            documents.append((offset, []))
        else:
            documents[-1][1].append(line)
    return [
        (start, "".join(kept))
        for start, kept in documents
        if any(line.strip() and not line.lstrip().startswith("#") for line in kept)
    ]


@settings(deadline=None)
@given(st.lists(lines).map("\n".join))
def test_documents_are_what_stands_between_separators(text):
    found = [(document.offset, document.text) for document in split_documents(text)]
    assert found == split_by_lines(text)
    assert all(text.startswith(document.text, document.offset) for document in split_documents(text))


def test_a_separator_inside_a_block_splits_too():
    assert [document.text for document in split_documents("a: |\n  x\n---\nb: c")] == ["a: |\n  x\n", "b: c"]
