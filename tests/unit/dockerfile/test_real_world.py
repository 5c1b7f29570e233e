"""Dockerfiles in the forms that projects have: what they are built on, and what they take."""

from __future__ import annotations

import random
import string

import pytest

from conveyor.dockerfile.parser import KEYWORDS, DockerfileError, parse
from conveyor.dockerfile.resolve import Question, resolve

NODE = """\
# syntax=docker/dockerfile:1

ARG NODE_VERSION=20.11.1
FROM node:${NODE_VERSION}-alpine AS base
WORKDIR /usr/src/app

FROM base AS deps
RUN --mount=type=bind,source=package.json,target=package.json \\
    --mount=type=bind,source=package-lock.json,target=package-lock.json \\
    --mount=type=cache,target=/root/.npm \\
    npm ci --omit=dev

FROM deps AS build
COPY . .
RUN npm run build

FROM base AS final
ENV NODE_ENV production
USER node
COPY package.json .
COPY --from=deps /usr/src/app/node_modules ./node_modules
COPY --chown=node:node --from=build /usr/src/app/dist ./dist
EXPOSE 3000
CMD npm start
"""
GO = """\
FROM --platform=${BUILDPLATFORM} golang:1.22 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
ARG TARGETOS TARGETARCH
RUN --mount=type=bind,target=. --mount=type=cache,target=/go/pkg/mod \\
  GOOS=$TARGETOS GOARCH=$TARGETARCH go build -o /out/app ./cmd/app
FROM gcr.io/distroless/static:nonroot
COPY --from=build /out/app /app
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
ENTRYPOINT ["/app"]
"""
PYTHON = """\
FROM python:3.12-slim
ENV PYTHONUNBUFFERED=1 \\
    # not in the image
    PIP_NO_CACHE_DIR=off

    # Debian
RUN apt-get update \\
 && apt-get install -y --no-install-recommends gcc \\
\\
 && rm -rf /var/lib/apt/lists/*
COPY requirements/*.txt requirements/
COPY ./app ./setup.py ./
RUN <<EOF
pip install -r requirements/base.txt
pip install .
EOF
COPY <<-'conf' <<other /etc/app/
	[app]
	debug = $DEBUG
	conf
FROM is not here
other
CMD ["gunicorn", "app:main"]
"""
JAVA = """\
FROM eclipse-temurin:21-jre
ARG JAR_FILE=target/*.jar
COPY ${JAR_FILE} app.jar
ARG CONF
ADD ${CONF:-conf/default.yml} "/config/"
HEALTHCHECK --interval=30s --timeout=3s CMD curl -f http://localhost/ || exit 1
ENTRYPOINT java -jar /app.jar
"""
DOTNET = """\
FROM mcr.microsoft.com/dotnet/sdk:8.0 AS build
WORKDIR /source
COPY *.sln .
COPY ["web/web.csproj", "web/"]
COPY ["lib dir/lib.csproj", "lib dir/"]
RUN dotnet restore
COPY web/. ./web/
RUN dotnet publish -c release -o /app
FROM mcr.microsoft.com/dotnet/aspnet:8.0
COPY --from=build /app ./
"""
PHP = """\
ARG PHP=8.3
FROM composer:2 as vendor
COPY composer.* database/ /app/
from php:${PHP}-fpm-alpine
maintainer somebody
copy --from=vendor /app/vendor/ /var/www/vendor/
copy --from=mlocati/php-extension-installer:2 /usr/bin/install-php-extensions /usr/local/bin/
add https://example.org/tool.tar.gz docker/nginx.conf /tmp/
Run echo 'FROM here' ; # no comment
volume ["/data"]
"""
WINDOWS = """\
# escape=`
FROM mcr.microsoft.com/windows/servercore:ltsc2022
COPY src\\app.exe C:\\app\\
RUN dir C:\\ `
    && echo done
"""
RUST = """\
FROM rust:1.77 AS chef
RUN cargo install cargo-chef
FROM chef AS planner
COPY . .
RUN cargo chef prepare
FROM chef AS builder
COPY --from=planner /recipe.json recipe.json
COPY Cargo.toml Cargo.lock ./
COPY src src
FROM debian:bookworm-slim AS runtime
COPY --from=builder /target/release/app /usr/local/bin
FROM builder AS test
COPY tests tests
"""

TABLE = [
    (NODE, "", ["node:20.11.1-alpine"], None),
    (NODE, "deps", ["node:20.11.1-alpine"], ("package-lock.json", "package.json")),
    (NODE, "base", ["node:20.11.1-alpine"], ()),
    (GO, "", ["golang:1.22", "gcr.io/distroless/static:nonroot"], None),
    (PYTHON, "", ["python:3.12-slim"], ("app", "requirements/*.txt", "setup.py")),
    (JAVA, "", ["eclipse-temurin:21-jre"], ("conf/default.yml", "target/*.jar")),
    (
        DOTNET,
        "build",
        ["mcr.microsoft.com/dotnet/sdk:8.0"],
        ("*.sln", "lib dir/lib.csproj", "web", "web/web.csproj"),
    ),
    (
        PHP,
        "",
        ["php:8.3-fpm-alpine", "composer:2", "mlocati/php-extension-installer:2"],
        ("composer.*", "database", "docker/nginx.conf"),
    ),
    (RUST, "runtime", ["debian:bookworm-slim", "rust:1.77"], None),
    (RUST, "test", ["rust:1.77"], None),
]


@pytest.mark.parametrize(("text", "target", "bases", "patterns"), TABLE)
def test_what_they_are_made_of(text, target, bases, patterns):
    for ends in (text, text.replace("\n", "\r\n")):
        found = resolve(parse(ends.encode()), Question(target, {}, "linux/amd64", "linux/amd64"))
        assert sorted(name for name, _ in found.bases) == sorted(bases)
        if patterns is None:
            assert found.patterns is None
        else:
            assert found.patterns == tuple(sorted(patterns))


def test_windows_paths_are_read_with_their_escape_character():
    parsed = parse(WINDOWS.encode())
    assert [item.text for item in parsed.instructions[1:]] == ["src\\app.exe C:\\app\\", "dir C:\\     && echo done"]


def test_whatever_stands_in_a_file_is_read_or_refused_with_its_line():
    """Nothing but the one error, however the text is broken."""
    chance = random.Random(11)
    texts = [NODE, GO, PYTHON, JAVA, DOTNET, PHP, WINDOWS, RUST]
    pieces = [
        *"\\\n\r\t '\"${}:-+?#%/<=[],`",
        "<<EOF",
        "EOF\n",
        "--from=",
        "--mount=",
        "$(",
        *KEYWORDS,
        *string.ascii_lowercase,
    ]
    refused = 0
    for _ in range(3000):
        text = chance.choice(texts)
        for _ in range(chance.randint(1, 5)):
            at = chance.randrange(len(text))
            text = text[:at] + chance.choice(pieces) + text[at + chance.randint(0, 3) :]
        try:
            resolve(parse(text.encode()), Question("", {"A": "1"}, "linux/amd64", "linux/amd64"))
        except DockerfileError as error:
            assert 0 <= error.line <= text.count("\n") + 1
            refused += 1
    assert 100 < refused < 2900
