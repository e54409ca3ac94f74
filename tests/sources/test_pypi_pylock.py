"""``pylock.toml``: what it takes for an image, and what is refused."""

from __future__ import annotations

import pytest

from immutable.errors import LockError, ResolutionError
from immutable.oci.platforms import Platform
from immutable.sources import pypi
from immutable.sources.pypi import Choice, Environment
from tests.support.wheels import pylock, wheel

HEAD = 'lock-version = "1.0"\ncreated-by = "tests"\n'
AMD64 = Environment("3.11", "glibc-2.36", Platform.parse("linux/amd64"))
ARM64 = Environment("3.11", "glibc-2.36", Platform.parse("linux/arm64"))
MUSL = Environment("3.11", "musl-1.2", Platform.parse("linux/amd64"))
SHA = "a" * 64

TAGS = (
    "cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64",
    "cp311-cp311-manylinux_2_28_x86_64",
    "cp311-cp311-manylinux_2_17_aarch64.manylinux2014_aarch64",
    "cp311-cp311-musllinux_1_1_x86_64",
    "cp311-cp311-win_amd64",
    "cp311-cp311-macosx_11_0_arm64",
    "cp312-cp312-manylinux_2_17_x86_64",
    "cp311-cp311-manylinux_2_39_x86_64",
)


def read(text: str) -> pypi.Locked:
    return pypi.read(text.encode(), "pylock.toml")


def package(name: str, *lines: str, wheels: bool = True) -> str:
    file = f"{name}-1.0-py3-none-any.whl"
    body = [f'wheels = [{{name = "{file}", path = "{file}", hashes = {{sha256 = "{SHA}"}}}}]']
    return (
        "\n".join(["[[packages]]", f'name = "{name}"', 'version = "1.0"', *lines])
        + "\n"
        + (body[0] + "\n" if wheels else "")
    )


def names(
    locked: pypi.Locked, environment: Environment = AMD64, **asked: tuple[str, ...]
) -> list[str]:
    chosen = locked.select(environment, asked.get("extras", ()), asked.get("groups", ()))
    return [choice.name for choice in chosen]


@pytest.mark.parametrize(
    ("environment", "tag"),
    [
        (AMD64, "cp311-cp311-manylinux_2_28_x86_64"),
        (ARM64, "cp311-cp311-manylinux_2_17_aarch64.manylinux2014_aarch64"),
        (MUSL, "cp311-cp311-musllinux_1_1_x86_64"),
        (
            Environment("3.11", "glibc-2.17", AMD64.platform),
            "cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64",
        ),
        (Environment("3.12", "glibc-2.36", AMD64.platform), "cp312-cp312-manylinux_2_17_x86_64"),
    ],
)
def test_the_best_wheel_for_the_image_is_taken(environment: Environment, tag: str) -> None:
    wheels = [wheel(tag=tag) for tag in TAGS]
    (choice,) = read(pylock(*wheels)).select(environment, (), ())
    expected = wheel(tag=tag)
    assert (
        Choice("demo", "1.0", (str(expected.digest),), expected.file, len(expected.data)) == choice
    )


def test_a_request_names_what_any_of_our_platforms_may_take() -> None:
    locked = read(pylock(*(wheel(tag=tag) for tag in TAGS)))
    named = locked.named((AMD64, ARM64), (), ())
    digests = {str(wheel(tag=tag).digest) for tag in (TAGS[0], TAGS[1], TAGS[2])}
    assert {f"demo 1.0 {digest}" for digest in digests} == set(named)
    assert sorted(named) == named


def test_a_changed_package_changes_the_request_by_name() -> None:
    one, two, newer = wheel("one"), wheel("two"), wheel("two", "1.1")
    before = read(pylock(one, two)).named((AMD64,), (), ())
    after = read(pylock(one, newer)).named((AMD64,), (), ())
    assert {f"two 1.0 {two.digest}", f"two 1.1 {newer.digest}"} == {*before} ^ {*after}


