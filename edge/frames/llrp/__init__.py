"""LLRP, the Low Level Reader Protocol of networked RFID readers (EPCglobal 1.0.1 and 1.1): bytes to values and back.

`tables` says what each message and parameter holds, `codec` reads and writes them, `view` tells them as JSON, `reports`
is the fast way for tag reports, `orders` makes what a node asks of a reader, `instants` puts a reader's time on ours.
"""
