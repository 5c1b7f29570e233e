"""What `config lint` sees, and where. `@@` marks where a note must point; it is cut out before the file is read."""

# ruff: noqa: E501 - a table: one file a line

import posixpath

import pytest

from conveyor.config.lint.notes import Files
from conveyor.config.lint.rules import lint
from conveyor.config.lint.secrets import secret_name, secret_shape
from conveyor.config.reading import parse_project
from conveyor.gitrepo.matching import compile_matcher

HEAD = "configVersion: 1\nproject: demo\n---\n"
IMAGE = HEAD + "image: app\nfrom: alpine:3\n"
GIT = IMAGE + "shell: {install: make, setup: make install}\ngit:\n- add: /src\n  to: /app\n"
PATHS = ("src/main.c", "src/lib/a.c", "docs/x.md", "Makefile")


DOCKERFILES = {
    "plain/D": b"ARG BASE\nFROM $BASE\nARG PORT=80 NAME\nONBUILD ARG LATER\nRUN make\n",
    "mounts/D": b"FROM a\nRUN --mount=type=secret,id=a --mount=type=ssh make\n"
    b"RUN --mount=type=secret,env=T,id=TOKEN --mount=type=secret,target=/root/.netrc make\n",
    "other/D": b"# syntax=example/frontend:1\nFROM a\n",
    "variable/D": b"FROM a\nRUN --mount=$MOUNT make\n",
}
WITH = HEAD + "image: app\ndockerfile: D\ncontext: "


def match(add, include, exclude, within):
    below = posixpath.normpath(add).strip("/")
    matcher = compile_matcher(include, exclude, within)
    inside = (path for path in PATHS if not below or path == below or path.startswith(below + "/"))
    return any(matcher.matches(path[len(below) :].lstrip("/").encode()) for path in inside)


def notes_of(text):
    parse_project(text.encode(), "werf.yaml")
    return lint(text.encode(), "werf.yaml", Files(match, DOCKERFILES.get))


