"""Keeps statements, whoever sends them, from files, programs and other servers.

Three layers, because none of them is enough alone:

1. The engine's own access control. Its one user gets rights on tables. The rights to sources (`file()`,
   `url()`, `remote()`, …), dictionaries, named collections and backups are not granted, and settings that
   name files or servers cannot be changed.
2. What the library's access control does not cover (programs, RocksDB in any folder): table functions and
   engines are refused by name before the engine sees them, all but those named here. The names come from
   the engine, so that those of a later version are refused until somebody looks at them.
3. The kernel (Landlock), where it can: expressions in strings, which only the engine reads, can call the
   scalar function `file()`. See https://docs.kernel.org/userspace-api/landlock.html and `linux/landlock.h`.
"""

import ctypes
import os
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from xml.sax.saxutils import escape

import headrace
import streams
from headrace.embedded.data_dir import write_private

# System calls, the same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_FIRST_VERSION_ALL = (1 << 13) - 1  # the four above; making and removing files of every kind
_BIND_TCP, _CONNECT_TCP = 1 << 0, 1 << 1
_ABSTRACT_UNIX_SOCKETS, _SIGNALS = 1 << 0, 1 << 1
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("access", ctypes.c_uint64), ("fd", ctypes.c_int32))


def landlock_version() -> int:
    """The version of the kernel's Landlock; 0 where there is none (Linux 5.13 has the first)."""
    if sys.platform != "linux":
        return 0
    return max(0, int(_libc().syscall(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)))


