"""Whatever happens to messages, acks and processes: what the outbox accepted is in the ledger once, or still here."""

from collections.abc import Sequence

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from cloud.ingest.store import Message, Outcome
from tests.unit.ack_protocol import AckProtocol, Crash, DictLedger, Ledger


def test_no_order_of_losses_doubles_crashes_and_wiped_cards_loses_or_doubles_a_batch() -> None:
    run_state_machine_as_test(AckProtocol, settings=settings(max_examples=150, stateful_step_count=40, deadline=None))


@pytest.mark.long
def test_nor_do_thousands_of_orders() -> None:
    run_state_machine_as_test(AckProtocol, settings=settings(max_examples=5_000, stateful_step_count=60, deadline=None))


class TrustsPuback(AckProtocol):
    """A node that deletes what the broker has, as 0001 says one must not."""

    def step(self, later_s: float) -> None:
        super().step(later_s)
        had = [seq for seq, flight in self.uplink._flights.items() if flight.info.is_published()]
        self.box.delete((seq, seq) for seq in had)


class AcksEarly(AckProtocol):
    """A cloud that acknowledges before the commit."""

    def make_ledger(self) -> Ledger:
        class Early(DictLedger):
            def take(self, messages: Sequence[Message], crash: bool) -> Outcome:
                outcome = DictLedger(dict(self.names), self.rows.copy(), set(self.dead)).take(messages, False)
                try:
                    super().take(messages, crash)
                except Crash:
                    pass
                return outcome

        return Early()


class StoresTwice(AckProtocol):
    """A cloud without a ledger."""

    def make_ledger(self) -> Ledger:
        class Forgetful(DictLedger):
            def take(self, messages: Sequence[Message], crash: bool) -> Outcome:
                before, again = list(self.rows), {message.payload for message in messages}
                outcome = super().take(messages, crash)
                self.rows.update(key for key in before if key[1] in again)
                return outcome

        return Forgetful()


@pytest.mark.parametrize("wrong", [TrustsPuback, AcksEarly, StoresTwice])
def test_the_machine_finds_designs_that_are_wrong(wrong: type[AckProtocol]) -> None:
    seldom = settings(
        max_examples=400, stateful_step_count=40, deadline=None, derandomize=True, phases=[Phase.generate]
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(wrong, settings=seldom)
