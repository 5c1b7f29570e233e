import io
import os
import subprocess
import sys
import threading

from conveyor.events.output import Output


def test_what_the_encoding_does_not_have():
    raw = io.BytesIO()
    output = Output(io.TextIOWrapper(raw, encoding="ascii"))
    output.write("a \u20ac \udcff\n")
    assert raw.getvalue() == b"a ? ?\n"


def test_a_closed_stream():
    stream = io.StringIO()
    output = Output(stream)
    stream.close()
    output.write("x")
    output.write("x")


def test_a_reader_that_went_away():
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stream:
        output = Output(stream)
        output.write("x" * 100_000)
        output.write("x")


def test_a_pipe_that_does_not_block_gets_everything():
    read, write = os.pipe()
    os.set_blocking(write, False)
    got = bytearray()

    def drain():
        while chunk := os.read(read, 4096):
            got.extend(chunk)

    reader = threading.Thread(target=drain)
    reader.start()
    with os.fdopen(write, "w") as stream:
        Output(stream).write("x" * 1_000_000)
    reader.join()
    os.close(read)
    assert len(got) == 1_000_000


def test_the_exit_status_stays_when_the_reader_of_stderr_or_stdout_went_away():
    program = (
        "import sys\n"
        "from conveyor.events.output import Output\n"
        "for stream in (sys.stdout, sys.stderr):\n"
        "    output = Output(stream)\n"
        "    output.write('x')\n"
        "    print('left in the buffer', file=stream)\n"
        "sys.exit(7)\n"
    )
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run([sys.executable, "-c", program], stdout=write, stderr=write, check=False)
    finally:
        os.close(write)
    assert done.returncode == 7
