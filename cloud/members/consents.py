"""What a member is asked, word for word; a change of words is a new version in the ledger."""

from cloud.members.models import Purpose

TEXT_VERSION = "2026-11"

TEXTS: dict[Purpose, tuple[str, str]] = {
    "in_store_sensing": (
        "Recognise my phone or tag in the store",
        "While you are in the store we note which areas you visit, from the signal your app or tag sends. Without this "
        "we do not know that it is you. You can end it here at any time; it stops within a second.",
    ),
    "marketing_push": (
        "Send me offers",
        "At most one offer a visit, two a week, never at night. Each one says why you got it.",
    ),
    "profiling": (
        "Choose offers by what I buy",
        "We may use your receipts to choose which offers suit you. Without this you get offers that everyone gets.",
    ),
}
