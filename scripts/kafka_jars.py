"""Resolve Kafka's jars anew: `python scripts/kafka_jars.py > headrace/embedded/kafka_jars.lock`.

For a new version, change `KAFKA_VERSION` in `headrace/embedded/jars.py` first.
"""

import hashlib
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jgo.maven import MavenContext
from jgo.parse import Coordinate

from headrace.embedded.jars import KAFKA_VERSION

ROOTS = (
    f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}",
    # Kafka's release archive has this bridge, its POM does not; without it Kafka logs nothing at all.
    "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4",
)


def render_lock() -> str:
    """Resolve `ROOTS`, fetch everything, and return the lock file."""
    with TemporaryDirectory() as folder:
        context = MavenContext(repo_cache=Path(folder))
        found: dict[tuple[str, str], Any] = {}
        for root in ROOTS:
            # One by one: together, the BOM of the second root would choose Kafka's own client jar.
            for artifact in resolve(context, root):
                found.setdefault((artifact.groupId, artifact.artifactId), artifact)
        lines = [f"# {' '.join(ROOTS)}", "# coordinate, size in bytes, SHA-256"]
        for artifact in found.values():
            content = artifact.resolve().read_bytes()
            coordinate = f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}"
            lines.append(f"{coordinate} {len(content)} {hashlib.sha256(content).hexdigest()}")
    return "\n".join(lines) + "\n"


def resolve(context: MavenContext, root: str) -> list[Any]:
    """Return a root's artifact and all that it needs at run time."""
    group, artifact, version = root.split(":")
    wanted = Coordinate(groupId=group, artifactId=artifact, version=version, scope="compile")
    inputs, transitive = context.resolver.resolve([context.create_dependency(wanted)])
    return [each.artifact for each in (*inputs, *transitive) if each.scope in {"compile", "runtime"}]


if __name__ == "__main__":
    sys.stdout.write(render_lock())
