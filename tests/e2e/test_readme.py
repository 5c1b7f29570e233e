"""What the README tells a stranger to do first."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_first_command_needs_no_daemon_and_builds_a_real_image():
    """What it would install is here: the test command has set up the same."""
    command = ["bash", ROOT / "scripts/try"]
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "10 used, 0 built" in ran.stderr
