"""Specs: parsed once, refused whole, with every fault and its path."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import tomli_w
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from immutable.errors import SpecError
from immutable.oci.digest import Digest
from immutable.oci.platforms import Platform
from immutable.spec import document as specs
from immutable.spec.document import Glob, Group, Layer, Mode, Owner, Spec, Target, User
from tests.support import strategies

HEAD = 'spec-version = 1\n[image]\nname = "shop/web"\n'


ROOT = Target("/")
SIGNAL = "config.stop-signal: expected a signal like SIGTERM or its number from 1 to 64, found"


@frozen
class Item:
    path: Target
    mode: Mode | None = None
    owner: Owner | None = None


@frozen
class FilesOptions:
    source: str = ""
    target: Target = ROOT
    include: tuple[Glob, ...] = ()
    entries: tuple[Item, ...] = ()
    setuid: bool = False


@frozen
class ArchiveOptions:
    sha256: Digest | None = None
    strip: int = 0
    from_: str = ""


@frozen
class DebianOptions:
    packages: tuple[str, ...]
    suite: str = ""


KINDS: dict[str, type[Any]] = {
    "files": FilesOptions,
    "archive": ArchiveOptions,
    "debian": DebianOptions,
}


def parsed(text: str) -> Spec:
    return specs.parse((HEAD + text).encode(), KINDS, "web.toml")


def refused(data: str | bytes) -> list[str]:
    data = data.encode() if isinstance(data, str) else data
    with pytest.raises(SpecError) as caught:
        specs.parse(data, KINDS, "web.toml")
    assert "\n".join(f"web.toml: {fault}" for fault in caught.value.faults) == str(caught.value)
    return list(caught.value.faults)


def faults(text: str) -> list[str]:
    return refused(HEAD + text)


def layer(text: str, kind: str = "files", name: str = "app") -> str:
    return f'[[layer]]\nname = "{name}"\nkind = "{kind}"\n{text}\n'


WHOLE = """
spec-version = 1

[image]
name = "shop/web"
platforms = ["linux/arm64/v8", "linux/amd64"]
tags = ["1.4.0", "{git.sha}"]
created = 2024-05-06T09:08:07+02:00
compression = "zstd"
annotations = { b = "{git.tag}", a = "1" }

[[layer]]
name = "app"
kind = "files"
source = "app"
target = "/srv//./app/"
entries = [{ path = "/etc/motd", mode = "4750", owner = "nodejs:0" }]

[[user]]
name = "nodejs"
uid = 1001

[[group]]
name = "staff"
gid = 50

