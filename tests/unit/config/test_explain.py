import pytest

from conveyor.config.explain import explain, paths_of_fields
from conveyor.config.tables.documents import all_documents
from conveyor.errors import UsageError


def test_every_field_is_explained_and_has_a_meaning():
    for path, field in paths_of_fields().items():
        text = explain(path)
        assert text.startswith(f"{path}: ") and field.meaning and field.meaning in text, path
        assert all(choice in text for choice in field.choices) and field.default in text


def test_kinds_of_documents_are_told_without_a_path():
    assert all(f"  {word} " in explain("") for word in all_documents())
    assert "  git " in explain("image") and "  staged " not in explain("image")


def test_a_path_without_its_document_where_one_field_can_be_meant():
    assert explain("keepPolicies.references.limit.in").startswith("project.cleanup.keepPolicies.references.limit.in: ")
    assert explain("shell.install") == explain("image.shell.install")
    assert explain("image.git[].add") == explain("image.git.add")


@pytest.mark.parametrize(
    ("path", "message", "hint"),
    [
        ("image.git.ad", "no field `ad` in `image.git`", "`add`"),
        ("image.gti", "no field `gti` in `image`", "`git`"),
        ("imgae.git", "no field `imgae.git`", "`image.git`"),
        ("image.network.x", "`image.network` has no fields", ""),
        ("image.shell.make", "no field `make` in `image.shell`", "fields: beforeInstall"),
        ("add", "a field of several maps", "image.git.add"),
        ("zzz", "no field `zzz`", "project, dockerfile, image"),
    ],
)
def test_a_mistake_is_answered_with_the_nearest_name(path, message, hint):
    with pytest.raises(UsageError) as caught:
        explain(path)
    assert message in str(caught.value) and hint in caught.value.hint
