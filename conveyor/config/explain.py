"""What `config explain` prints: the meaning of a field, from the tables that the decoders read by."""

from __future__ import annotations

from conveyor.config.suggestions import did_you_mean
from conveyor.config.tables.documents import all_documents
from conveyor.config.tables.field import Field, Table
from conveyor.errors import UsageError

_SHOWN = {
    "texts": "text, or list of texts",
    "list": "list of texts",
    "names": "text, list of texts, or null",
    "flag": "true or false",
}
_DOCS = "docs/configuration.md"


def explain(path: str) -> str:
    """The text about a path, `image.git.add`; of "" the kinds of documents. `UsageError` where there is no such field."""
    words = [word for word in path.replace("[]", "").split(".") if word]
    documents = all_documents()
    if not words:
        rows = [(word, document.meaning) for word, document in documents.items()]
        return _table(rows) + f"\nconveyor config explain {rows[0][0]}.FIELD tells of a field; {_DOCS} of everything.\n"
    if words[0] not in documents:
        words = _complete(words)
    document = documents[words[0]]
    if len(words) == 1:
        return f"{words[0]}: {document.meaning}\n\n{_fields(document.table)}"
    table = document.table
    for depth, word in enumerate(words[1:], 1):
        field = table.get(word)
        if field is None:
            raise _no_field(words[:depth], word, table)
        if depth == len(words) - 1:
            return _describe(".".join(words), field)
        table = field.table
    raise AssertionError


def paths_of_fields() -> dict[str, Field]:
    """Every field of every document by its path."""
    found: dict[str, Field] = {}
    for word, document in all_documents().items():
        _walk(word, document.table, found)
    return found


def _walk(prefix: str, table: Table, found: dict[str, Field]) -> None:
    for name, field in table.items():
        found[f"{prefix}.{name}"] = field
        _walk(f"{prefix}.{name}", field.table, found)


def _complete(words: list[str]) -> list[str]:
    """A path without its document, `git.add`, is taken where only one field can be meant."""
    path = ".".join(words)
    known = paths_of_fields()
    ending = [one for one in known if one.endswith("." + path)]
    if not ending:
        guess = did_you_mean(path, [*all_documents(), *known, *(one.partition(".")[2] for one in known)])
        kinds = ", ".join(all_documents())
        raise UsageError(f"no field `{path}`", hint=guess or f"a path begins with one of {kinds}")
    if all(known[one] == known[ending[0]] for one in ending):
        return ending[0].split(".")
    listed = ", ".join(ending[:10])
    raise UsageError(f"`{path}` is a field of several maps", hint=f"name one: {listed}")


def _no_field(above: list[str], word: str, table: Table) -> UsageError:
    where = ".".join(above)
    if not table:
        return UsageError(f"`{where}` has no fields", hint=f"conveyor config explain {where}")
    guess = did_you_mean(word, table)
    return UsageError(f"no field `{word}` in `{where}`", hint=guess or f"fields: {', '.join(table)}")


def _describe(path: str, field: Field) -> str:
    lines = [f"{path}: {_SHOWN.get(field.takes, field.takes)}", "", f"    {field.meaning}", ""]
    if field.choices:
        lines.append("one of:   " + ", ".join(field.choices))
    if field.required:
        lines.append("required")
    elif field.default:
        lines.append(f"default:  {field.default}")
    if field.least is not None:
        lines.append(f"at least: {field.least}")
    if field.instead:
        lines.append(f"deprecated: write {field.instead}")
    text = "\n".join(lines).rstrip("\n") + "\n"
    return text + ("\n" + _fields(field.table) if field.table else "")


def _fields(table: Table) -> str:
    return _table([(name, field.meaning) for name, field in table.items()])


def _table(rows: list[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in rows)
    return "".join(f"  {name:<{width}}  {meaning}\n" for name, meaning in rows)
