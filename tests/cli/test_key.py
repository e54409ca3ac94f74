"""`key`."""

from immutable.spec.keys import SecretKey
from tests.support.command import Shell

CI = SecretKey.generate("ci").public


def test_the_commands(shell: Shell) -> None:
    made = shell.run("key", "generate", "laptop").out.strip()
    assert made.startswith("laptop:")
    assert "1 key added" in shell.run("key", "trust", CI).out
    assert [str(CI), made] == shell.run("key", "list").out.split()
    assert {"keys": [str(CI), made]} == shell.run("key", "list", "--json").json
    again = shell.run("key", "generate", "again")
    assert 1 == again.status
    assert "there is a key already" in again.err
    assert 2 == shell.run("key", "trust", "nothing").status
    assert 2 == shell.run("key", "generate", "a b").status
