"""What layers of each kind come to over each base of `tests.support.bases`."""

from __future__ import annotations

from collections.abc import Mapping

# What is not as it is in the base, of each kind: over every base, and over one of them. A
# directory that the base has is here only if it is another afterwards. All that is in /app stands
# where that leads.

EVERYWHERE: Mapping[str, str] = {
    "files": """
        data/sub                directory 0700 0:0
        data/y                  file 0644 0:0 y
        etc/ssl/private/key     file 0644 0:0 k
        opt/o                   file 0644 0:0 o
        srv/shared/note         file 0644 0:0 n
        var/lib/app/state       file 0644 0:0 s
        APP/here                -> /app/z
        APP/z                   file 0644 0:0 z
    """,
    "archive": """
        APP/plugin              file 0755 33:33 p
        data/deep               directory 0755 0:0
        data/deep/y             file 0644 0:0 a
        opt/tool                directory 0755 0:0
        opt/tool/run            file 0755 0:0 a
    """,
    "wheels": """
        usr/lib/python3                              directory 0755 0:0
        usr/lib/python3/dist-packages                directory 0755 0:0
        usr/lib/python3/dist-packages/pure           directory 0755 0:0
        usr/lib/python3/dist-packages/pure-1.0.dist-info    directory 0755 0:0
        usr/lib/python3/dist-packages/pure/__init__.py      file 0644 0:0
        usr/local               directory 0755 0:0
        usr/local/bin           directory 0755 0:0
        usr/local/bin/pure      file 0755 0:0
    """,
    "npm": """
        APP/node_modules                        directory 0755 0:0
        APP/node_modules/.bin                   directory 0755 0:0
        APP/node_modules/.bin/left              -> ../left/index.js
        APP/node_modules/.package-lock.json     file 0644 0:0
        APP/node_modules/left                   directory 0755 0:0
        APP/node_modules/left/index.js          file 0755 0:0 l
    """,
    "users": """
        data/home               directory 0700 1003:1003
    """,
}

