"""Networks of a node: bridges, addresses, published ports, names. Python decides; `stockade-net` and nft act.

The law: values and decisions are pure (`values`, `pools`, `ledger`, `options`, `firewall`, `plan`, `blocking`,
`legacy`, `ends` but for chance); what acts is in `networks`, the face, and `node`, `serve`, `monitor`,
`coming` and `fading`. Every rule is in one table of our own, with no priority ahead of anybody's filter, so that a drop
of the host's holds. Knows neither engine nor images; what containers hold is handed in.
"""

from stockade.networks.networks import Networks
from stockade.networks.values import Endpoint, EndpointWanted, Network, PortBinding, Published

__all__ = ["Endpoint", "EndpointWanted", "Network", "Networks", "PortBinding", "Published"]