def test_hosts_and_sizes_make_no_difference_to_a_request() -> None:
    text = pylock(wheel())
    other = pylock(wheel(), sizes=False).replace("https://files.test", "https://mirror.test/x")
    assert read(text).named((AMD64,), (), ()) == read(other).named((AMD64,), (), ())


def test_a_wheel_may_stand_there_by_its_name_alone() -> None:
    text = pylock(wheel())
    bare = text.replace(f'url = "https://files.test/{wheel().file}", ', "")
    assert text != bare
    assert read(text).select(AMD64, (), ()) == read(bare).select(AMD64, (), ())


def test_markers_are_the_image_s_never_this_machine_s() -> None:
    text = HEAD + "".join(
        package(name, f'marker = "{marker}"')
        for name, marker in {
            "always": "sys_platform == 'linux'",
            "arm": "platform_machine == 'aarch64'",
            "intel": "platform_machine == 'x86_64'",
            "never": "sys_platform == 'win32' or python_version < '3.11'",
            "old": "python_full_version < '3.11.3'",
            "pypy": "implementation_name == 'pypy'",
        }.items()
    )
    assert ["always", "intel", "old"] == names(read(text))
    assert ["always", "arm", "old"] == names(read(text), ARM64)
    newer = Environment("3.11.4", "glibc-2.36", AMD64.platform)
    assert ["always", "intel"] == names(read(text), newer)
    named = read(text).named((AMD64, ARM64), (), ())
    assert ["always", "arm", "intel", "old"] == [one.split()[0] for one in named]


GROUPS = (
    HEAD
    + 'extras = ["fast"]\ndependency-groups = ["dev", "docs"]\ndefault-groups = ["docs"]\n'
    + package("base")
    + package("speed", "marker = \"'fast' in extras\"")
    + package("tests", "marker = \"'dev' in dependency_groups\"")
    + package("manual", "marker = \"'docs' in dependency_groups\"")
)


def test_extras_and_groups_choose() -> None:
    locked = read(GROUPS)
    assert ["base", "manual"] == names(locked)
    assert ["base", "manual", "speed"] == names(locked, extras=("fast",))
    assert ["base", "tests"] == names(locked, groups=("dev",))
    named = locked.named((AMD64,), ("fast",), ("dev",))
    assert ["base", "speed", "tests"] == [one.split()[0] for one in named]


@pytest.mark.parametrize(
    ("extras", "groups", "said"),
    [
        (("fsat",), (), "has no extra 'fsat'; did you mean 'fast'?"),
        ((), ("dve",), "has no dependency group 'dve'; did you mean 'dev'?"),
    ],
)
def test_extras_and_groups_that_are_not_there(
    extras: tuple[str, ...], groups: tuple[str, ...], said: str
) -> None:
    with pytest.raises(ResolutionError) as caught:
        read(GROUPS).select(AMD64, extras, groups)
    assert said in str(caught.value)


SDIST = f'sdist = {{name = "thing-1.0.tar.gz", path = "x", hashes = {{sha256 = "{SHA}"}}}}'
WINDOWS = (
    'wheels = [{name = "thing-1.0-cp311-cp311-win32.whl", path = "x", '
    f'hashes = {{sha256 = "{SHA}"}}}}]'
)
WHERE = "linux/amd64, Python 3.11 and glibc-2.36"
DIRECT = "which is no release but a directory, an archive or a repository"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((SDIST,), f"names thing 1.0 for {WHERE}, of which there are only the sources; nothing"),
        ((SDIST, WINDOWS), "of which there are wheels, but none that fits, and the sources"),
        ((WINDOWS,), "No wheel found matching the provided tags for package 'thing'"),
        (('directory = {path = "."}',), DIRECT),
        (('vcs = {type = "git", url = "https://git.test/x", commit-id = "abc"}',), DIRECT),
        ((f'archive = {{url = "https://a.test/x.zip", hashes = {{sha256 = "{SHA}"}}}}',), DIRECT),
        (('requires-python = ">=3.12"', WINDOWS), "'thing'"),
    ],
)
def test_what_has_no_wheel_that_fits_is_refused_by_name(lines: tuple[str, ...], said: str) -> None:
    locked = read(HEAD + package("thing", *lines, wheels=False))
    with pytest.raises(ResolutionError) as caught:
        locked.select(AMD64, (), ())
    assert said in str(caught.value)
    assert "thing" in str(caught.value)
    locked.named((AMD64,), (), ())  # says nothing yet: another platform may have one


