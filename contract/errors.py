"""What can be wrong with a message: one small tree, its class names are the reasons in dead letters and acks."""


class ContractError(ValueError):
    """A payload or topic that does not follow the contract."""

    @property
    def reason(self) -> str:
        """The name that travels in an ack's `rejected` and stands in `dead_letter.reason`."""
        return type(self).__name__


class BadTopic(ContractError):
    """The topic is not of the form aisle/v1/{up|down|status}/tenant/store/node[/stream]."""


class TooLarge(ContractError):
    """The payload or its row count is over the limit."""


class NotABatch(ContractError):
    """The payload is neither a msgpack batch nor a JSON batch."""


class UnknownVersion(ContractError):
    """The batch's version is not one that this build reads."""


class UnknownKind(ContractError):
    """The batch's kind is not one that this build reads."""


class BadHeader(ContractError):
    """A header field has the wrong type or is out of range."""


class BadColumns(ContractError):
    """Columns are missing, of the wrong length, or hold a value their type cannot."""


class BadRows(ContractError):
    """The rows of a small message do not fit their kind."""
