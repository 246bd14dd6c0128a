"""Runs the command line without starting an interpreter each time: a server has imported it, and forks for each run.

A run is a process with streams, environment and working directory of its own. What needs a fresh interpreter is started
the ordinary way.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import pkgutil
import resource
import runpy
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, partial
from importlib import import_module
from importlib.metadata import entry_points
from io import FileIO
from pathlib import Path
from select import select
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

ENTRY = next(iter(entry_points(group="console_scripts", name="voucherify-sync")))
PACKAGES = ("voucherify_sync", ENTRY.module.rpartition(".")[0])


class ForkingServer:
    """The side of the tests. Any thread may run commands, several at a time."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.PIPE,  # pipes, as its children will have
                stdout=subprocess.PIPE,
            )

    def close(self) -> None:
        """End it."""
        self._socket.close()
        self._process.communicate(timeout=30)

    def run(self, request: dict[str, Any], stdin: bytes, timeout_s: float) -> tuple[int, bytes, bytes]:
        """Run a command to its end; return how it ended (negative: the signal), and what it wrote.

        Args:
            request: words, cwd, env, streams that are no pipes, constants to be set: path -> value, and `before`:
                statements of Python that change its process first.
            stdin: its input, through a pipe.
            timeout_s: it is killed after so long.
        """
        pipes = [os.pipe() for _ in range(3)]
        with ThreadPoolExecutor(3) as pool:
            running = self.start(request, [pipes[0][0], *(pipe[1] for pipe in pipes[1:])])
            pool.submit(_feed, pipes[0][1], stdin)
            out, err = (pool.submit(_drain, pipe[0]) for pipe in pipes[1:])
            try:
                return running.wait(timeout_s), out.result(), err.result()
            except subprocess.TimeoutExpired:
                running.send_signal(signal.SIGKILL)
                raise

    def start(self, request: dict[str, Any], streams: list[int]) -> RunningCommand:
        """Start a command on open descriptors, which are closed here.

        Args:
            request: that of `run`; also `script`, a file of Python to be run in place of the command, and `file_size`,
                which no file may exceed.
            streams: its stdin, stdout and stderr.
        """
        reading, writing = os.pipe()
        theirs = [*streams, writing]
        data = json.dumps(request).encode() + b"\n"
        report = open(reading, "rb", buffering=0)  # noqa: SIM115 the command keeps it
        with self._lock:
            sent = socket.send_fds(self._socket, [data], theirs)
            self._socket.sendall(data[sent:])
            for descriptor in theirs:
                os.close(descriptor)
            return RunningCommand(request["words"], int(report.readline()), report)


class RunningCommand:
    """A command that was forked, with what of `Popen` is asked of it.

    Attributes:
        pid: its process.
        returncode: None while it runs; negative for a signal.
    """

    def __init__(self, words: list[str], pid: int, report: FileIO) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._words, self._report = words, report

    def wait(self, timeout: float | None = None) -> int:
        """Return how it ended; raise TimeoutExpired if it has not by then."""
        if self.returncode is None:
            if not select([self._report], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self._words, timeout or 0)
            self.returncode = int(self._report.readline())
            self._report.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it is still there."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)


_creation = threading.Lock()


def forking_server() -> ForkingServer:
    """Return the one of this process; it ends with it."""
    with _creation:
        return _only_server()


@cache
def _only_server() -> ForkingServer:
    server = ForkingServer()
    atexit.register(server.close)
    return server


_PROGRAM = """\
#!{python} -IS
import json, os, socket, sys
request = dict(words=sys.argv[1:], cwd=os.getcwd(), env=dict(os.environ), constants={{}}, streams={{}})
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [b"\\n"], [0, 1, 2])
    server.sendall(json.dumps(request).encode() + b"\\n")
    code = int(server.recv(8))
sys.exit(code if code >= 0 else 128 - code)
"""


class _Handler(socketserver.BaseRequestHandler):
    """Runs what the program of `program_folder` asks for, on the streams of that program."""

    def handle(self) -> None:
        """Answer with the exit code."""
        _, streams, _, _ = socket.recv_fds(self.request, 1, 3)
        request = self.request.makefile().readline()
        self.request.sendall(b"%d" % forking_server().start(json.loads(request), list(streams)).wait())


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


