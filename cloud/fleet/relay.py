"""The store's key of the day on its way from node to node: passed on as it came, never opened, never kept. Pure."""

from collections.abc import Mapping

from contract.orders import KeyMessage, KeyOffer, KeyWant, Roster, Sibling
from contract.topics import NodeAddress

Sent = tuple[NodeAddress, KeyMessage]
"""A message for a node's `down/…/keys`."""


def relay(sender: NodeAddress, message: KeyMessage, nodes: Mapping[str, bool]) -> list[Sent]:
    """Whom to give a message that came from a node. `nodes`: the names of the sender's store, whether each is online.

    A want goes to every sibling that is online, and its sender learns who they are; an offer goes to the one it is for.
    All of them stand in the sender's own tenant and store, as the broker knows it by its certificate; what the message
    itself says of its sender must be the same. Anything else goes nowhere.
    """
    if sender.node not in nodes:
        return []
    siblings = {name: online for name, online in nodes.items() if name != sender.node}

    def to(name: str) -> NodeAddress:
        return NodeAddress(sender.tenant, sender.store, name)

    match message:
        case KeyWant(node=sender.node):
            present = siblings | {sender.node: True}  # it speaks
            roster = Roster(message.day, tuple(Sibling(name, present[name]) for name in sorted(present)))
            return [(sender, roster), *((to(name), message) for name, online in sorted(siblings.items()) if online)]
        case KeyOffer(node=sender.node) if siblings.get(message.to):
            return [(to(message.to), message)]
        case _:
            return []
