"""Which deployment a request goes to: smooth weighted round-robin.

{"blue": 90, "green": 10} sends exactly 9 of each 10 requests to blue, and green's comes in their middle, not all in a row.
"""

from __future__ import annotations

from collections.abc import Mapping

from registry.endpoints.errors import InvalidEndpointError

ALL = 100


class Traffic:
    """The shares of an endpoint's deployments, in percent."""

    def __init__(self, shares: Mapping[str, int]) -> None:
        """Take shares as check_traffic lets them through."""
        self.shares = dict(shares)
        self._credit = {name: 0 for name, share in shares.items() if share}

    def pick(self) -> str | None:
        """Return the deployment whose turn it is; None where none has traffic."""
        if not self._credit:
            return None
        for name in self._credit:
            self._credit[name] += self.shares[name]
        chosen = max(self._credit, key=self._credit.__getitem__)
        self._credit[chosen] -= ALL
        return chosen


def check_traffic(shares: Mapping[str, object], deployments: set[str]) -> dict[str, int]:
    """Return shares of deployments that are there, whole numbers which add up to 100, or to 0.

    Raises:
        InvalidEndpointError: they are something else.
    """
    unknown = sorted(set(shares) - deployments)
    if unknown:
        known = ", ".join(sorted(deployments)) or "none"
        raise InvalidEndpointError(
            f"expected traffic to deployments of the endpoint ({known}), found {', '.join(unknown)}; deploy those first"
        )
    for name, share in shares.items():
        if isinstance(share, bool) or not isinstance(share, int) or not 0 <= share <= ALL:
            raise InvalidEndpointError(
                f"expected a whole number from 0 to 100 as the traffic of {name}, found {share!r}; write one"
            )
    whole = {name: share for name, share in shares.items() if isinstance(share, int)}
    if sum(whole.values()) not in (0, ALL):
        raise InvalidEndpointError(
            f"expected traffic that adds up to 100 (or to 0, for none), found {sum(whole.values())}; correct "
            + ", ".join(f"{name}={share}" for name, share in whole.items())
        )
    return whole
