"""Is a data set whole and right? The checks behind `sdmad data check`."""

from sdmad.data.integrity.check import check_data_set
from sdmad.data.integrity.findings import Finding, Report, Verdict

__all__ = ["Finding", "Report", "Verdict", "check_data_set"]
