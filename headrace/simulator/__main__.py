"""`python -m headrace.simulator`: runs the provider simulator until it is stopped."""

import argparse
import json
import os
import sys
from pathlib import Path

from headrace.embedded.data_dir import new_password
from headrace.same_origin import SameOriginOnly
from headrace.simulator.app import PASSWORD_VARIABLE, AddressUnavailable, build_server, create_app, listen
from headrace.simulator.invoice import InvoiceFileError


def main() -> int:
    """Run the simulator; print one JSON line with its address when it listens."""
    options = _parser().parse_args()
    try:
        app = create_app(
            seed=options.seed,
            data_dir=options.data_dir,
            control_password=os.environ.get(PASSWORD_VARIABLE) or new_password(),  # or one that nobody knows
        )
        listener = listen(options.host, options.port)
    except (InvoiceFileError, AddressUnavailable) as error:
        print(f"headrace simulator: {error}", file=sys.stderr)  # noqa: T201  (a command line's output)
        return 1
    host, port = listener.getsockname()[:2]
    print(json.dumps({"simulator": f"http://{host}:{port}"}), flush=True)  # noqa: T201
    build_server(SameOriginOnly(app, options.host_name)).run(sockets=[listener])
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m headrace.simulator",
        description="Answers like the OpenAI and Anthropic APIs; every answer says that it is simulated.",
        epilog=f"The operator's paths need the user control and the password in ${PASSWORD_VARIABLE}.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: a free one)")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of answers and faults (default: %(default)s)"
    )
    parser.add_argument("--data-dir", type=Path, help="folder that keeps the invoice across restarts")
    parser.add_argument(
        "--host-name",
        action="append",
        default=[],
        metavar="NAME",
        help="a name that clients may call it by, besides localhost and its address; repeatable",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