NOTES = [
    # deprecated
    (HEAD + "image: b\nfrom: a\n---\nimage: app\n@@fromImage: b\n", "deprecated", "`fromImage` is deprecated", "`from`"),
    (HEAD + "@@artifact: b\nfrom: a\n", "deprecated", "`artifact` is deprecated", "`final: false`"),
    (HEAD + "image: b\nfrom: a\n---\nimage: app\nfrom: b\nimport:\n- {@@artifact: b, add: /x, after: setup}\n", "deprecated", "`artifact` is deprecated", "`image`"),
    (HEAD + "image: app\ndockerfile: Dockerfile\nargs:\n  PORT: 80\n  @@NPM_TOKEN: abc\n", "secret", "`NPM_TOKEN` of `args`", "`secrets`"),
    (HEAD + "image: app\ndockerfile: Dockerfile\n@@contextAddFile: a\n", "deprecated", "`contextAddFile`", "`contextAddFiles`"),
    (IMAGE + "imageSpec: {config: {env: {@@TOKEN: x}}}\n", "secret", "`TOKEN` of `env`", ""),
    (HEAD + "@@image: ~\nfrom: a\n", "deprecated", "an image without a name", "name"),
    # stageDependencies without commands
    (IMAGE + "git:\n- to: /app\n  stageDependencies:\n    @@install: src\n", "no-effect", "`stageDependencies.install` has no effect", "remove it"),
    (IMAGE + "shell: {beforeInstall: a, setup: a}\ngit:\n- to: /app\n  stageDependencies: {@@beforeSetup: src, setup: src}\n", "no-effect", "no commands for `beforeSetup`", "commands for `setup`"),
    (IMAGE + "shell: {install: [], setup: ''}\ngit:\n- {to: /app, stageDependencies: {@@install: src}}\n", "no-effect", "`install`", "remove"),
    # what is for commands, for files of git, for final images, and nothing
    (IMAGE + "@@network: none\n", "no-effect", "`network` has no effect: the image has no commands", "remove it"),
    (IMAGE + "@@secrets: [{id: a, value: b}]\nshell: {setup: []}\n", "no-effect", "`secrets` has no effect", "commands alone"),
    (IMAGE + "@@disableGitAfterPatch: true\n", "no-effect", "the image has no `git`", "remove it"),
    (IMAGE + "final: false\n@@imageSpec: {author: me}\n", "no-effect", "the image is not final", "built on this one"),
    (HEAD + "image: app\ndockerfile: D\nfinal: no\n@@imageSpec: {author: me}\n", "no-effect", "the image is not final", ""),
    (HEAD + "image: b\nfrom: a\n---\nimage: app\nfrom: a\ndependencies: [@@{image: b, before: setup}]\n", "no-effect", "a dependency without `imports`", "say what"),
    # what a Dockerfile does not take
    (WITH + "plain\nargs: {PORT: 1, LATER: 2, http_proxy: a, BUILDKIT_INLINE_CACHE: 1, @@PROT: 3}\n", "no-effect", "the argument `PROT` has no effect: the Dockerfile has no `ARG PROT`", "`PORT`"),
    (WITH + "plain\ndependencies: [{image: b, imports: [{type: ImageName, targetBuildArg: BASE}, {type: ImageID, @@targetBuildArg: XXXXXXXX}]}]\n---\nimage: b\nfrom: a\n", "no-effect", "`XXXXXXXX` has no effect", "declare it"),
    (WITH + "plain\nsecrets: [@@{id: a, value: b}]\n", "no-effect", "the secret `a` has no effect", "mount it"),
    (WITH + "mounts\nsecrets: [@@{env: TOKENS}, {src: ~/.netrc}]\n", "no-effect", "`--mount=type=secret,id=TOKENS`", "`TOKEN`"),
    (WITH + "plain\n@@ssh: default\n", "no-effect", "`--mount=type=ssh`", ""),
    # YAML joins what is indented further
    (IMAGE + "shell:\n  install:\n  - @@make\n   - make install\n", "indentation", "goes on with this text", "alike"),
    # globs and paths
    (IMAGE + "git:\n- @@add: /sources\n  to: /app\n", "matches-nothing", "`git.add: /sources`: nothing is there", ""),
    (GIT + "  includePaths: [main.c, @@'*.cpp']\n", "matches-nothing", "`includePaths`: `*.cpp` matches nothing below `/src`", "relative to `add`"),
    (GIT + "  excludePaths: @@src/lib\n", "matches-nothing", "`excludePaths`: `src/lib` matches nothing", "relative to `add`"),
    (GIT + "  stageDependencies: {install: [lib/*.c, @@package.json]}\n", "matches-nothing", "`stageDependencies.install`: `package.json` matches nothing", ""),
    (GIT + "  includePaths: lib\n  stageDependencies:\n    setup: @@main.c\n", "matches-nothing", "only what includePaths and excludePaths leave out", ""),
    # variables of the CI system
    (IMAGE + "shell:\n  setup:\n  - make\n  - @@echo $CI_COMMIT_SHA > /version\n", "unset-variable", "`$CI_COMMIT_SHA` is not set in build containers", "template"),
    (IMAGE + "shell: {install: @@'echo ${GITHUB_REF_NAME:-none}'}\n", "unset-variable", "`$GITHUB_REF_NAME`", ""),
    # secrets
    (IMAGE + "docker:\n  ENV:\n    @@DB_PASSWORD: hunter2\n", "secret", "`DB_PASSWORD` of `ENV` looks like a secret", "`secrets`"),
    (IMAGE + "docker: {LABEL: {@@api-token: abc}}\n", "secret", "`api-token` of `LABEL`", ""),
    (IMAGE + "shell: {install: @@git clone https://bot:s3cr3t@git.example.org/a}\n", "secret", "a URL with a password", ""),
    (IMAGE + "shell: {install: [make, @@'export T=ghp_0123456789abcdefghijABCDEFGHIJ0123456789']}\n", "secret", "a token of GitHub", ""),
]  # fmt: skip


