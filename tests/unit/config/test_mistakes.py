"""One mistake a file. `@@` marks where the error must point; it is cut out before the file is read."""

# ruff: noqa: E501 - a table: one file a line

import pytest

from conveyor.config.reading import parse_project
from conveyor.errors import ConfigError

PROJECT = "configVersion: 1\nproject: demo\n"
HEAD = PROJECT + "---\n"
IMAGE = HEAD + "image: app\nfrom: alpine:3\n"
OTHER = HEAD + "image: other\nfrom: alpine:3\nshell:\n  install: make\n---\nimage: app\nfrom: alpine:3\n"
GIT = IMAGE + "git:\n- to: /app\n"
REMOTE = GIT + "  url: https://example.org/a.git\n"
IMPORT = OTHER + "import:\n- image: other\n  add: /out\n  after: install\n"
DEPENDENCY = OTHER + "dependencies:\n- image: other\n  after: install\n"
DOCKERFILE = HEAD + "image: other\nfrom: alpine:3\n---\nimage: app\ndockerfile: Dockerfile\n"

MISTAKES = [
    # the file
    (PROJECT + "---\nimage: 'a@@\x01'\n", "U+0001", ""),
    (IMAGE + "shell:\n  install: [@@a", "not valid YAML", ""),
    (IMAGE + "shell:\n  install: echo@@: b: c\n", "mapping values are not allowed", "quote"),
    (IMAGE + "shell:\n@@\tinstall: b\n", "cannot start any token", "spaces"),
    (IMAGE + "network: @@*net\n", "no anchor `net`", "does not reach over `---`"),
    (IMAGE + 'network: @@"a\\0b"\n', "NUL", ""),
    (IMAGE + "network: @@!!binary aGk=\n", "the tag `!!binary`", "remove"),
    (IMAGE + "shell: @@!custom {}\n", "the tag `!custom`", "remove"),
    (IMAGE + "@@--- {image: b}\n", "a second document", "line of its own"),
    (HEAD + "@@- image: a\n", "must be a map, not a list", ""),
    (HEAD + "@@just text\n", "must be a map, not the text `just text`", ""),
    (HEAD + "@@imge: a\nfrom: b\n", "cannot recognize type of config section", "`image`"),
    ("@@project: demo\n", "cannot recognize type of config section", "configVersion: 1"),
    (IMAGE + "---\n@@configVersion: 1\nproject: demo\n", "duplicate meta config section definition", "line 1"),
    # the project document
    ("configVersion: @@2\nproject: demo\n", "`configVersion` must be 1, not the number `2`", ""),
    ("configVersion: @@1.5\nproject: demo\n", "must be 1", ""),
    ("configVersion: @@'1'\nproject: demo\n", "must be 1, not the text `1`", "without quotes"),
    ("configVersion: @@[1]\nproject: demo\n", "must be 1, not a list", ""),
    ("@@configVersion: ~\nproject: demo\n", "`configVersion` is required", ""),
    ("@@configVersion: 1\n", "`project` is required", "project: NAME"),
    ("configVersion: 1\nproject: @@My_Shop\n", "must consist of", "my-shop"),
    ("configVersion: 1\nproject: @@-a\n", "must consist of", "`a`"),
    ("configVersion: 1\nproject: @@'a\n\n  '\n", "must consist of", "`a`"),
    (f"configVersion: 1\nproject: @@{'a' * 51}\n", "longer than 50", ""),
    (PROJECT + "@@projet: x\n", "unknown fields: `projet`", "`project`"),
    (PROJECT + "@@includes: []\n", "`includes` in the project document is not supported yet", ""),
    (PROJECT + "build:\n  imageSpec: {config: {@@cmd: [x]}}\n", "`cmd` is for the `imageSpec` of an image", "remove it"),
    (PROJECT + "build:\n  imageSpec: {@@labels: {}}\n", "unknown fields: `labels` in `build.imageSpec`", ""),
    (PROJECT + "build:\n  imageSpec: {author: @@''}\n", "`author` is empty", ""),
    (PROJECT + "build:\n  platform: [linux/amd64, @@arm64]\n", "`arm64` is not a platform", "linux/arm64/v8"),
    (PROJECT + "build: @@fast\n", "`build` must be a map, not the text `fast`", ""),
    (PROJECT + "build:\n  cacheVersion: @@[a]\n", "`cacheVersion` must be text, not a list", ""),
    (PROJECT + "build:\n  @@cacheversion: a\n", "unknown fields: `cacheversion`", "`cacheVersion`"),
    (PROJECT + "gitWorktree:\n  allowUnshallow: @@maybe\n", "must be true or false, not the text `maybe`", ""),
    (PROJECT + "gitWorktree:\n  allowUnshallow: @@'true'\n", "must be true or false", "remove the quotes"),
    (PROJECT + "cleanup:\n  keepImagesBuiltWithinLastNHours: @@-1\n", "at least 0", ""),
    (PROJECT + "cleanup:\n  keepPolicies:\n  - references: @@{}\n", "`tag` or `branch`", ""),
    (PROJECT + "cleanup:\n  keepPolicies:\n  - references: {tag: @@/v(/}\n", "`tag: /v(/` is no regular expression", ""),
    (PROJECT + "cleanup:\n  keepPolicies:\n  - references: {tag: a, limit: {in: @@1w}}\n", "not a duration", ""),
    (PROJECT + "cleanup:\n  keepPolicies:\n  - imagesPerReference: {operator: @@and}\n    references: {tag: a}\n", "must be one of `And`, `Or`", "`And`"),
    (PROJECT + "deploy:\n  @@helmChartDri: a\n", "unknown fields: `helmChartDri`", "`helmChartDir`"),
    (PROJECT + "deploy:\n  @@helmChartDir: ''\n", "`helmChartDir` is empty", ""),
    # names of images
    (HEAD + "image: @@on\nfrom: a\n", "invalid image name: text expected, got the boolean `on`", "quote"),
    (HEAD + "image: @@1\nfrom: a\n", "invalid image name", "quote"),
    (HEAD + "image: @@{a: b}\nfrom: a\n", "invalid image name: text expected, got a map", ""),
    (HEAD + "image: [a, @@2.0]\nfrom: b\n", "invalid image name", ""),
    (HEAD + "image: [a, @@~]\nfrom: b\n", "got nothing", ""),
    (HEAD + "image: @@[]\nfrom: a\n", "the list is empty", ""),
    (HEAD + "image: @@''\nfrom: a\n", "it is empty", "image: ~"),
    (HEAD + "image: @@scratch\nfrom: a\n", "`scratch` means no base", ""),
    (HEAD + 'image: @@"a\\nb"\nfrom: a\n', "cannot be shown", ""),
    (HEAD + "artifact: @@~\nfrom: a\n", "invalid artifact name", ""),
    (HEAD + "artifact: @@[a]\nfrom: a\n", "invalid artifact name", ""),
    (HEAD + "image: [a, @@a]\nfrom: b\n", 'conflict between image names! "a" is used twice', "line 4"),
    (IMAGE + "---\n@@artifact: app\nfrom: b\n", 'conflict between image names! "app" is used twice', "line 4"),
    (IMAGE + "---\n@@image: ~\nfrom: b\n", 'without a name cannot stand beside the final image "app"', "name"),
    (HEAD + "image: ~\nfrom: b\n---\n@@image: ~\nfrom: c\n", 'conflict between image names! "~"', "line 4"),
    (IMAGE + "@@artifact: x\n", "an image or an artifact, not both", ""),
    # an image
    (HEAD + "@@image: a\n", "an image needs one of `from` or `fromImage` or `fromArtifact`", ""),
    (HEAD + "@@image: a\nfrom: ~\n", "an image needs one of `from`", ""),
    (OTHER + "@@fromImage: other\n", "exactly one of `from` or `fromImage`", ""),
    (IMAGE + "@@comand: x\n", "unknown fields: `comand`", ""),
    (IMAGE + "@@Final: x\n", "unknown fields: `Final`", "`final`"),
    (IMAGE + "@@from: b\n", "duplicate key `from`", "line 5"),
    (IMAGE + "@@[a, b]: c\n", "a key must be text, not a list", ""),
    (IMAGE + "final: @@1\n", "`final` must be true or false, not the number `1`", ""),
    (IMAGE + "network: @@{a: b}\n", "`network` must be text, not a map", ""),
    (IMAGE + "shell: {install: a}\n@@ansible: {install: []}\n", "takes `shell` or `ansible`, not both", ""),
    (IMAGE + "ansible: {@@instal: []}\n", "unknown fields: `instal` in `ansible`", "`install`"),
    (IMAGE + "ansible: {install: @@{command: a}}\n", "takes a list of tasks, not a map", "put `- `"),
    (IMAGE + "ansible: {install: [@@make]}\n", "a task in `install` of `ansible` is a map", "names its module"),
    (IMAGE + "ansible: {install: [{@@comand: a}]}\n", "`comand` in a task of `ansible` is neither a module nor a keyword", "`command`"),
    (IMAGE + "ansible: {install: [@@{name: a}]}\n", "a task needs a module, or a `block`", "modules: command"),
    (IMAGE + "ansible: {install: [{command: a, @@shell: b}]}\n", "exactly one module, or a `block`", "two tasks"),
    (IMAGE + "ansible: {install: [{block: [{@@community.docker.x: {}}]}]}\n", "of a collection that images are not built with", "ansible.posix"),
    (IMAGE + "ansible: {install: [{@@ansible.builtin.debg: {}}]}\n", "neither a module nor a keyword", ""),
    (IMAGE + "ansible: {install: [{npm: {name: x}, @@acl: {}}]}\n", "exactly one module, or a `block`", "two tasks"),
    (IMAGE + "docker: {USER: x}\n@@imageSpec: {author: x}\n", "takes `docker` or `imageSpec`, not both", "imageSpec.config"),
    (IMAGE + "imageSpec: {@@auther: x}\n", "unknown fields: `auther` in `imageSpec`", "`author`"),
    (IMAGE + "imageSpec: {clearHistory: @@often}\n", "must be true or false", ""),
    (IMAGE + "imageSpec: {config: {@@healtcheck: {}}}\n", "unknown fields: `healtcheck` in `imageSpec.config`", "`healthcheck`"),
    (IMAGE + "imageSpec: {config: {cmd: @@run me}}\n", "`cmd` in `imageSpec.config` must be a list of texts", "/bin/sh"),
    (IMAGE + "imageSpec: {config: {entrypoint: @@/run}}\n", "`entrypoint` in `imageSpec.config` must be a list", ""),
    (IMAGE + "imageSpec: {config: {@@env: {A=B: c}}}\n", "cannot name a variable", ""),
    (IMAGE + "imageSpec: {config: {@@labels: {'': c}}}\n", "a label needs a name", ""),
    (IMAGE + "imageSpec: {config: {expose: [80, @@http]}}\n", "`expose: http` is not a port", ""),
    (IMAGE + "imageSpec: {config: {removeEnv: [@@/(/]}}\n", "`/(/` is no regular expression", "between two `/`"),
    (IMAGE + "imageSpec: {config: {removeLabels: [@@'']}}\n", "`removeLabels` holds an empty text", ""),
    (IMAGE + "imageSpec: {config: {user: @@''}}\n", "`user` is empty", ""),
    (IMAGE + "imageSpec: {config: {healthcheck: {@@test: [curl]}}}\n", "begins with `CMD`", "[NONE]"),
    (IMAGE + "imageSpec: {config: {healthcheck: {interval: @@soon}}}\n", "is not a duration", "30s"),
    (HEAD + "artifact: app\nfrom: alpine:3\n@@imageSpec: {author: x}\n", "`imageSpec` is not allowed in an artifact", ""),
    (IMAGE + "secrets: @@{env: X}\n", "`secrets` must be a list of maps", "put `- `"),
    (IMAGE + "secrets: [{env: X, @@src: Y}]\n", "takes exactly one of `env` or `src` or `value`", "remove"),
    (IMAGE + "secrets: [@@{id: X}]\n", "a secret needs one of", ""),
    (IMAGE + "secrets: [{env: @@''}]\n", "`env` in `secrets` is empty", ""),
    (IMAGE + "secrets: [@@{value: x}]\n", "`id` is required in `secrets` with `value`", "/run/secrets"),
    (IMAGE + "secrets: [@@{src: a/}]\n", "`id` is required in `secrets` with `src`", ""),
    (IMAGE + "secrets: [{env: X, id: @@a/b}]\n", "the id `a/b` of a secret cannot name a file", "without `/`"),
    (IMAGE + "secrets: [{env: X, id: @@..}]\n", "cannot name a file", ""),
    (IMAGE + "secrets: [{env: X}, @@{src: b/X}]\n", "conflict between secrets! the id `X`", "line 6"),
    (IMAGE + "secrets: [{env: X, @@ids: a}]\n", "unknown fields: `ids` in `secrets`", "`id`"),
    # images with a Dockerfile
    (HEAD + "image: app\n@@from: alpine:3\ndockerfile: Dockerfile\n", "unknown fields: `from` in an image with a Dockerfile", ""),
    (HEAD + "image: app\n@@dockerfile: ''\n", "`dockerfile` is empty", "relative to `context`"),
    (DOCKERFILE + "context: @@/app\n", "`context: /app` must be a relative path", "`app`"),
    (DOCKERFILE + "context: @@../app\n", "must not lead out of the project directory", ""),
    (HEAD + "image: app\ndockerfile: @@a/../../Dockerfile\n", "must not lead out of `context`", ""),
    (DOCKERFILE + "contextAddFiles: [a, @@../b]\n", "must not lead out of `context`", ""),
    (DOCKERFILE + "contextAddFiles: [a]\n@@contextAddFile: b\n", "are one field", "contextAddFiles"),
    (DOCKERFILE + "args: {A: @@[1]}\n", "`A` of `args` must be text, not a list", "quotes"),
    (DOCKERFILE + "args: {@@A B: 1}\n", "cannot name a build argument", ""),
    (DOCKERFILE + "addHost: @@nowhere\n", "is not a host and its address", "host:192.0.2.1"),
    (DOCKERFILE + "network: @@mine\n", "must be one of `default`, `host`, `none`", ""),
    (DOCKERFILE + "dependencies: [{image: other, @@after: install, imports: []}]\n", "`after` in `dependencies` is for images without a Dockerfile", ""),
    (DOCKERFILE + "dependencies: [{image: other, imports: [{type: ImageName, @@targetEnv: A}]}]\n", "`targetEnv` is for images without a Dockerfile", "targetBuildArg"),
    (DOCKERFILE + "dependencies: [{image: other, imports: [@@{type: ImageName}]}]\n", "`targetBuildArg` is required", ""),
    (DOCKERFILE + "args: {@@A: 1}\ndependencies: [{image: other, imports: [{type: ImageName, targetBuildArg: A}]}]\n", "is set by `args` and by `targetBuildArg`", ""),
    (IMAGE + "platform: @@amd64\n", "`amd64` is not a platform", "linux/amd64"),
    (HEAD + "artifact: a\nfrom: b\n@@final: true\n", "`final` is not allowed in an artifact", ""),
    (HEAD + "artifact: a\nfrom: b\n@@docker: {USER: x}\n", "`docker` is not allowed in an artifact", ""),
    (HEAD + "artifact: a\nfrom: b\n@@dependencies: []\n", "`dependencies` is not allowed in an artifact", ""),
    (HEAD + "artifact: a\nfrom: b\n@@disableGitAfterPatch: false\n", "`disableGitAfterPatch` is not allowed", ""),
    # bases
    (HEAD + "image: [a, b]\nfrom: @@a\n", 'image "a" cannot be built on itself', "a:latest"),
    (HEAD + "image: A\nfrom: @@A\n", "neither an image of the project nor a reference", "write `a`"),
    (HEAD + "image: a\nfromImage: @@a\n", 'image "a" cannot be built on itself', ""),
    (HEAD + "image: base\nfrom: a\n---\nimage: b\nfromImage: @@bse\n", 'image "bse" not found!', "`base`"),
    (HEAD + "image: b\nfromArtifact: @@nope\n", 'image "nope" not found!', "images of the project: b"),
    (HEAD + "image: backend\nfrom: a\n---\nimage: b\nfrom: @@Backend\n", "must be lower case", "`backend`"),
    (HEAD + "image: a\nfrom: @@Debian:12\n", "the repository `Debian` must be lower case", "debian"),
    (HEAD + "image: a\nfrom: @@b:x@@y\n".replace("@@y", "@y"), "`y` is not a digest", "sha256:"),
    (HEAD + "image: a\nfrom: @@a b\n", "white space", ""),
    (HEAD + "image: a\nfrom: @@https://reg.example/x\n", "it is a URL", "`reg.example/x`"),
    (HEAD + "image: a\nfrom: @@'b:'\n", "is not a tag", ""),
    (HEAD + "image: a\nfrom: @@reg.example:port/x\n", "address of a registry", ""),
    (HEAD + "image: a\nfrom: @@b//c\n", "cannot stand in the name of a repository", ""),
    (HEAD + "image: a\nfrom: @@''\n", "it is empty", ""),
    (HEAD + "image: a\nfrom: @@[b]\n", "`from` must be text, not a list", ""),
    (HEAD + "image: b\nfrom: x\n---\nimage: a\nfrom: b\n@@fromLatest: true\n", "from outside of the project", ""),
    (HEAD + "image: a\nfrom: scratch\n@@fromLatest: true\n", "from outside of the project", ""),
    # git
    (IMAGE + "git: @@{to: /app}\n", "`git` must be a list of maps, not a map", "- "),
    (IMAGE + "git:\n- @@/app\n", "every item of `git` must be a map, not the text `/app`", ""),
    (IMAGE + "git:\n- @@add: /\n", "`to` is required in `git`", ""),
    (IMAGE + "git:\n- to: @@app\n", "`to: app` must be an absolute path", "`/app`"),
    (IMAGE + "git:\n- to: @@''\n", "must be an absolute path", ""),
    (IMAGE + "git:\n- to: @@/.conveyor/x\n", "belongs to the build container", ""),
    (GIT + "  add: @@src\n", "`add: src` must be an absolute path", "`/src`"),
    (GIT + "  @@ad: src\n", "unknown fields: `ad`", "`add`"),
    (GIT + "  owner: @@a:b\n", "must be a name or a number", "two fields"),
    (GIT + "  owner: @@-1\n", "must be a name or a number", ""),
    (GIT + "  group: @@4294967295\n", "is not an id", ""),
    (GIT + "  includePaths: @@/src\n", "`/src` must be relative", "`src`"),
    (GIT + "  includePaths: [a, @@../b]\n", "must not lead out of `add`", ""),
    (GIT + "  excludePaths: @@a/../..\n", "must not lead out of `add`", ""),
    (GIT + "  excludePaths: ['@@']\n".replace("'@@'", "@@''"), "the path is empty", ""),
    (GIT + "  @@excludePaths: .\n", "excludes everything", ""),
    (GIT + "  excludePaths: @@'a[b'\n", "a `[` is not closed", ""),
    (GIT + "  excludePaths: @@'a{b,c'\n", "a `{` is not closed", ""),
    (GIT + "  excludePaths: @@'a}'\n", "a `}` without a `{`", ""),
    (GIT + "  excludePaths: @@'a[z-a]'\n", "the range `z-a`", ""),
    (GIT + "  excludePaths: @@'a\\'\n", "escapes nothing", ""),
    (GIT + "  excludePaths: @@{a: b}\n", "single string or array of strings expected, got a map", "quotes"),
    (GIT + "  excludePaths: [a, @@[b]]\n", "got a list in the list", ""),
    (GIT + "  stageDependencies:\n    @@beforeInstall: a\n", "the sources are not there yet", "`install`"),
    (GIT + "  stageDependencies:\n    @@instal: a\n", "unknown fields: `instal`", "`install`"),
    (GIT + "  stageDependencies:\n    setup: @@/a\n", "must be relative", ""),
    (GIT + "  onChanged: @@ignore\n", "must be one of `fail`, `overwrite`", ""),
    (GIT + "  url: @@https://\n", "the host is missing", "as `git clone` takes it"),
    (GIT + "  url: @@ext::sh -c true\n", "helpers (`name::address`) are not used", ""),
    (GIT + "  url: @@s3://bucket/a\n", "`s3://` is not an address that is fetched from", ""),
    (GIT + "  url: @@https://t0ken@\n", "`url: https://`: the host is missing", ""),
    (REMOTE + "  tag: v1\n  @@branch: main\n", "at most one of `branch`, `tag` and `commit`", "remove the others"),
    (REMOTE + "  commit: @@deadbeef\n", "is not the id of a commit", "`git rev-parse`"),
    (REMOTE + "  tag: @@a..b\n", "`tag: a..b` is not a name that git allows", ""),
    (REMOTE + "  basicAuth: @@{username: a}\n", "`basicAuth` needs `password`", "`password: {env: NAME}`"),
    (REMOTE + "  basicAuth: {password: {env: A, @@value: b}}\n", "`password` takes exactly one of", "remove the others"),
    (GIT + "  url: git@example.org:a/b\n  @@basicAuth: {password: {env: A}}\n", "is for https and http addresses", "agent"),
    (GIT + "  @@branch: main\n", "`branch` in `git` is for remote mappings", ""),
    (GIT + "- @@add: /x\n  to: /app/\n", "Conflict between imports!", "another `to`"),
    # shell
    (IMAGE + "shell: @@make\n", "`shell` must be a map, not the text `make`", ""),
    (IMAGE + "shell:\n  @@beforInstall: make\n", "unknown fields: `beforInstall`", "`beforeInstall`"),
    (IMAGE + "shell:\n  install:\n  - a\n  - @@echo: b\n", "single string or array of strings expected, got a map", "quotes"),
    (IMAGE + "shell:\n  install:\n  - a\n  -@@\n  - b\n", "got nothing in the list", ""),
    (IMAGE + "shell:\n  installCacheVersion: @@[1]\n", "`installCacheVersion` must be text, not a list", ""),
    # docker
    (IMAGE + "docker:\n  @@ENTRYPONT: a\n", "unknown fields: `ENTRYPONT`", "`ENTRYPOINT`"),
    (IMAGE + "docker:\n  ENV: @@[A=b]\n", "`ENV` must be a map, not a list", ""),
    (IMAGE + "docker:\n  ENV: {A: @@[b]}\n", "`A` of `ENV` must be text, not a list", ""),
    (IMAGE + "docker:\n  @@ENV: {A=b: c}\n", "cannot name a variable", ""),
    (IMAGE + "docker:\n  ENV:\n    A: 1\n    @@A: 2\n", "duplicate key `A`", ""),
    (IMAGE + "docker:\n  EXPOSE: [80, @@http]\n", "`EXPOSE: http` is not a port", "8080"),
    (IMAGE + "docker:\n  EXPOSE: @@65536\n", "is not a port", ""),
    (IMAGE + "docker:\n  USER: @@[a]\n", "`USER` must be text, not a list", ""),
    (IMAGE + "docker:\n  WORKDIR: @@''\n", "`WORKDIR` is empty", ""),
    (IMAGE + "docker:\n  CMD: @@{a: b}\n", "single string or array of strings expected", ""),
    (IMAGE + "docker:\n  exactValues: @@2\n", "must be true or false", ""),
    # imports
    (OTHER + "import:\n- image: @@othr\n  add: /out\n  after: install\n", 'image "othr" not found!', "`other`"),
    (OTHER + "import:\n- image: @@busybox\n  add: /out\n  after: install\n", 'image "busybox" not found!', ""),
    (OTHER + "import:\n- image: @@a/B:1\n  add: /out\n  after: install\n", "neither an image of the project nor a reference", "a/b"),
    (OTHER + "import:\n- image: busybox:1\n  @@stage: install\n  add: /out\n  after: install\n", "needs an image of the project", "remove it"),
    (OTHER + "dependencies:\n- image: @@busybox:1\n  after: install\n  imports: [{type: ImageName, targetEnv: A}]\n", 'image "busybox:1" not found!', ""),
    (IMPORT + "  @@artifact: other\n", "exactly one of `image` or `from` or `artifact`", ""),
    (OTHER + "import:\n- @@add: /out\n  after: install\n", "an import needs one of `image`", ""),
    (IMPORT + "  @@before: setup\n", "exactly one of `before` or `after`, not `before` and `after`", ""),
    (OTHER + "import:\n- @@image: other\n  add: /out\n", "an import needs one of `before` or `after`", ""),
    (OTHER + "import:\n- image: other\n  add: /out\n  before: @@beforeSetup\n", "one of `install`, `setup`", ""),
    (OTHER + "import:\n- @@image: other\n  after: setup\n", "`add` is required in `import`", ""),
    (OTHER + "import:\n- image: other\n  add: @@out\n  after: setup\n", "must be an absolute path", "`/out`"),
    (OTHER + "import:\n- image: other\n  @@add: /\n  to: /x\n  after: setup\n", "`add: /` in `import` needs `includePaths`", ""),
    (IMPORT + "  to: @@out\n", "must be an absolute path", ""),
    (IMPORT + "  stage: @@instal\n", "`stage` must be one of", "`install`"),
    (IMPORT + "  @@includePath: a\n", "unknown fields: `includePath`", "`includePaths`"),
    (IMPORT + "- @@image: other\n  add: /b\n  to: /out\n  before: setup\n", "Conflict between imports!", ""),
    # dependencies
    (OTHER + "dependencies:\n- image: @@othr\n  after: install\n", 'image "othr" not found!', "`other`"),
    (OTHER + "dependencies:\n- @@image: other\n", "a dependency needs one of `before` or `after`", ""),
    (DEPENDENCY + "  imports:\n  - {type: @@ImageTags, targetEnv: A}\n", "`type` must be one of", "`ImageTag`"),
    (DEPENDENCY + "  imports:\n  - @@type: ImageTag\n", "`targetEnv` is required", ""),
    (DEPENDENCY + "  imports:\n  - @@targetEnv: A\n", "`type` is required", ""),
    (DEPENDENCY + "  imports:\n  - {type: ImageTag, @@targetBuildArg: A}\n", "`targetBuildArg` is for images with a Dockerfile", "`targetEnv`"),
    (DEPENDENCY + "  imports:\n  - {type: ImageTag, targetEnv: @@A-B}\n", "cannot name a variable", ""),
    (DEPENDENCY + "  imports:\n  - {type: ImageTag, targetEnv: A}\n  - @@{type: ImageName, targetEnv: A}\n", "set twice", ""),
    # mounts
    (IMAGE + "mount:\n- @@from: tmp_dir\n", "`to` is required in `mount`", ""),
    (IMAGE + "mount:\n- @@to: /a\n", "a mount needs one of `from` or `fromPath`", ""),
    (IMAGE + "mount:\n- to: /a\n  from: tmp_dir\n  @@fromPath: /b\n", "exactly one of `from` or `fromPath`", ""),
    (IMAGE + "mount:\n- to: /a\n  from: @@tmpdir\n", "`from` must be one of `tmp_dir`, `build_dir`", "`tmp_dir`"),
    (IMAGE + "mount:\n- to: @@a\n  from: tmp_dir\n", "must be an absolute path", ""),
    (IMAGE + "mount:\n- @@to: /\n  from: tmp_dir\n", "hide the whole image", ""),
    (IMAGE + "mount:\n- to: /a\n  @@fromPath: ' '\n", "is empty", ""),
    (IMAGE + "mount:\n- {to: /a, from: tmp_dir}\n- @@{to: /a/, from: build_dir}\n", "conflict between mounts!", "line 7"),
    # between images
    (HEAD + "@@image: a\nfrom: b\n---\nimage: b\nfrom: a\n", "infinite loop detected: a -> b -> a", ""),
    (OTHER + "platform: linux/arm64\nimport:\n- {image: other, add: /o, after: setup}\n---\n@@image: x\nplatform: linux/amd64\nfrom: app\n", "platform cross-references", ""),
    # merge keys
    (IMAGE + "docker: {<<: @@a}\n", "`<<` merges maps, not the text `a`", ""),
    (IMAGE + "docker:\n  ENV: &e {A: b}\n  LABEL:\n    <<: *e\n    @@<<: *e\n", "duplicate key `<<`", "list"),
]  # fmt: skip