@cache
def program_folder() -> Path:
    """Return the folder of a `voucherify-sync` for the PATH of a shell; it forks, and ends with this process."""
    folder = TemporaryDirectory(prefix="cli-")  # the path of a socket must be short
    atexit.register(folder.cleanup)
    address = str(Path(folder.name) / "socket")
    file = Path(folder.name) / "voucherify-sync"
    file.write_text(_PROGRAM.format(python=sys.executable, address=address))
    file.chmod(0o755)
    threading.Thread(target=_Server(address, _Handler).serve_forever, daemon=True).start()
    return Path(folder.name)


def _feed(descriptor: int, data: bytes) -> None:
    try:
        with open(descriptor, "wb") as pipe:
            pipe.write(data)
    except BrokenPipeError:  # it has read as much as it wanted
        pass


def _drain(descriptor: int) -> bytes:
    with open(descriptor, "rb") as pipe:
        return pipe.read()


def serve(connection: socket.socket) -> None:
    """Fork for each request, until the tests are over. Returns in the forked process, which is the command then."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        data, descriptors, _, _ = socket.recv_fds(connection, 65_536, 4)
        while data and not data.endswith(b"\n"):
            data += connection.recv(65_536)
        if not data:
            os._exit(0)
        if os.fork() == 0:
            break
        for descriptor in descriptors:
            os.close(descriptor)
    connection.close()
    *streams, report = descriptors
    _keep(streams, report)
    os.close(report)
    _turn_into(json.loads(data), streams)


def _keep(streams: list[int], report: int) -> None:
    """Fork once more, and tell the tests who runs the command, and how it ended. Returns in that process."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        return
    for descriptor in streams:
        os.close(descriptor)
    os.write(report, b"%d\n" % pid)
    _, status = os.waitpid(pid, 0)
    os.write(report, b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _turn_into(request: dict[str, Any], streams: list[int]) -> None:
    """Take the streams, environment and folder of a request: nothing is left of the server but its imports."""
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    for number, kind in request["streams"].items():
        _put(kind, int(number))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for ending in (
        signal.SIGTERM,
        signal.SIGHUP,
    ):  # what a shell runs in the background, or `nohup`, may ignore them
        signal.signal(ending, signal.SIG_DFL)
    if (size := request.get("file_size")) is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    os.chdir(request["cwd"])
    sys.argv = [request.get("script", "voucherify-sync"), *request["words"]]
    for path, value in request["constants"].items():
        module, _, name = path.rpartition(".")
        setattr(sys.modules[module], name, value)
    exec(request.get("before", ""), {})


def _put(kind: str, number: int) -> None:
    """Replace a standard stream; of one that is closed Python has no object, either."""
    if kind == "closed":
        os.close(number)
        setattr(sys, ("stdin", "stdout", "stderr")[number], None)
        return
    if kind == "unread":
        reading, descriptor = os.pipe()
        os.close(reading)
    else:
        descriptor = os.open(kind, os.O_WRONLY | os.O_APPEND if number else os.O_RDONLY)
    os.dup2(descriptor, number)
    os.close(descriptor)


def import_all() -> None:
    """Import every module of the project, and with them the libraries."""
    for package in map(import_module, PACKAGES):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            import_module(module.name)
    gc.freeze()  # a forked process need not look through it


def _program() -> Callable[[], object]:
    """Return the command, or the script that a request names in its place."""
    if not sys.argv[0].endswith(".py"):
        return ENTRY.load()
    sys.path[0] = str(Path(sys.argv[0]).parent)
    return partial(runpy.run_path, sys.argv[0], run_name="__main__")


def _end(code: int) -> NoReturn:
    """End as an interpreter does, but take no module apart: that costs more than most commands."""
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except OSError:
            code = 120
    os._exit(code)


if __name__ == "__main__":
    import_all()
    serve(socket.socket(fileno=int(sys.argv[1])))
    try:
        _program()()
    except SystemExit as end:
        if isinstance(end.code, int):
            _end(end.code)
        raise