def confine(*, writable: Iterable[Path], readable: Iterable[Path]) -> bool:
    """Confine the calling thread, and the threads and processes it starts from now on, to these paths.

    Call it before other threads exist: those keep what they have. Missing paths are fine. Returns whether the
    kernel can do it: TCP is refused from version 4 on, signals from 6. Raises `OSError` where it can, but
    refused.
    """
    known = landlock_version()
    if not known:
        return False
    files = _FIRST_VERSION_ALL | (_REFER if known >= 2 else 0) | (_TRUNCATE if known >= 3 else 0)
    ruleset = _Ruleset(
        files=files,
        network=_BIND_TCP | _CONNECT_TCP if known >= 4 else 0,
        scoped=_ABSTRACT_UNIX_SOCKETS | _SIGNALS if known >= 6 else 0,
    )
    fd = _checked(_libc().syscall(_CREATE_RULESET, ctypes.byref(ruleset), ctypes.sizeof(ruleset), 0))
    try:
        for path in writable:
            _allow(fd, path, files & ~_EXECUTE)
        for path in readable:
            _allow(fd, path, _READ_FILE | _READ_DIR)
        _checked(_libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _checked(_libc().syscall(_RESTRICT_SELF, fd, 0))
    finally:
        os.close(fd)
    return True


def _allow(ruleset_fd: int, path: Path, access: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)  # type: ignore[attr-defined,unused-ignore]  # of Linux
    except FileNotFoundError:
        return
    try:
        rule = _PathBeneath(access=access if path.is_dir() else access & _OF_FILES, fd=fd)
        _checked(_libc().syscall(_ADD_RULE, ruleset_fd, _RULE_PATH_BENEATH, ctypes.byref(rule), 0))
    finally:
        os.close(fd)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Landlock: {os.strerror(number)}")
    return result


GRANTED = (
    "SHOW, SELECT, INSERT, ALTER, DROP, UNDROP TABLE, TRUNCATE, OPTIMIZE, CHECK",
    "KILL QUERY, KILL TRANSACTION, MOVE PARTITION BETWEEN SHARDS",
    "CREATE DATABASE, CREATE TABLE, CREATE VIEW, CREATE FUNCTION",
    "SYSTEM MERGES, SYSTEM TTL MERGES, SYSTEM FLUSH LOGS, SYSTEM DROP CACHE",
)
"""The rights of the engine's one user, on everything."""

TABLE_ENGINES = frozenset({
    "AggregatingMergeTree", "Alias", "Buffer", "CoalescingMergeTree", "CollapsingMergeTree",
    "GenerateRandom", "Join", "Log", "MaterializedView", "Memory", "Merge", "MergeTree", "Null",
    "ReplacingMergeTree", "ReplicatedAggregatingMergeTree", "ReplicatedMergeTree",
    "ReplicatedReplacingMergeTree", "Set", "StripeLog", "SummingMergeTree", "TinyLog",
    "VersionedCollapsingMergeTree", "View",
})  # fmt: skip
"""The table engines that keep their data in the data folder, or have none.

The replicated ones need a Keeper, and no configuration here names one: they are for `EXPLAIN`.
"""

DATABASE_ENGINES = frozenset({"Atomic", "Memory", "Ordinary"})

TABLE_FUNCTIONS = frozenset(
    b"""
    format generate_series generaterandom generateseries loop merge mergetreeanalyzeindexes
    mergetreeanalyzeindexesuuid mergetreecodecblockcounts mergetreeindex mergetreeprojection
    mergetreetextindex null numbers numbers_mt primes sqlstandardvalues values view viewexplain
    viewifpermitted zeros zeros_mt
    """.split()
)
"""The table functions that read tables, or nothing at all, in lower case.

`input()` is not among them: to the library it is always empty, so that an INSERT from it would lose its data.
"""

_SCALAR_FUNCTIONS = frozenset({b"file"})  # reads any file: the library asks for no right
_FIXED_SETTINGS = (
    "allow_experimental_eval_table_function", "allow_introspection_functions", "allow_python_table_function",
    "dialect", "format_avro_schema_registry_url", "format_schema", "format_schema_source",
    "format_template_resultset", "format_template_row", "input_format_record_errors_file_path",
    "merge_tree_disk", "merge_tree_storage_policy", "merge_tree_table_disk",
)  # fmt: skip
"""Settings that name a file or a server, change the language, or run what is in a string."""


_SYSTEM = (
    "/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache",
    "/etc/localtime", "/usr/share/zoneinfo",
    "/dev/urandom", "/dev/random",
    "/proc", "/sys",  # other processes' environment and memory stay closed: they may not be traced
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class RefusedNames:
    """What no statement may name, in lower case: functions of tables and files, engines."""

    functions: frozenset[bytes]
    engines: frozenset[bytes]

    @classmethod
    def of(cls, table_functions: Iterable[str], engines: Iterable[str]) -> Self:
        """All that the engine has, but for what is named here."""
        return cls(
            functions=_lower(table_functions) - TABLE_FUNCTIONS | _SCALAR_FUNCTIONS,
            engines=_lower(engines) - _lower(TABLE_ENGINES | DATABASE_ENGINES),
        )


def _lower(names: Iterable[str]) -> frozenset[bytes]:
    return frozenset(name.lower().encode() for name in names)


def write_config(folder: Path) -> Path:
    """Write the engine's configuration into an empty private folder and return its path."""
    users, config, nothing = folder / "users.xml", folder / "config.xml", folder / "nothing"
    grants = [f"GRANT {rights} ON *.*" for rights in GRANTED]
    grants += [f"GRANT TABLE ENGINE ON {engine}" for engine in sorted(TABLE_ENGINES)]
    queries = "".join(f"<query>{grant}</query>" for grant in grants)
    fixed = "".join(f"<{name}><const/></{name}>" for name in _FIXED_SETTINGS)
    write_private(
        users,
        "<clickhouse>"
        "<profiles><default><allow_python_table_function>0</allow_python_table_function>"
        "<allow_introspection_functions>0</allow_introspection_functions>"
        f"<constraints>{fixed}</constraints></default></profiles>"
        "<quotas><default/></quotas>"
        "<users><default><password/><networks><ip>::/0</ip></networks><profile>default</profile>"
        f"<quota>default</quota><grants>{queries}</grants></default></users>"
        "</clickhouse>\n",
    )
    elsewhere = "".join(
        f"<{name}>{escape(str(nothing))}/</{name}>"
        for name in ("user_files_path", "user_scripts_path", "format_schema_path")
    )
    write_private(
        config,
        f"<clickhouse><users_config>{escape(str(users))}</users_config>{elsewhere}</clickhouse>\n",
    )
    return config


def confine_process(data_dir: Path, scratch: Path) -> bool:
    """Leave the process its data, temporary files and code, before the engine loads; whether it can."""
    code = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    packages = (Path(path) for package in (headrace, streams) for path in package.__path__)
    return confine(
        writable=(data_dir, scratch, Path("/dev/null")),
        readable=(
            *packages,
            *(Path(path) for path in code if path),
            *(Path(path) for path in _SYSTEM),
        ),
    )
