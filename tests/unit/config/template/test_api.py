from __future__ import annotations

import subprocess
import sys

import pytest

from conveyor.config.template.api import FunctionError, TemplateError, problem_of, render, root_of
from conveyor.config.template.values import Value
from conveyor.errors import GiterminismError, Place

FILES = {"werfConfig": "werf.yaml", "a/b.tmpl": ".werf/a/b.tmpl"}


class Tree:
    """The files of a test."""

    def get(self, path: str) -> str:
        if path == "none":
            raise FunctionError("no such file", hint="commit it")
        if path == "refused":
            raise GiterminismError("refused")
        return f"<{path}>"

    def exists(self, path: str) -> bool:
        return path != "none"

    def is_dir(self, path: str) -> bool:
        return path == "dir"

    def glob(self, pattern: str) -> dict[str, str]:
        return {"b": "2", "a": "1"}


def given(source: str, templates: dict[str, str] | None = None, root: Value = None, **more: Value) -> str:
    options: dict[str, Value] = {"read_environment": {"SET": "set", "EMPTY": ""}.get, **more}
    return render(source, templates=templates or {}, root={} if root is None else root, **options)


def failure(source: str, templates: dict[str, str] | None = None, root: Value = None, **more: Value) -> TemplateError:
    with pytest.raises(TemplateError) as caught:
        given(source, templates, root, **more)
    return caught.value


def test_root_has_files_environment_and_commit() -> None:
    root = root_of(
        Tree(), env="stage", commit="c0ffee", commit_time_human="2024-01-02 03:04:05 +0300 +0300", commit_time_s=7
    )
    source = (
        '{{.Env}} {{.Commit.Hash}} {{.Commit.Date.Human}} {{.Commit.Date.Unix | printf "%q"}} {{.Files.Get "x"}}'
        '{{.Files.Exists "none"}} {{.Files.IsDir "dir"}}{{range $path, $text := .Files.Glob "*"}} {{$path}}={{$text}}{{end}}'
    )
    assert given(source, root=root) == 'stage c0ffee 2024-01-02 03:04:05 +0300 +0300 "7" <x>false true a=1 b=2'


def test_what_any_file_defines_is_there_for_all_and_later_ones_replace_it() -> None:
    templates = {
        "b.tmpl": '{{define "x"}}b{{end}}{{define "y"}}y of b{{end}}',
        "a.tmpl": '{{define "x"}}a{{end}}{{define "z"}}z of a, {{template "y"}}{{end}}text of a',
    }
    assert given('{{template "x"}}|{{template "z"}}|{{include "a.tmpl" .}}', templates) == "b|z of a, y of b|text of a"
    assert (
        given('{{define "x"}}mine{{end}}{{define "y"}} {{end}}{{template "x"}} {{template "y"}}', templates) == "mine y of b"
    )


def test_set_changes_the_root_for_everything_after_it() -> None:
    templates = {"a.tmpl": '{{define "a"}}{{$_ := set . "k" "v"}}{{end}}'}
    assert given('{{.k}} {{template "a" .}}{{.k}} {{tpl "{{$_ := set . `k` 2}}" .}}{{$.k}}', templates) == "<no value> v 2"


def test_environment() -> None:
    assert given('{{env "SET"}} {{env "SET" "d"}} {{env "UNSET" "d"}} {{env "EMPTY"}}|{{env "EMPTY" "d"}}') == "set set d |d"
    assert "must be set or default must be provided" in str(failure('{{env "UNSET"}}'))
    assert given('{{env "UNSET"}}|', loose=True) == "|"


def test_errors_of_conveyor_pass_as_they_are() -> None:
    root = root_of(Tree(), env="", commit="", commit_time_human="", commit_time_s=0)
    with pytest.raises(GiterminismError, match="refused"):
        given('{{define "a"}}{{.Files.Get "refused"}}{{end}}{{include "a" .}}', root=root)


def test_a_problem_has_file_line_and_column_and_shows_the_line() -> None:
    root = root_of(Tree(), env="", commit="", commit_time_human="", commit_time_s=0)
    error = failure('\né: {{include "a" .}}', {"a/b.tmpl": '{{define "a"}}\n  é{{.Files.Get "none"}}{{end}}'}, root)
    problem = problem_of(error, FILES)
    assert problem.place == Place(".werf/a/b.tmpl", 2, 12)
    assert problem.message == (
        'template: werfConfig:2:6: executing "werfConfig" at <include "a" .>: error calling include:'
        ' template: a/b.tmpl:2:12: executing "a" at <.Files.Get>: error calling Get: {{ .Files.Get "none" }}: no such file'
    )
    assert problem.hint == 'in `é{{.Files.Get "none"}}{{end}}`; commit it'


