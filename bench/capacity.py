"""The arithmetic of docs/performance.md: what 10, 1,000 and 100,000 requests/s need, from measured figures.

CPU time a request by process comes from `bench.side_by_side` (over HTTP) or `bench.scaling` (over Kafka),
stored bytes from `bench.scaling` and docs/analytics.md. Nothing here is measured; every assumption is an
option.

    .venv/bin/python -m bench.capacity --kafka-kib 15 --redis-kib 2.5 \
        --cpu-ms worker=12 ingest=3 kafka=1.8 redis=1.4 clickhouse=0.8 analytics=0.4
"""

import argparse
import math
import sys

_PROCESSES = ("worker", "ingest", "kafka", "redis", "clickhouse", "analytics")
#: Of processes that must not be alone, so many at least.
_LEAST = 2
_LEAST_PARTITIONS = 4
_DAY_S = 86_400
_KIB, _GIB, _TIB = 2**10, 2**30, 2**40


def main() -> int:
    """Print a table in Markdown."""
    options = _arguments()
    columns = [_column(rate, options) for rate in options.rates]
    print(f"| | {' | '.join(f'{rate:,}/s' for rate in options.rates)} |\n|{'---|' * (len(columns) + 1)}")
    for title in columns[0]:
        print(f"| {title} | {' | '.join(column[title] for column in columns)} |")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rates", type=int, nargs="+", default=[10, 1000, 100_000], help="requests a second")
    parser.add_argument("--cpu-ms", type=_figure, nargs="+", required=True, metavar="PROCESS=MS")
    parser.add_argument("--kafka-kib", type=float, required=True, help="that Kafka stores of a request, once")
    parser.add_argument("--redis-kib", type=float, required=True, help="that Redis holds of a request")
    parser.add_argument(
        "--clickhouse-bytes", type=float, default=415, help="of a request (docs/analytics.md)"
    )
    parser.add_argument("--topics", type=int, default=11, help="that a request's records lie on")
    parser.add_argument("--utilisation", type=float, default=0.6, help="of a core, so that peaks have room")
    parser.add_argument(
        "--replication", type=int, default=3, help="of Kafka; a follower costs what a leader does"
    )
    parser.add_argument("--broker-cores", type=int, default=8)
    parser.add_argument("--broker-mib-s", type=float, default=150, help="that a broker writes")
    parser.add_argument("--broker-replicas", type=int, default=4000, help="of partitions on a broker")
    parser.add_argument("--vcpu-hour-usd", type=float, default=0.045, help="with its memory")
    return parser.parse_args()


def _figure(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    if name not in _PROCESSES:
        raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(_PROCESSES)}")
    return name, float(value)


def _column(rate: int, options: argparse.Namespace) -> dict[str, str]:
    """Return what a rate needs."""
    cores = {name: rate * ms / 1000 / options.utilisation for name, ms in options.cpu_ms}
    cores["kafka"] *= options.replication
    workers = max(_LEAST, math.ceil(cores["worker"]))
    # One Redis serves a deployment, and runs commands on one core. Topics have fixed names: a Kafka for each.
    deployments = math.ceil(cores["redis"])
    partitions = max(_LEAST_PARTITIONS, 2 ** math.ceil(math.log2(workers / deployments)))
    replicas = partitions * options.topics * options.replication
    written_mib_s = rate * options.kafka_kib * options.replication / _KIB
    brokers = max(
        options.replication,
        math.ceil(cores["kafka"] / deployments / options.broker_cores),
        math.ceil(written_mib_s / deployments / options.broker_mib_s),
        math.ceil(replicas / options.broker_replicas),
    )
    total = sum(cores.values())
    usd = total * options.vcpu_hour_usd / (rate * 3600) * 1e6
    return {
        "cores, at the assumed utilisation": f"{total:,.1f}",
        "worker processes": f"{workers:,}",
        "ingest processes": f"{max(_LEAST, math.ceil(cores['ingest'])):,}",
        "analytics processes": f"{max(_LEAST, math.ceil(cores['analytics'])):,}",
        "deployments, because one Redis runs on one core": f"{deployments:,}",
        "partitions a topic, of each deployment": f"{partitions:,}",
        "brokers of each deployment": f"{brokers:,}",
        "written by Kafka in all, with replicas": f"{written_mib_s:,.1f} MiB/s",
        "Kafka's disks for a day": f"{written_mib_s * _DAY_S / _KIB:,.0f} GiB",
        "Redis, replies kept for a day": f"{rate * options.redis_kib * _KIB * _DAY_S / _GIB:,.1f} GiB",
        "ClickHouse's cores": f"{cores['clickhouse']:,.1f}",
        "ClickHouse's disk for a year": f"{rate * options.clickhouse_bytes * _DAY_S * 365 / _TIB:,.2f} TiB",
        "CPU of a million requests": f"{total * options.utilisation / rate * 1e6 / 3600:,.1f} core hours",
        "a million requests": f"${usd:,.2f}",
    }


if __name__ == "__main__":
    sys.exit(main())
