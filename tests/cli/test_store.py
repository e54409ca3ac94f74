"""`store info` and `store check`."""

from immutable.oci.digest import Digest
from immutable.store import Layout
from tests.support.command import Shell


def test_how_much_the_store_holds(shell: Shell) -> None:
    shell.run("build", shell.hello())
    info = shell.run("store", "info", "--json").json
    assert (1, 1, 3, 1) == (
        info["images"],
        info["generations"],
        info["blobs"],
        info["realisations"],
    )
    text = shell.run("store", "info").out
    assert f"store         {shell.store}\n" in text
    assert "blobs         3, " in text


def test_the_command_tells_what_it_finds_and_what_is_left(shell: Shell) -> None:
    assert 0 == shell.run("store", "check").status
    shell.run("build", shell.hello())
    done = shell.run("store", "check")
    assert (0, f"{shell.store}: whole\n", "") == (done.status, done.out, done.err)
    document = shell.run("store", "check", "--json")
    assert (0, {"path": str(shell.store), "found": [], "left": []}) == (
        document.status,
        document.json,
    )
    built = shell.run("build", "hello.toml", "--json").json
    digest = Digest.parse(built["platforms"][0]["layers"][0]["digest"])
    blob = Layout(shell.store).blob_path(digest)
    blob.write_bytes(blob.read_bytes()[::-1])
    (shell.store / "blobs" / "sha256" / "notes").write_bytes(b"x")
    done = shell.run("store", "check", "--quick")
    assert 3 == done.status
    assert f"blob {digest}: expected the bytes of its digest" in done.out
    assert "2 faults found; --repair can put 1 right" in done.out
    document = shell.run("store", "check", "--repair", "--json")
    assert 3 == document.status
    assert ["foreign", "blob"] == [fault["kind"] for fault in document.json["found"]]
    assert ["missing"] == [fault["kind"] for fault in document.json["left"]]
    assert "hello@1" in document.json["left"][0]["hint"]
    again = shell.run("build", "hello.toml", "--json").json
    assert (built["digest"], 1) == (again["digest"], again["generation"])
    assert 0 == shell.run("store", "check").status
