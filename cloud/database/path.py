"""Which of the two paths a database is on: plain PostgreSQL, or TimescaleDB."""

from collections.abc import Collection


def on_timescale(applied: Collection[str], licence: str | None) -> bool:
    """Whether the TimescaleDB twins serve a database, by its migrations and the licence of the extension created in it.

    The first twin decides for good. An extension that is created later changes nothing: the other twins would make
    tables anew that hold rows. The Apache edition (licence `apache`) lacks what the twins use.
    """
    if any(file.endswith((".plain.sql", ".timescale.sql")) for file in applied):
        return any(file.endswith(".timescale.sql") for file in applied)
    return licence == "timescale"
