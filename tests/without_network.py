"""Start the inference server where there is no network but loopback, and ask it; run by test_without_network.

    unshare --map-root-user --net python -m tests.without_network MODEL_DIR BODY

prints one JSON object: what reached the network before, what the server answered, and how many times something tried to
reach another machine meanwhile. What has no route is counted by the kernel, for each network namespace.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
import socket
import struct
import sys
from pathlib import Path

from asset.local.server import SERVING_PYTHON, local_server

SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1
ELSEWHERE = ("192.0.2.1", 443)
"""An address that is for documentation (RFC 5737): nobody's."""


def loopback_up() -> None:
    """Bring up the one interface of a new network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def attempts() -> int:
    """Return how many packets had no route since the namespace was made, of IPv4 and IPv6."""
    names, values = re.findall(r"(?m)^Ip: (.*)$", Path("/proc/net/snmp").read_text(encoding="ascii"))
    counted = dict(zip(names.split(), map(int, values.split()), strict=True))["OutNoRoutes"]
    six = re.search(r"(?m)^Ip6OutNoRoutes\s+(\d+)", Path("/proc/net/snmp6").read_text(encoding="ascii"))
    return counted + (int(six[1]) if six else 0)


def main(model: Path, body: str) -> dict[str, object]:
    """Return what came of it."""
    loopback_up()
    interfaces = [name for _, name in socket.if_nameindex()]
    before = attempts()
    refused = None
    with contextlib.closing(socket.socket()) as out:
        try:
            out.connect(ELSEWHERE)
        except OSError as exc:
            refused = exc.strerror
    counted = attempts() - before
    before = attempts()
    with local_server(model, python=SERVING_PYTHON) as server:
        reply = server.post(body.encode())
    return {
        "interfaces": interfaces,
        "connecting": refused,
        "counted": counted,
        "status": reply.status,
        "answer": json.loads(reply.body),
        "attempts": attempts() - before,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), sys.argv[2])) + "\n")