def test_a_lock_for_other_environments_is_refused() -> None:
    text = HEAD + "environments = [\"sys_platform == 'win32'\"]\n" + package("a")
    with pytest.raises(ResolutionError, match="does not satisfy any of the environments"):
        read(text).select(AMD64, (), ())


def test_two_packages_of_one_name_are_refused() -> None:
    with pytest.raises(ResolutionError, match="Multiple packages with the name 'a'"):
        read(HEAD + package("a") + package("a")).select(AMD64, (), ())


def test_the_best_hash_counts() -> None:
    text = HEAD + package("a").replace(f'sha256 = "{SHA}"', f'md5 = "x", sha512 = "{"B" * 128}"')
    (choice,) = read(text).select(AMD64, (), ())
    assert (f"sha512:{'b' * 128}",) == choice.hashes
    assert choice.sha256 is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "lock-version"),
        ('lock-version = "2.0"\ncreated-by = "x"\npackages = []\n', "version 2.0 is not supported"),
        ('lock-version = "1.0"\npackages = []\n', "created-by"),
        ("[[[[", "not TOML"),
        ("a = " + "[" * 5000, "nested too deeply"),
        ("\ufeff" + HEAD, "byte-order mark"),
        (HEAD + package("A"), "not normalized"),
        (HEAD + package("a").replace("1.0-py3", "2.0-py3"), "not consistent"),
        (HEAD + package("a").replace("a-1.0-py3-none-any.whl", "a.whl"), "Invalid wheel filename"),
        (HEAD + package("a", "marker = \"nonsense == '1'\""), "marker"),
        (HEAD + package("a", 'vcs = {type = "git", url = "x", commit-id = "y"}'), "vcs"),
    ],
)
def test_what_is_no_pylock_is_refused(text: str, said: str) -> None:
    with pytest.raises(LockError) as caught:
        read(text)
    assert str(caught.value).startswith("pylock.toml: ")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('path = "a-1', 'size = -1, path = "a-1', "expected a size in bytes, found -1"),
        ('path = "a-1', 'size = true, path = "a-1', "Unexpected type bool"),
        ('path = "a-1', 'size = 99999999999999999999, path = "a-1', "an integer beyond 64 bits"),
        ('name = "a-1.0', 'name = "../a-1.0', "Invalid wheel filename"),
        ('name = "a"', 'name = "a\\nb"', "is not normalized"),
        (f'{{sha256 = "{SHA}"}}', "{}", "At least one hash must be provided"),
        (f', hashes = {{sha256 = "{SHA}"}}', "", "Missing required value in"),
    ],
)
def test_wheels_that_are_not_described_well_are_refused(old: str, new: str, said: str) -> None:
    text = package("a").replace(old, new)
    assert text != package("a")
    with pytest.raises(LockError) as caught:
        read(HEAD + text).select(AMD64, (), ())
    assert str(caught.value).startswith("pylock.toml: ")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("hashes", "said"),
    [
        ('md5 = "abc"', "expected a hash by one of sha256, sha384, sha512; found 'md5'"),
        ('sha256 = "abc"', "sha256: expected 64 hex digits"),
        (f'sha256 = "{"g" * 64}"', "sha256: expected 64 hex digits"),
    ],
)
def test_hashes_that_prove_nothing_are_refused(hashes: str, said: str) -> None:
    locked = read(HEAD + package("a").replace(f'sha256 = "{SHA}"', hashes))
    for ask in (lambda: locked.select(AMD64, (), ()), lambda: locked.named((AMD64,), (), ())):
        with pytest.raises(LockError) as caught:
            ask()
        assert said in str(caught.value)