@pytest.mark.parametrize(("marked", "message", "hint"), MISTAKES, ids=[message[:40] for _, message, _ in MISTAKES])
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_a_mistake_is_told_with_its_place_and_a_way_out(marked, message, hint, newline):
    before, marker, after = marked.partition("@@")
    assert marker
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    with pytest.raises(ConfigError) as caught:
        parse_project((before + after).replace("\n", newline).encode(), "dir/werf.yaml")
    (problem,) = caught.value.problems
    assert message in problem.message
    assert (problem.place.file, problem.place.line, problem.place.column) == ("dir/werf.yaml", line, column)
    assert hint in problem.hint
    assert str(problem.place) in str(caught.value)


def problems(text: str | bytes) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_project(text if isinstance(text, bytes) else text.encode(), "werf.yaml")
    return [f"{problem.place}: {problem.message}" for problem in caught.value.problems]


def test_all_mistakes_of_all_documents_come_at_once_in_order():
    found = problems(
        "configVersion: 1\nproject: Demo\n---\n"
        "image: a\nfrom: alpine\ngitt: []\nshell:\n  instal: x\n---\n"
        "image: b\nshell: [\n---\n"
        "artifact: c\nfrom: alpine\nfinal: false\n"
    )
    assert [line.split(": ")[0] for line in found] == [
        "werf.yaml:2:10",
        "werf.yaml:6:1",
        "werf.yaml:8:3",
        "werf.yaml:11:9",
        "werf.yaml:15:1",
    ]