[config]
user = "nodejs"
workdir = "/app"
env = { PATH = "/bin", NODE_ENV = "production" }
cmd = ["node", "server.js"]
expose = ["3000", "53/udp"]
volumes = ["/data/"]
labels = { x = "y" }
stop-signal = "SIGTERM"
healthcheck = { cmd = ["node", "health.js"], interval = "1h1m30s5ms", retries = 3 }
"""


def test_a_whole_spec() -> None:
    spec = specs.parse(WHOLE.encode(), KINDS, "web.toml")
    assert (
        specs.ImageTable(
            specs.ImageName("shop/web"),
            (Platform("linux", "arm64"), Platform("linux", "amd64")),
            (specs.Tag("1.4.0"), specs.Tag("{git.sha}")),
            specs.Created("2024-05-06T07:08:07Z"),
            specs.Compression("zstd"),
            specs.Texts((("a", "1"), ("b", "{git.tag}"))),
        )
        == spec.image
    )
    options = FilesOptions(
        "app",
        Target("/srv/app"),
        (),
        (Item(Target("/etc/motd"), Mode(0o4750), Owner("nodejs:0")),),
    )
    assert (Layer(specs.LayerName("app"), "files", options),) == spec.layer
    assert ("nodejs", 1001, None, "/usr/sbin/nologin") == (
        spec.user[0].name,
        spec.user[0].uid,
        spec.user[0].gid,
        spec.user[0].shell,
    )
    config = spec.config
    assert (("NODE_ENV", "production"), ("PATH", "/bin")) == config.env
    assert (("3000/tcp", "53/udp"), ("/data",)) == (config.expose, config.volumes)
    assert config.healthcheck is not None
    assert 3_690_005_000_000 == config.healthcheck.interval
    assert "web.toml" == spec.where


def test_the_defaults() -> None:
    spec = parsed("")
    assert ("1970-01-01T00:00:00Z", "gzip", ()) == (
        spec.image.created,
        spec.image.compression,
        spec.layer,
    )
    assert specs.Config() == spec.config
    assert frozenset() == spec.placeholders()


def test_line_ends_and_the_file_s_name_are_no_part_of_a_spec() -> None:
    one = specs.parse(WHOLE.encode(), KINDS, "web.toml")
    other = specs.parse(WHOLE.replace("\n", "\r\n").encode(), KINDS, "other.toml")
    assert one == other
    assert (hash(one.image), "other.toml") == (hash(other.image), other.where)


# BAD-INPUTS: "duplicate key; byte-order mark, not UTF-8; 5,000 nested `[`; `nan`, integers
# beyond 64 bits"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (HEAD.encode() + b'name = "x"\n#', "not TOML: duplicate key or table (at line 4"),
        (HEAD.encode() + b"[image]\n#", "not TOML: duplicate key or table (at line 4"),
        (b"\xef\xbb\xbf" + HEAD.encode(), "starts with a byte-order mark; save it as plain UTF-8"),
        (HEAD.encode("latin-1") + b"# \xe9", "not UTF-8: byte 45 is 0xe9"),
        (b"a = " + b"[" * 5000, "not TOML: nested too deeply"),
        (HEAD.encode() + b"x = nan", "image.x: nan is no number to build from"),
        (HEAD.encode() + b"x = [{ y = -inf }]", "image.x[0].y: -inf is no number to build from"),
        (HEAD.encode() + b"x = 18446744073709551616", "image.x: an integer beyond 64 bits"),
        (HEAD.encode() + b"x = " + b"1" * 5000, "an integer beyond 64 bits"),
        (b"spec-version", "not TOML: "),
    ],
)
def test_a_document_that_cannot_be_read(data: bytes, expected: str) -> None:
    (fault,) = refused(data)
    assert fault.startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "spec-version = 2",
            "expected 1, found the integer 2; it was written for a newer immutable",
        ),
        ("spec-version = 0", "expected 1, found the integer 0"),
        ("spec-version = 1.0", "expected 1, found the float 1.0"),
        ("spec-version = true", "expected 1, found the boolean true"),
        ("spec-version = '1'", "expected 1, found the string '1'"),
        ("", "is required"),
    ],
)
def test_other_versions_are_refused(text: str, expected: str) -> None:
    assert [f"spec-version: {expected}"] == refused(text + '\n[image]\nname = "web"\n')


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # BAD-INPUTS: "unknown or misspelt key"
        ("nmae = 'x'", "image.nmae: unknown key; did you mean 'name'?"),
        ("[cofnig]", "cofnig: unknown key; did you mean 'config'?"),
        (
            "[config]\nstop_signal = 'SIGTERM'",
            "config.stop_signal: unknown key; did you mean 'stop-signal'?",
        ),
        (
            "[config]\nhealthcheck = { cmd = ['x'], intervall = '1s' }",
            "config.healthcheck.intervall: unknown key; did you mean 'interval'?",
        ),
        (
            "[[user]]\nname = 'a'\nuid = 1\nhoem = '/'",
            "user[0].hoem: unknown key; did you mean 'home'?",
        ),
        (layer("sorce = 'x'"), "layer[0].sorce: unknown key; did you mean 'source'?"),
        (
            layer("entries = [{ path = '/a' }, { path = '/b', mdoe = '1' }]"),
            "layer[0].entries[1].mdoe: unknown key; did you mean 'mode'?",
        ),
        (layer("from_ = 'x'", "archive"), "layer[0].from_: unknown key; did you mean 'from'?"),
        (
            layer("zzz = 1", "debian") + "packages = []",
            "layer[0].zzz: unknown key; expected one of packages, suite",
        ),
        # an unknown kind
        (
            layer("", "debain"),
            "layer[0].kind: no layer kind is called 'debain'; did you mean 'debian'?",
        ),
        (
            layer("", "zzzzzz"),
            "layer[0].kind: no layer kind is called 'zzzzzz'; expected one of archive, debian, files",  # noqa: E501
        ),
        (
            "[[layer]]\nname = 'a'",
            "layer[0].kind: is required; expected one of archive, debian, files",
        ),
        (
            "[[layer]]\nname = 'a'\nkind = 3",
            (
                "layer[0].kind: expected a string, found the integer 3; "
                "expected one of archive, debian, files"
            ),
        ),
        # BAD-INPUTS: "digest missing, short, upper-case, or of another algorithm"
        (
            layer(f"sha256 = '{'a' * 63}'", "archive"),
            "layer[0].sha256: expected 64 hex digits, found 63",
        ),
        (
            layer(f"sha256 = '{'A' * 64}'", "archive"),
            f"layer[0].sha256: expected lower-case hex digits, found '{'A' * 64}'",
        ),
        (
            layer(f"sha256 = 'sha512:{'a' * 128}'", "archive"),
            f"layer[0].sha256: expected 64 hex digits, found 'sha512:{'a' * 73}'",
        ),
        (layer("sha256 = ''", "archive"), "layer[0].sha256: expected 64 hex digits, found ''"),
        (layer("sha256 = 5", "archive"), "layer[0].sha256: expected a string, found the integer 5"),
        # BAD-INPUTS: "target with `..` or NUL"
        (layer("target = '/a/../../b'"), "layer[0].target: /a/../../b: leaves the root through .."),
        (layer("target = '../b'"), "layer[0].target: expected an absolute path, found '../b'"),
        (layer('target = "/a\\u0000"'), "layer[0].target: a NUL in a string"),
        (
            layer(f"target = '/{'n' * 256}'"),
            f"layer[0].target: /{'n' * 119}…{'n' * 60}: a name of 256 bytes; at most 255",
        ),
        (
            "[config]\nvolumes = ['/a', '/b/..']",
            "config.volumes[1]: /b/..: leaves the root through ..",
        ),
        *(
            (
                f"[config]\nstop-signal = '{number}'",
                f"{SIGNAL} '{number}'",
            )
            for number in ("0", "65", "09")
        ),
        *(
            (
                f"[config]\nuser = '{user}'",
                f'config.user: expected a user like "nodejs" or "1001:1001", found \'{user}\'',
            )
            for user in ("", "a:", ":a", "a:b:c", "no dejs", "4294967295", "0:4294967295")
        ),
        # types are never coerced
        (
            layer("packages = 'nodejs'", "debian"),
            "layer[0].packages: expected an array, found the string 'nodejs'",
        ),
        (
            layer("packages = [3]", "debian"),
            "layer[0].packages[0]: expected a string, found the integer 3",
        ),
        (
            layer("packages = [['a']]", "debian"),
            "layer[0].packages[0]: expected a string, found an array",
        ),
        (layer("setuid = 1"), "layer[0].setuid: expected true or false, found the integer 1"),
        (
            layer("setuid = 'false'"),
            "layer[0].setuid: expected true or false, found the string 'false'",
        ),
        (
            layer("strip = true", "archive"),
            "layer[0].strip: expected an integer, found the boolean true",
        ),
        (
            layer("strip = 1.0", "archive"),
            "layer[0].strip: expected an integer, found the float 1.0",
        ),
        (
            layer("entries = [{ path = '/a' }, { path = '/b', mode = 493 }]"),
            "layer[0].entries[1].mode: expected a string, found the integer 493",
        ),
        (layer("include = ['a/**', '[a']"), "layer[0].include[1]: '[a': [ without ]"),
        ("tags = [1.0]", "image.tags[0]: expected a string, found the float 1.0"),
        (
            "[[user]]\nname = 'a'\nuid = true",
            "user[0].uid: expected an id from 0 to 4294967294, found the boolean true",
        ),
        # other values
        ("name = ''", ""),
        (
            "platforms = ['linux/amd64', 'linux/amd46']",
            (
                "image.platforms[1]: expected one of linux/386, linux/amd64, linux/arm/v5, linux/arm/v6, "  # noqa: E501
                "linux/arm/v7, linux/arm64, linux/loong64, linux/mips64le, linux/ppc64le, linux/riscv64, "  # noqa: E501
                "linux/s390x; found 'linux/amd46'"
            ),
        ),
        (
            "platforms = ['linux/arm64', 'linux/arm64/v8']",
            "image.platforms[1]: 'linux/arm64' is there already",
        ),
        ("tags = ['a', 'b', 'a']", "image.tags[2]: 'a' is there already"),
        ("tags = ['latest']", "image.tags[0]: latest names no version; tags are for versions"),
        (
            "tags = ['a b']",
            "image.tags[0]: expected a tag of letters, digits, . _ and -, found 'a b'",
        ),
        ("tags = ['{git.shaa}']", "image.tags[0]: {git.shaa}: unknown; did you mean 'sha'?"),
        (
            "annotations = { a = '{git.SHA}' }",
            "image.annotations.a: {git.SHA}: unknown; expected one of branch, sha, short-sha, tag, time",  # noqa: E501
        ),
        ("annotations = { a = 1 }", "image.annotations.a: expected a string, found the integer 1"),
        ("compression = 'gz'", "image.compression: expected one of gzip, zstd, none, found 'gz'"),
        (
            "created = 'now'",
            (
                'image.created: expected a time with its offset from UTC, "git" or '
                "\"source-date-epoch\", found the string 'now'"
            ),
        ),
        (
            "created = 1970-01-01T00:00:00",
            (
                "image.created: expected a time with its offset from UTC, "
                '"git" or "source-date-epoch", found the time 1970-01-01T00:00:00'
            ),
        ),
        (
            "created = 1969-12-31T23:59:59Z",
            "image.created: expected a time from 1970 on, found the time 1969-12-31T23:59:59+00:00",
        ),
        (
            "created = 2000-01-01T00:00:00.5Z",
            "image.created: expected whole seconds, found the time 2000-01-01T00:00:00.500000+00:00",  # noqa: E501
        ),
        ("[config]\nenv = { A = 1 }", "config.env.A: expected a string, found the integer 1"),
        ("[config]\nenv = { 'A=B' = '1' }", "config.env.'A=B': no name of an environment variable"),
        (
            "[config]\nexpose = ['80', '0']",
            "config.expose[1]: expected a port like \"3000/tcp\", found '0'",
        ),
        ("[config]\nexpose = [80]", "config.expose[0]: expected a string, found the integer 80"),
        (
            "[config]\nstop-signal = 'TERM'",
            f"{SIGNAL} 'TERM'; did you mean 'SIGTERM'?",
        ),
        *(
            (f"[config]\nstop-signal = '{name}'", f"{SIGNAL} '{name}'{hint}")
            for name, hint in {
                "SIGNOPE": "; did you mean 'SIGFPE'?",
                "SIGTREM": "; did you mean 'SIGTERM'?",
                "SIGRTMIN+16": "; did you mean 'SIGRTMIN+6'?",
                "65": "",
            }.items()
        ),
        (
            "[config]\nhealthcheck = { cmd = ['x'], interval = '30' }",
            "config.healthcheck.interval: expected a duration like \"1m30s\", found '30'",
        ),
        (
            "[config]\nhealthcheck = { cmd = ['x'], timeout = '2562048h' }",
            "config.healthcheck.timeout: expected a duration of at most 2562047h, found '2562048h'",
        ),
        (
            "[config]\nhealthcheck = { cmd = ['x'], retries = -1 }",
            "config.healthcheck.retries: expected a number from 0 to 2147483647, found the integer -1",  # noqa: E501
        ),
        (
            "[config]\nhealthcheck = { none = true, retries = 3 }",
            "config.healthcheck: expected nothing beside none, found retries",
        ),
        (
            "[config]\nhealthcheck = { interval = '1s' }",
            "config.healthcheck: expected either cmd or shell, and not empty",
        ),
        (
            "[config]\nhealthcheck = { cmd = ['x'], shell = 'x' }",
            "config.healthcheck: expected either cmd or shell, and not empty",
        ),
        (
            "[config]\nhealthcheck = { cmd = [] }",
            "config.healthcheck: expected either cmd or shell, and not empty",
        ),
        # what becomes a line of /etc/passwd
        (
            "[[user]]\nname = 'a'\nuid = 1\ncomment = \"x\\nroot2::0:0\"",
            "user[0].comment: expected no colon and no control character, found 'x\\nroot2::0:0'",
        ),
        (
            "[[user]]\nname = 'a'\nuid = 1\nhome = '/a:b'",
            "user[0].home: expected no colon and no control character, found '/a:b'",
        ),
        (
            "[[user]]\nname = 'a\\n'\nuid = 1",
            "user[0].name: expected an account name like nodejs, found 'a\\\\n'",
        ),
        (
            layer("entries = [{ path = '/a', owner = '4294967295' }]"),
            (
                'layer[0].entries[0].owner: expected an owner like "nodejs" or "1001:1001", '
                "found '4294967295'"
            ),
        ),
        (
            layer("entries = [{ path = '/a', mode = '0800' }]"),
            "layer[0].entries[0].mode: expected an octal mode like \"0755\", found '0800'",
        ),
    ],
)
def test_one_fault(text: str, expected: str) -> None:
    if not expected:
        text, expected = "", "image.name: expected a repository name like shop/web, found ''"
        assert [expected] == refused("spec-version = 1\nimage.name = ''")
        return
    assert [expected] == faults(text)


def test_the_name_of_a_layer_is_required_and_plain() -> None:
    assert ["layer[0].name: is required"] == faults("[[layer]]\nkind = 'files'")
    (fault,) = faults(layer("", name="a/b"))
    assert (
        "layer[0].name: expected a name of letters, digits, space, . _ and -, found 'a/b'" == fault
    )


@pytest.mark.parametrize("name", ["Shop/web", "/web", "web/", "web:1", "a//b", "-a", "a" * 256])
def test_a_name_that_no_registry_takes(name: str) -> None:
    (fault,) = refused(f"spec-version = 1\nimage.name = '{name}'")
    assert fault.startswith("image.name: expected a repository name like shop/web, found ")


# BAD-INPUTS: "duplicate layer, user or uid; two names equal after case folding or Unicode
# normalisation"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (layer("") + layer(""), "layer[1].name: 'app' is already layer[0].name"),
        (
            layer("", name="Café") + layer("", name="café"),
            "layer[1].name: 'café' is already layer[0].name, 'Café', but for case or Unicode form",
        ),
        (
            layer("", name="\u212b") + layer("", name="\u00e5"),
            "layer[1].name: '\u00e5' is already layer[0].name, '\u212b', but for case or Unicode form",  # noqa: E501
        ),
        (
            layer("", name="straße") + layer("", name="STRASSE"),
            "layer[1].name: 'STRASSE' is already layer[0].name, 'straße', but for case or Unicode form",  # noqa: E501
        ),
        (
            "user = [{ name = 'a', uid = 1 }, { name = 'a', uid = 2 }]",
            "user[1].name: 'a' is already user[0].name",
        ),
        (
            "user = [{ name = 'a', uid = 1 }, { name = 'b', uid = 1 }]",
            "user[1].uid: 1 is already user[0].uid",
        ),
        (
            "group = [{ name = 'a', gid = 1 }, { name = 'b', gid = 2 }, { name = 'a', gid = 3 }]",
            "group[2].name: 'a' is already group[0].name",
        ),
        (
            "group = [{ name = 'a', gid = 1 }, { name = 'b', gid = 1 }]",
            "group[1].gid: 1 is already group[0].gid",
        ),
        (
            "user = [{ name = 'node', uid = 50 }]\ngroup = [{ name = 'staff', gid = 50 }]",
            (
                "user[0]: its own group 'node' would have the id 50 of the group 'staff'; "
                "give it a gid or a group"
            ),
        ),
    ],
)
def test_what_stands_twice(text: str, expected: str) -> None:
    if text.startswith(("user", "group")):
        assert [expected] == refused(f"{text}\n{HEAD}")
    else:
        assert [expected] == faults(text)


def test_all_faults_come_at_once() -> None:
    text = f"""
        spec-version = 3
        [image]
        nmae = "web"
        platforms = ["linux/amd64", "linux/vax"]
        [[layer]]
        name = "/"
        kind = "files"
        entries = [{{ path = "/a" }}, {{ path = "b", mode = "rwx" }}]
        [[layer]]
        name = "two"
        kind = "fiels"
        [[layer]]
        name = "two"
        kind = "archive"
        sha256 = "{"0" * 63}"
        [[user]]
        name = "a"
        uid = "1"
        [config]
        healthcheck = {{ interval = "soon" }}
        env = {{ A = 1, B = 2 }}
    """
    found = refused(text)
    assert [
        "spec-version",
        "image.name",
        "image.platforms[1]",
        "image.nmae",
        "layer[0].name",
        "layer[0].entries[1].path",
        "layer[0].entries[1].mode",
        "layer[1].kind",
        "layer[2].sha256",
        "user[0].uid",
        "config.env.A",
        "config.env.B",
        "config.healthcheck.interval",
        "layer[2].name",
        "config.healthcheck",
    ] == [fault.partition(": ")[0] for fault in found]
    assert "layer[2].sha256: expected 64 hex digits, found 63" in found


_JARGON = ("structur", "NoneType", "<class", "tuple[", "typing", "dict", "Traceback", "Exception")


@given(
    st.dictionaries(
        st.sampled_from(("spec-version", "image", "layer", "user", "group", "config"))
        | strategies.text,
        strategies.toml_values,
        max_size=5,
    )
)
def test_a_document_gives_a_spec_or_a_spec_error(document: dict[str, Any]) -> None:
    with contextlib.suppress(SpecError):
        specs.parse(tomli_w.dumps(document).encode(), KINDS, "x")


def _mutations(value: Any) -> list[tuple[Any, ...]]:
    """Every place in a document, as a path of keys and numbers."""
    found: list[tuple[Any, ...]] = [()]
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        lower = _mutations(item) if isinstance(item, dict | list) else [()]
        found += [(key, *rest) for rest in lower]
    return found


@given(st.data())
def test_a_good_spec_with_one_other_value_gives_a_spec_or_its_fault(data: st.DataObject) -> None:
    import tomllib

    document: Any = tomllib.loads(WHOLE)
    *above, last = data.draw(st.sampled_from(_mutations(document)[1:]))
    value = data.draw(strategies.toml_values)
    holder = document
    for key in above:
        holder = holder[key]
    holder[last] = value
    try:
        specs.parse(tomli_w.dumps(document).encode(), KINDS, "x")
    except SpecError as error:
        written = repr(value)
        found = [word for word in _JARGON if word in str(error) and word not in written]
        assert [] == found


@given(st.binary() | st.text().map(str.encode))
def test_bytes_give_a_spec_or_a_spec_error(data: bytes) -> None:
    with contextlib.suppress(SpecError):
        specs.parse(data, KINDS, "x")


# Placeholders


def test_placeholders_are_filled() -> None:
    spec = parsed(
        "tags = ['1-{git.short-sha}', '{git.tag}', 'v2']\n"
        "annotations = { r = '{git.sha}' }\n[config]\nlabels = { b = 'on {git.branch}' }"
    )
    assert {"short-sha", "tag", "sha", "branch"} == spec.placeholders()
    filled = specs.substitute(
        spec, {"sha": "abcdef", "short-sha": "abc", "tag": "v2", "branch": "feature/x"}
    )
    assert ("1-abc", "v2") == filled.image.tags
    assert (("r", "abcdef"),) == filled.image.annotations
    assert (("b", "on feature/x"),) == filled.config.labels
    assert (frozenset(), "web.toml") == (filled.placeholders(), filled.where)


def test_the_time_of_git_is_a_placeholder_too() -> None:
    assert {"time"} == parsed("created = 'git'").placeholders()


def test_what_git_does_not_have_or_no_tag_can_hold() -> None:
    spec = parsed("tags = ['{git.branch}', '{git.tag}', 'x{git.sha}']\nannotations.a = '{git.tag}'")
    with pytest.raises(SpecError) as caught:
        specs.substitute(spec, {"branch": "feature/x", "sha": ""})
    assert (
        "image.tags[1]: {git.tag}: git has no tag for this commit",
        "image.annotations.a: {git.tag}: git has no tag for this commit",
        (
            "image.tags[0]: {git.branch}: expected a tag of letters, digits, . _ and -, "
            "found 'feature/x'"
        ),
        "image.tags[1]: {git.tag}: expected a tag of letters, digits, . _ and -, found ''",
    ) == caught.value.faults


def test_a_branch_called_latest_gives_no_tag() -> None:
    with pytest.raises(SpecError, match=r"image\.tags\[0\]: \{git\.branch\}: latest names no"):
        specs.substitute(parsed("tags = ['{git.branch}']"), {"branch": "latest"})


@pytest.mark.parametrize("user", ["www-data", "root:www-data", "0", "1001:0", "a:5", "Some.One"])
def test_users_to_run_as(user: str) -> None:
    assert user == parsed(f"[config]\nuser = '{user}'").config.user


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGRTMIN+3", "SIGRTMAX-14", "1", "64"])
def test_signals(signal: str) -> None:
    assert signal == parsed(f"[config]\nstop-signal = '{signal}'").config.stop_signal


def test_values_hash() -> None:
    one, other = (User(specs.AccountName("a"), specs.AccountID(1)) for _ in range(2))
    assert hash(one) == hash(other)
    assert Group(specs.AccountName("a"), specs.AccountID(1)) != Group(
        specs.AccountName("b"), specs.AccountID(1)
    )
