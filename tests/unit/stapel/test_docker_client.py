"""The SDK is imported by whichever threads need it first."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, sys, threading, time
from stapel.docker.client import Clients, engine_errors
from stapel.errors import Unreachable

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "docker.auth":  # in the middle of the package
            begun.set()
            time.sleep(0.3)

def make():
    try:
        Clients().make()
    except Unreachable:
        ended.append("make")

def fail():
    begun.wait()
    with engine_errors("nothing"):
        ended.append("errors")

begun, ended = threading.Event(), []
sys.meta_path.insert(0, Slow())
threads = [threading.Thread(target=target) for target in (make, fail)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(*sorted(ended))
"""


def test_two_threads_at_once(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert ran.stdout == "errors make\n", ran.stderr