def test_an_image_whose_document_cannot_be_read_is_not_called_missing():
    found = problems(HEAD + "image: a\nfrom: [\n---\nimage: b\nfromImage: a\n")
    assert len(found) == 1 and "not valid YAML" in found[0]
    found = problems(HEAD + "imge: A\nfrom: x\n---\nimage: b\nfrom: A\n")
    assert len(found) == 1 and "cannot recognize" in found[0]


def test_references_to_an_image_with_a_dockerfile_are_no_second_mistake():
    found = problems(HEAD + "image: a\ndockerfile: Dockerfile\n---\nimage: b\nfromImage: a\n---\nimage: c\nfromImage: aa\n")
    assert len(found) == 1 and 'image "aa" not found!' in found[0]


def test_the_project_document_is_missing():
    assert problems("image: a\nfrom: b\n") == ["werf.yaml: the project document is missing"]
    assert problems("# nothing\n---\n---\n") == ["werf.yaml: the project document is missing"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "werf.yaml: the file is empty"),
        (b" \r\n\n", "werf.yaml: the file is empty"),
        (b"\xef\xbb\xbf", "werf.yaml: the file is empty"),
        ("a: ä".encode("utf-16"), "werf.yaml: the file is UTF-16"),
        (b"a: b\nc: \xc3\xa4\xff", "werf.yaml:2:5: the file is not UTF-8: byte 0xff cannot stand here"),
        (b"a: b\nc: \x00", "werf.yaml:2:4: the character U+0000 is not allowed in YAML"),
        ("a: b\n\ufeffc: d".encode(), "werf.yaml:2:1: the character U+FEFF is not allowed in YAML"),
    ],
)
def test_bytes_that_are_no_text(content, message):
    assert problems(content) == [message]


