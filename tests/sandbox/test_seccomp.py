"""The system calls that a command is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from immutable.sandbox.seccomp import program
from tests.support import needs


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_no_jump_of_the_filter_leads_out_of_it(machine: str) -> None:
    code = program(machine)
    assert code is not None
    steps = [code[at : at + 8] for at in range(0, len(code), 8)]
    for position, step in enumerate(steps[:-1]):
        assert position + 1 + max(step[2], step[3]) < len(steps)
    assert None is program("s390x")


@needs.root()
def test_the_filter_refuses_other_networks_and_namespaces_and_nothing_usual() -> None:
    code = """
import os, socket
from immutable.sandbox import seccomp, syscalls
seccomp.install()
for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK):
    socket.socket(family, socket.SOCK_DGRAM).close()
for call in (
    lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM),
    lambda: syscalls.unshare(syscalls.CLONE_NEWUTS),
    lambda: syscalls.mount("tmpfs", "/mnt", "tmpfs"),
):
    try:
        call()
    except OSError as error:
        print(error.strerror)
os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    refused = "Operation not permitted"
    assert [
        "Address family not supported by protocol",
        refused,
        refused,
    ] == done.stdout.splitlines()
