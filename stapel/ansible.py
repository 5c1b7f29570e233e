"""Tasks of Ansible as a script for a build container: one play, on the container itself, by the toolchain's own Python.

The tasks go into the script as they are, the play is thrown away after it, and Ansible reads no configuration but this.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from stapel.script import ROOT

PLACE = "/.conveyor/tmp/ansible"
LIBRARY = f"{ROOT}/ansible"
PYTHON = f"{ROOT}/bin/python3"
VERSION = "2.17.7"
# What of the package and of what it needs is used; the rest of it reads vaults and galaxies.
DISTRIBUTIONS = ("ansible-core", "jinja2", "markupsafe", "pyyaml", "packaging")
# Those that the package `ansible` of the same version has. In keys, so that another version builds anew.
COLLECTIONS = {"ansible.posix": "1.6.2", "community.crypto": "2.22.3", "community.general": "9.5.2"}
# Short names of modules that ansible-core sends to a collection.
MODULES_OF_COLLECTIONS: Mapping[str, tuple[str, ...]] = {
    "ansible.posix": ("acl",),
    "community.crypto": (
        "openssl_certificate", "openssl_csr", "openssl_dhparam", "openssl_pkcs12", "openssl_privatekey", "openssl_publickey",
    ),
    "community.general": (
        "archive", "ini_file", "iso_extract", "xattr", "bower", "bundler", "composer", "cpanm", "easy_install", "gem",
        "maven_artifact", "npm", "pear", "yarn", "apk", "apt_rpm", "flatpak", "homebrew", "macports", "opkg", "pacman",
        "pkgng", "portage", "slackpkg", "snap", "swupd", "urpmi", "zypper", "zypper_repository", "locale_gen", "timezone",
    ),
}  # fmt: skip
BUILTIN = "ansible.builtin."
BLOCKS = ("block", "rescue", "always")
# Modules of collections need it in the Python that they run in.
MODULE_LIBRARY = f"{ROOT}/ansible-libraries"

_SETTINGS = {
    "ANSIBLE_CONFIG": f"{PLACE}/ansible.cfg",
    "ANSIBLE_HOME": PLACE,
    "ANSIBLE_LOCAL_TEMP": f"{PLACE}/local",
    "ANSIBLE_REMOTE_TEMP": f"{PLACE}/remote",
    "ANSIBLE_COLLECTIONS_PATH": LIBRARY,
    "ANSIBLE_LOCALHOST_WARNING": "False",
    "ANSIBLE_INVENTORY_UNPARSED_WARNING": "False",
    "ANSIBLE_NOCOWS": "1",
    "ANSIBLE_NOCOLOR": "1",
}
# It wants a locale of UTF-8, which few images have; Python has been told to use UTF-8, and commands keep their environment.
# They would begin where the play is, instead of at the root of the container.
_MAIN = f"""\
import locale, sys
locale.setlocale = lambda *_: None
locale.getlocale = lambda *_: (None, 'utf-8')
sys.path.insert(0, '{LIBRARY}')
from ansible.cli.playbook import main
from ansible.parsing.dataloader import DataLoader
DataLoader.get_basedir = lambda loader: '/'
main()
"""


def collections_of(tasks: str) -> dict[str, str]:
    """The collections that a JSON list of tasks uses, by modules or by full names of anything, with their versions."""
    full_name = r"\b(" + "|".join(map(re.escape, COLLECTIONS)) + r")\.[a-z]"
    named = set(re.findall(full_name, tasks))
    used = set(_modules(json.loads(tasks)))
    named |= {name for name, modules in MODULES_OF_COLLECTIONS.items() if not used.isdisjoint(modules)}
    return {name: COLLECTIONS[name] for name in sorted(named)}


def _modules(tasks: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for task in tasks:
        for name, value in task.items():
            if name in BLOCKS:
                yield from _modules(value)
            else:
                yield name.removeprefix(BUILTIN)


def ansible_script(tasks: str) -> str:
    """Bash that runs a JSON list of tasks, and ends with their status."""
    play = f'[{{"hosts": "all", "gather_facts": false, "tasks": {tasks}}}]'
    encoded = binascii.b2a_base64(play.encode("utf-8", "surrogateescape"), newline=False).decode()
    settings = " ".join(f"{name}={value}" for name, value in _SETTINGS.items())
    arguments = f"-i localhost, -c local -e ansible_python_interpreter={PYTHON} {PLACE}/play.json"
    return "\n".join(
        [
            f"{ROOT}/bin/mkdir -p -- {PLACE}",
            f": >{PLACE}/ansible.cfg",
            f"printf %s {encoded} | {ROOT}/bin/base64 --decode >{PLACE}/play.json",
            f'{settings} {PYTHON} -I -X utf8 -c "{_MAIN}" {arguments}',
            f"{ROOT}/bin/rm -rf -- {PLACE}",
            "",
        ]
    )
