"""Is a data set whole and right? The checks behind `sdmad data check`."""

from sdmad.data.integrity.check import check_data_set
from sdmad.data.integrity.problems import Problem, Report, Verdict

__all__ = ["Problem", "Report", "Verdict", "check_data_set"]
