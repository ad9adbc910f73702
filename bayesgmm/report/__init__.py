"""One page for one analysis: an HTML file that needs no network, for a reader and for a paper."""

from bayesgmm.report.page import Report, write_report

__all__ = ["Report", "write_report"]
