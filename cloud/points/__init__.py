"""The points ledger: what members earn, hold, spend and lose, exact to the unit; nothing else writes it."""
