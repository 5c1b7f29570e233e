import json

from conveyor.config.lint.formats import format_notes
from conveyor.config.lint.notes import Note, mistake
from conveyor.errors import Place, Problem

NOTE = Note(Place("dir/werf.yaml", 3, 5), "secret", "100% `a`, b: c", "use `secrets`")
WHOLE = mistake(Problem(Place("we,rf:.yaml"), "the file is empty"))


def test_text():
    assert format_notes([NOTE, WHOLE], "text") == (
        "dir/werf.yaml:3:5: warning: 100% `a`, b: c [secret]\n    use `secrets`\n"
        "we,rf:.yaml: error: the file is empty [mistake]\n"
    )


def test_json():
    (first, second) = json.loads(format_notes([NOTE, WHOLE], "json"))
    assert first["line"] == 3 and first["rule"] == "secret" and first["severity"] == "warning"
    assert second["severity"] == "error" and second["line"] == 0
    assert json.loads(format_notes([], "json")) == []


def test_annotations_of_github_escape_what_ends_them():
    lines = format_notes([NOTE, WHOLE], "github").splitlines()
    assert lines == [
        "::warning file=dir/werf.yaml,title=conveyor%3A secret,line=3,col=5::100%25 `a`, b: c. use `secrets`",
        "::error file=we%2Crf%3A.yaml,title=conveyor%3A mistake::the file is empty",
    ]


def test_a_report_of_gitlab_knows_findings_again_when_lines_move():
    moved = Note(Place("dir/werf.yaml", 9, 1), NOTE.rule, NOTE.message)
    before = json.loads(format_notes([NOTE, WHOLE], "gitlab"))
    after = json.loads(format_notes([moved, moved], "gitlab"))
    assert before[0]["fingerprint"] == after[0]["fingerprint"] != after[1]["fingerprint"]
    assert before[0]["location"] == {"path": "dir/werf.yaml", "lines": {"begin": 3}}
    assert [item["severity"] for item in before] == ["minor", "major"]
    assert before[1]["location"]["lines"]["begin"] == 1
    assert json.loads(format_notes([], "gitlab")) == []
