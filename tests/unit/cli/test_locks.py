"""Which locks `--synchronization` names, and what is said where they cannot be had."""

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from conveyor.cli.command import Command
from conveyor.cli.option_values import StorageOptions
from conveyor.cli.options import storage_options
from conveyor.cli.session import make_locks
from conveyor.errors import UsageError
from locking.file import FileLocks
from locking.null import NullLocks
from locking.redis import RedisLocks

ROOT = Path(__file__).parents[3]


def storage(synchronization):
    return StorageOptions("", (), (), "", synchronization, 60, False, False, None)


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("", FileLocks),
        (":local", FileLocks),
        ("none", NullLocks),
        ("redis://127.0.0.1:1/0", RedisLocks),
        ("rediss://user:secret@h", RedisLocks),
    ],
)
def test_an_address_names_a_place_and_nothing_is_asked_of_it(address, kind, tmp_path):
    locks = make_locks(storage(address), tmp_path)
    assert type(locks) is kind
    locks.close()
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_address_is_an_error_of_usage_without_its_password(tmp_path):
    with pytest.raises(UsageError, match=r"--synchronization: .* the address of Redis") as caught:
        make_locks(storage("redis://u:s3cret@h/name"), tmp_path)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_missing_package_is_named_with_the_command_that_installs_it():
    program = """
import sys
from pathlib import Path
sys.modules["redis"] = None
from conveyor.cli.option_values import StorageOptions
from conveyor.cli.session import make_locks
from conveyor.errors import UsageError
try:
    make_locks(StorageOptions("", (), (), "", "redis://u:s3cret@h", 60, False, False, None), Path("/nonexistent"))
except UsageError as error:
    print(error, error.hint)
"""
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "package redis is not installed" in ran.stdout
    assert "pip install 'conveyor-build[redis]'" in ran.stdout
    assert "s3cret" not in ran.stdout


def test_the_package_is_not_imported_before_a_lock_is_asked_for():
    program = """
import sys
from pathlib import Path
from conveyor.cli.option_values import StorageOptions
from conveyor.cli.session import make_locks
make_locks(StorageOptions("", (), (), "", "redis://h", 60, False, False, None), Path("/nonexistent")).close()
print("redis" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


@click.command("look", cls=Command)
@storage_options
def look(storage):
    click.echo(storage.synchronization)


@pytest.mark.parametrize("address", ["", ":local", "none", "redis://h", "rediss://u:p@h:1/2"])
def test_known_kinds_of_addresses_are_taken(address):
    ran = CliRunner().invoke(look, ["--synchronization", address])
    assert (ran.exit_code, ran.output) == (0, address + "\n")


@pytest.mark.parametrize(
    "address", ["local", "None", "https://h", "kubernetes://ns", "Redis://h", "redis:h", "redi://u:s3c@ret@h"]
)
def test_unknown_kinds_are_refused_without_what_may_be_a_password(address):
    for arguments, env in ((["-S", address], {}), ([], {"CONVEYOR_SYNCHRONIZATION": address})):
        ran = CliRunner().invoke(look, arguments, env=env)
        assert ran.exit_code == 2
        assert "`:local`, `none`, `redis://...` or `rediss://...`" in " ".join(ran.output.split())
        assert "s3c" not in ran.output
        assert "ret@" not in ran.output
