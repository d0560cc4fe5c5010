"""What a request is called: the id that its client gave it where that is one, else one that is made here.

An id goes into logs and back to the client, and a header can hold anything: so an id is bounded in length and made of
letters, digits and ._:|=+~- (UUIDs, W3C's and .NET's trace ids, those of load balancers). No other text is one, so no
path, address or sentence gets into a log this way.
"""

from __future__ import annotations

import re
import uuid

REQUEST_ID = "x-request-id"
CLIENT_IDS = ("x-ms-client-request-id", "x-ms-request-id")
"""Azure's names for what the client calls the request; the second is the older one."""

LONGEST = 100
"""Letters of an id; the inference server answers a longer one with 431."""

_ID = re.compile(rf"[A-Za-z0-9._:|=+~-]{{1,{LONGEST}}}")
_TRACE = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


def is_id(text: str) -> bool:
    """Tell whether a header's value is an id.

    >>> is_id("4bf92f35-77b3"), is_id("my name is"), is_id("")
    (True, False, False)
    """
    return _ID.fullmatch(text) is not None


def new_id() -> str:
    """Return an id that nothing else has."""
    return str(uuid.uuid4())


def trace_id(traceparent: str) -> str | None:
    """Return the trace that a W3C traceparent header names; None where it is none.

    >>> trace_id("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    '4bf92f3577b34da6a3ce929d0e0e4736'
    """
    found = _TRACE.fullmatch(traceparent)
    return found[1] if found else None
