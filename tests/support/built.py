"""Images that commands are tried on, and what a refused command looks like."""

from __future__ import annotations

from typing import Final

from tests.support.command import Done, Shell

BOTH: Final = '"linux/amd64", "linux/arm64"'


def built(shell: Shell, name: str, *tags: str, text: str = "hello") -> str:
    """Build the image `name`; return its digest."""
    spec = shell.hello(image=name, tags=", ".join(f'"{tag}"' for tag in tags), text=text)
    return shell.run("build", "-q", spec).out.strip()


def web(shell: Shell, *tags: str, text: str = "hello", platforms: str = BOTH) -> str:
    """Build the image ``shop/web``; return its digest."""
    quoted = ", ".join(f'"{tag}"' for tag in tags)
    spec = shell.hello(image="shop/web", tags=quoted, text=text, platforms=platforms)
    done = shell.run("build", "-q", spec)
    assert 0 == done.status
    return done.out.strip()


def refused(done: Done, *messages: str, status: int = 1) -> None:
    """Expect that a command ended with `status`, printed nothing, and told the `messages`."""
    assert (status, "") == (done.status, done.out)
    for message in messages:
        assert message in done.err