def test_a_problem_of_an_expanded_text_is_placed_where_it_was_expanded() -> None:
    problem = problem_of(failure('a\n{{tpl `{{.a.b.c}}\n{{fail "no"}}` (dict)}}'), FILES)
    assert problem.place == Place("werf.yaml", 2, 3)
    assert "error calling fail: no" in problem.message


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("{{uper .}}", "did you mean `upper`?"),
        ("{{$name := 1}}{{$nmae}}", "did you mean `$name`?"),
        ('{{define "labels"}}{{end}}{{template "lables"}}', "did you mean `labels`?"),
        ('{{define "labels"}}{{end}}{{include "lables" .}}', "did you mean `labels`?"),
        ("{{.Files.Gte}}", "did you mean `Get`?"),
    ],
)
def test_the_nearest_name_is_suggested(source: str, hint: str) -> None:
    root = root_of(Tree(), env="", commit="", commit_time_human="", commit_time_s=0)
    assert failure(source, root=root).hint == hint


def test_debug_functions_tell_the_log_and_print_nothing_else() -> None:
    lines: list[str] = []
    calls = '{{include_debug "a" 1}} {{tpl_debug "{{.}}" 2}} {{printf_debug "%d!" 3}}{{dump_debug "x"}}'
    source = '{{define "a"}}A{{.}}{{end}}' + calls
    assert given(source, log=lines.append) == given(source) == "A1 2 "
    told = "\n".join(lines)
    assert all(part in told for part in ("A1", "{{.}}", "3!", '"x"'))


@pytest.mark.parametrize(
    "source",
    [
        "{{.__class__}}",
        "{{.l.append}}",
        '{{.s.format "x"}}',
        "{{(.Files).__init__}}",
        "{{.Files._files}}",
        "{{.Files.get}}",
        "{{$.__dict__}}",
        "{{len.__globals__}}",
        "{{.l.__len__}}",
        "{{index . `__class__`}}",
        "{{(index .l 0).real}}",
        '{{get . "__class__"}}',
    ],
)
def test_nothing_of_python_is_reachable(source: str) -> None:
    root = {**root_of(Tree(), env="", commit="", commit_time_human="", commit_time_s=0), "l": [1], "s": "x"}
    try:
        assert given(source, root=root) in ("<no value>", "")
    except TemplateError as error:
        assert "evaluate field" in str(error) or "wrong number of args" in str(error)


@pytest.mark.parametrize(
    "source",
    [
        '{{define "a"}}{{template "a" .}}{{end}}{{template "a" .}}',
        '{{define "a"}}{{include "a" .}}{{end}}{{include "a" .}}',
        '{{define "a"}}' + "{{if 1}}" * 150 + '{{include "a" .}}' + "{{end}}" * 150 + '{{end}}{{include "a" .}}',
        "{{tpl .self .}}",
        "{{range 1000000000}}x{{end}}",
        "{{range 100000}}{{range 100000}}{{end}}{{end}}",
        '{{$s := "0123456789"}}{{range 100}}{{$s = print $s $s}}{{end}}',
        '{{$s := "<<<<<<<<<<"}}{{range 100}}{{$s = html $s $s}}{{end}}',
        '{{range 1000}}{{printf "%999999d" 1}}{{end}}',
        "{{$l := list 1}}{{range 100}}{{$l = list $l $l}}{{end}}{{$l}}",
        "{{$l := list 1}}{{range 100}}{{$l = list $l $l}}{{end}}{{toJson $l}}",
        "{{$l := list 1}}{{range 100}}{{$l = list $l $l}}{{end}}{{toYaml $l}}",
        "{{$l := list 1}}{{range 100}}{{$l = list $l $l}}{{end}}{{deepCopy $l}}",
        "{{$l := list 1}}{{range 100}}{{$l = list $l $l}}{{end}}{{deepEqual $l (list $l)}}",
        "{{$l := list 1}}{{range 1000}}{{$l = concat $l $l}}{{end}}",
        '{{repeat 1000000000 "x"}}',
        "{{until 1000000000}}",
        '{{$s := repeat 1000000 "é"}}{{range 100000}}{{$n := len $s}}{{end}}',
    ],
)
def test_no_template_runs_for_ever_or_fills_the_memory(source: str) -> None:
    error = failure(source, root={"self": "{{tpl .self .}}"})
    assert len(str(error)) < 10_000
    assert problem_of(error, FILES).place.line == 1


@pytest.mark.parametrize(
    "source", ["{{$_ := set . `self` .}}{{.}}", "{{$_ := set . `self` .}}{{toJson .}}{{.self.self.self.a}}"]
)
def test_a_map_that_holds_itself(source: str) -> None:
    try:
        assert given(source, root={"a": "b"}) == "b"
    except TemplateError as error:
        assert "nested" in str(error)


def test_functions_are_loaded_when_they_are_called() -> None:
    script = (
        "import sys; from conveyor.config.template.api import render;"
        " print(render('{{range 3}}{{.}}{{end}}', templates={}, root={}, read_environment=lambda name: None));"
        " print(*(name for name in sys.modules if 'template.sprig.' in name or name in ('yaml', 're2')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "012\n\n"
