"""`images`."""

from immutable.cli.output import size
from immutable.oci.digest import Digest
from immutable.store import Layout
from tests.support.command import Shell


def test_an_empty_store_is_shown_and_not_made(shell: Shell) -> None:
    done = shell.run("images")
    assert (0, f"no images in {shell.store}\n", "") == (done.status, done.out, done.err)
    assert [] == shell.run("images", "--json").json
    info = shell.run("store", "info", "--json").json
    assert (str(shell.store), 0) == (info["path"], info["blobs"])
    assert 1 == shell.run("inspect", "hello").status
    assert not shell.store.exists()


def test_the_images_as_a_table_and_as_json(shell: Shell) -> None:
    shell.hello("one.toml", image="one", tags='"1", "1.0"')
    shell.hello("two.toml", image="shop/two")
    built = shell.run("build", "one.toml", "two.toml", "--json")
    listed = shell.run("images", "--json").json
    assert [(one["name"], one["digest"], one["size"], one["tags"], 1) for one in built.json] == [
        (one["name"], one["digest"], one["size"], one["tags"], one["generation"]) for one in listed
    ]
    sizes = [size(one["size"]) for one in listed]
    head, *rows = (line.split() for line in shell.run("images").out.splitlines())
    assert ["NAME", "TAGS", "DIGEST", "SIZE", "GENERATION", "CREATED"] == head
    assert [
        ["one", "1,1.0", listed[0]["digest"][7:19], *sizes[0].split(), "1", listed[0]["created"]],
        ["shop/two", "-", listed[1]["digest"][7:19], *sizes[1].split(), "1", listed[1]["created"]],
    ] == rows


def test_a_damaged_image_does_not_hide_the_others(shell: Shell) -> None:
    shell.hello("one.toml", image="one")
    shell.hello("two.toml", image="two", text="other")
    documents = shell.run("build", "one.toml", "two.toml", "--json").json
    blob = Layout.open(shell.store).blob_path(Digest.parse(documents[0]["digest"]))
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[::-1])
    done = shell.run("images")
    whole = size(documents[1]["size"]).split()[0]
    assert (0, ["damaged", whole]) == (
        done.status,
        [line.split()[3] for line in done.out.splitlines()[1:]],
    )
    damaged = shell.run("inspect", "one")
    assert (1, "") == (damaged.status, damaged.out)
    assert documents[0]["digest"] in damaged.err
