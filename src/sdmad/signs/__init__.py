"""Sign banks: what each category looks like, in sentences."""

from sdmad.signs.bank import SignBank, list_banks
from sdmad.signs.provenance import Provenance

__all__ = ["Provenance", "SignBank", "list_banks"]
