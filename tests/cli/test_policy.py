"""`policy export`."""

from __future__ import annotations

from tests.support.command import Shell


def test_policies_are_exported(shell: Shell) -> None:
    path = shell.write("policy.toml", "[[rule]]\nkeep-last = 3\n")
    ecr = shell.run("policy", "export", path, "--to", "ecr", "--repository", "hello")
    assert 0 == ecr.status
    assert "imageCountMoreThan" in ecr.out
    zot = shell.run("policy", "export", path, "--to", "zot", "--json").json
    assert "retention" in zot["document"]
    harbor = shell.run(
        *("policy", "export", path, "--to", "harbor", "--project", "shop", "--project-id", 1)
    )
    assert '"algorithm": "or"' in harbor.out
    assert 2 == shell.run("policy", "export", path, "--to", "ecr").status
    wrong = shell.run("policy", "export", path, "--to", "zot", "--project", "shop")
    assert (2, True) == (wrong.status, "--project means nothing" in wrong.err)
