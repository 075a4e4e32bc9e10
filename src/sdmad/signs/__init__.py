"""Sign banks: what each category looks like, in sentences."""

from sdmad.signs.bank import SignBank, list_banks

__all__ = ["SignBank", "list_banks"]