def test_a_shared_anchor_with_a_mistake_is_told_once():
    found = problems(IMAGE + "git:\n- &m {to: /a, own: x}\n- {<<: *m, to: /b}\n")
    assert found == ["werf.yaml:7:15: unknown fields: `own` in `git`"]


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [l,l]\n" + "".join(f"b{i}: &b{i} [{','.join([f'*b{i - 1}' if i else '*a'] * 10)}]\n" for i in range(40)),
        "x0: &x0 {a: 1}\n" + "".join(f"x{i}: &x{i} {{<<: [*x{i - 1}, *x{i - 1}]}}\n" for i in range(1, 2000)),
    ],
    ids=["lists", "merges"],
)
def test_aliases_of_aliases_end_in_an_error(text):
    (found,) = problems(HEAD + text)
    assert "aliases of this document expand to more than" in found


@pytest.mark.parametrize("text", ["image: &a [*a]\n", "image: a\nshell: &a\n  <<: *a\n", "image: &a {b: {c: *a}}\n"])
def test_a_node_inside_itself_ends_in_an_error(text):
    (found,) = problems(HEAD + text)
    assert "used inside itself" in found


@pytest.mark.parametrize("text", ["[" * 50_000, "{a: " * 50_000, "- " * 50_000], ids=["lists", "maps", "blocks"])
def test_deep_nesting_ends_in_an_error(text):
    (found,) = problems(HEAD + text)
    assert "nested deeper than 100 levels" in found


def test_a_file_of_mistakes_alone_tells_the_first_thousand():
    found = problems(IMAGE + "".join(f"k{i}: 1\n" for i in range(1500)))
    assert len(found) == 1001 and found[-1] == "werf.yaml: 500 more problems are not shown"