@pytest.mark.parametrize(("marked", "rule", "message", "hint"), NOTES, ids=[f"{rule}: {m[:40]}" for _, rule, m, _ in NOTES])
def test_a_note_has_its_place_its_rule_and_a_way_out(marked, rule, message, hint):
    before, marker, after = marked.partition("@@")
    assert marker
    # `docker` is deprecated, too.
    (note,) = [note for note in notes_of(before + after) if "`docker`" not in note.message]
    assert (note.rule, note.severity) == (rule, "warning")
    assert message in note.message and hint in note.hint
    assert (note.place.line, note.place.column) == (before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
    assert "hunter2" not in note.message + note.hint and "s3cr3t" not in note.message + note.hint


@pytest.mark.parametrize(
    "text",
    [
        GIT + "  includePaths: [main.c, 'lib/**']\n  stageDependencies: {install: lib, setup: .}\n",
        IMAGE + "git:\n- {add: /Makefile, to: /Makefile}\n",
        IMAGE + "shell: {setup: 'CI_X=1; echo $CI_X', install: echo $HOME $CIRCLE}\n",
        IMAGE + "docker: {ENV: {CI_X: a}}\nshell: {setup: echo $CI_X}\n",
        IMAGE
        + "docker: {ENV: {DB_PASSWORD: $DB, TOKEN_FILE: x, SECRET: /run/secrets/a, API_KEY: '', AUTH_URL: http://a/b}}\n",
        IMAGE + "shell:\n  install:\n  - make - j\n  - 'a\n\n    - b'\n  - |\n    x\n    - y\n",
        IMAGE + "git: [{to: /app, stageDependencies: {install: ~}}]\n",
        IMAGE + "final: true\nimageSpec: {author: me}\nnetwork: ~\ndisableGitAfterPatch: false\n",
        IMAGE + "network: none\nsecrets: [{id: a, value: b}]\nansible: {setup: [{command: a}]}\n",
        HEAD + "image: app\ndockerfile: Dockerfile\nnetwork: none\nsecrets: [{id: a, value: b}]\n",
        WITH + "mounts\nnetwork: none\nssh: default\nsecrets: [{id: a, value: b}]\n",
        WITH + "variable\nssh: default\nsecrets: [{id: a, value: b}]\n",
        WITH + "other\nssh: default\nargs: {A: b}\n",
    ],
)
def test_what_is_meant_is_not_noted(text):
    assert [note for note in notes_of(text) if "`docker`" not in note.message] == []


def test_notes_of_a_shared_anchor_and_of_several_names_come_once_and_in_order():
    found = notes_of(
        HEAD + "image: [a, b]\nfrom: x\ngit:\n- &m {to: /a, stageDependencies: {setup: src}}\n- {<<: *m, to: /b}\n"
        "---\nartifact: c\nfrom: x\n"
    )
    assert [(note.place.line, note.rule) for note in found] == [(7, "no-effect"), (10, "deprecated")]


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("POSTGRES_PASSWORD", "x", True),
        ("apiKey", "x", True),
        ("NPM_TOKEN", "x", True),
        ("PASSWORD_MIN_LENGTH", "8", False),
        ("TOKEN", "${TOKEN}", False),
        ("USE_SECRET", "true", False),
        ("TOKEN", "<no value>", False),
    ],
)
def test_names_of_secrets(name, value, found):
    assert secret_name(name, value) is found


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE", "a private key"),
        ("AKIAIOSFODNN7EXAMPLE", "an access key of AWS"),
        ("glpat-0123456789abcdefghij", "a token of GitLab"),
        ("postgres://user:pass@db/x", "a URL with a password"),
        ("postgres://user:$PASS@db/x", ""),
        ("https://example.org/a@b:c", ""),
        ("x" * 10_000_000, ""),
        ("eyJ12345678-" * 8000, ""),
        ("a." * 50_000, ""),
        ("a://" * 25_000, ""),
    ],
)
def test_shapes_of_secrets(text, kind):
    assert secret_shape(text) == kind