MORE_WHEELS = """
        lib/python3                                     directory 0755 0:0
        lib/python3/dist-packages                       directory 0755 0:0
        lib/python3/dist-packages/more                  directory 0755 0:0
        lib/python3/dist-packages/more-1.0.dist-info    directory 0755 0:0
        lib/python3/dist-packages/more/__init__.py      file 0644 0:0
        bin/more                                        file 0755 0:0
"""
ON: Mapping[tuple[str, str], str] = {
    ("usr-merged", "files"): """
        usr/lib/x               file 0644 0:0 x
        usr/bin/tool            file 0755 0:0 t
        run/motd                file 0644 0:0 hi
        app                     directory 0755 0:0
        data                    directory 0755 0:0
        etc/ssl                 directory 0755 0:0
        etc/ssl/private         directory 0755 0:0
        opt                     directory 0755 0:0
        srv                     directory 0755 0:0
        srv/shared              directory 0755 0:0
        var/lib                 directory 0755 0:0
        var/lib/app             directory 0755 0:0
    """,
    ("usr-merged", "archive"): """
        usr/lib/from-archive    file 0644 0:0 a
        usr/lib/plugins         directory 0755 0:0
        usr/lib/plugins/plugin  file 0755 0:0 p
        app                     directory 0755 33:33
        data                    directory 0755 0:0
        opt                     directory 0700 0:0
    """,
    ("usr-merged", "wheels"): """
        usr/lib/python3/dist-packages/more                  directory 0755 0:0
        usr/lib/python3/dist-packages/more-1.0.dist-info    directory 0755 0:0
        usr/lib/python3/dist-packages/more/__init__.py      file 0644 0:0
        usr/bin/more                                        file 0755 0:0
    """,
    ("usr-merged", "npm"): """
        app                     directory 0755 0:0
    """,
    ("usr-merged", "users"): """
        app                     directory 0700 1002:1002
        data                    directory 0755 0:0
        home                    directory 0755 0:0
        home/web                directory 0700 1001:1001
        etc/passwd              file 0644 0:0
        etc/group               file 0644 0:0
    """,
    ("owners", "files"): """
        lib/x                   file 0644 0:0 x
        bin/tool                file 0755 0:0 t
        app                     directory 0755 0:0
        var/run                 directory 0755 0:0
        var/run/motd            file 0644 0:0 hi
    """,
    ("owners", "archive"): """
        lib/from-archive        file 0644 0:0 a
        lib/plugins             directory 0755 0:0
        lib/plugins/plugin      file 0755 0:0 p
        app                     directory 0755 33:33
    """,
    ("owners", "wheels"): MORE_WHEELS,
    ("owners", "npm"): """
        app                     directory 0755 0:0
    """,
    ("owners", "users"): """
        app                     directory 0700 1002:1002
        etc/passwd              file 0640 0:42
        etc/group               file 0640 0:42
    """,
    ("alpine", "files"): """
        lib/x                   file 0644 0:0 x
        bin/tool                file 0755 0:0 t
        run/motd                file 0644 0:0 hi
        app                     directory 0755 0:0
        data                    directory 0755 0:0
        etc/ssl                 directory 0755 0:0
        etc/ssl/private         directory 0755 0:0
        opt                     directory 0755 0:0
        srv                     directory 0755 0:0
        srv/shared              directory 0755 0:0
        var/lib                 directory 0755 0:0
        var/lib/app             directory 0755 0:0
    """,
    ("alpine", "archive"): """
        lib/from-archive        file 0644 0:0 a
        lib/plugins             directory 0755 0:0
        lib/plugins/plugin      file 0755 0:0 p
        app                     directory 0755 33:33
        data                    directory 0755 0:0
        opt                     directory 0700 0:0
    """,
    ("alpine", "wheels"): f"""
        {MORE_WHEELS}
        usr                     directory 0755 0:0
        usr/lib                 directory 0755 0:0
    """,
    ("alpine", "npm"): """
        app                     directory 0755 0:0
    """,
    ("alpine", "users"): """
        app                     directory 0700 1002:1002
        data                    directory 0755 0:0
        home/web                directory 0700 1001:1001
        etc/passwd              file 0644 0:0
        etc/group               file 0644 0:0
        etc/shadow              file 0640 0:42
    """,
    ("app", "files"): """
        lib                     directory 0755 0:0
        lib/x                   file 0644 0:0 x
        bin/tool                file 0755 0:0 t
        var                     directory 0755 0:0
        var/run                 directory 0755 0:0
        var/run/motd            file 0644 0:0 hi
        data                    directory 0755 0:0
        etc/ssl                 directory 0755 0:0
        etc/ssl/private         directory 0755 0:0
        opt                     directory 0755 0:0
        srv/shared              directory 0755 0:0
        var/lib                 directory 0755 0:0
        var/lib/app             directory 0755 0:0
    """,
    ("app", "archive"): """
        lib                     directory 0700 0:0
        lib/from-archive        file 0644 0:0 a
        lib/plugins             directory 0755 0:0
        lib/plugins/plugin      file 0755 0:0 p
        data                    directory 0755 0:0
        opt                     directory 0700 0:0
    """,
    ("app", "wheels"): f"""
        {MORE_WHEELS}
        lib                     directory 0755 0:0
        usr                     directory 0755 0:0
        usr/lib                 directory 0755 0:0
    """,
    ("app", "npm"): "",
    ("app", "users"): """
        data                    directory 0755 0:0
        home                    directory 0755 0:0
        home/web                directory 0700 1001:1001
        etc/passwd              file 0644 0:0
        etc/group               file 0644 0:0
    """,
    # Of a link that leads to nothing, what it leads to is made.
    ("app dangling", "files"): "srv/app directory 0755 0:0",
    ("app dangling", "archive"): "srv/app directory 0755 33:33",
    ("app dangling", "npm"): "srv/app directory 0755 0:0",
    ("app dangling", "users"): "srv/app directory 0700 1002:1002",
}


def expected(base: str, kind: str) -> dict[str, str]:
    """Return path → what stands there, in the words of `tests.support.bases.words`."""
    app = "srv/app" if base.startswith("app") else "app"
    tables = [EVERYWHERE[kind].replace("APP", app)]
    tables += [ON.get((one, kind), "") for one in dict.fromkeys((base.partition(" ")[0], base))]
    rows = [line.split(maxsplit=1) for line in "\n".join(tables).splitlines() if line.strip()]
    found = dict(rows)
    assert len(rows) == len(found)
    return found
