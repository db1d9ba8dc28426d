"""The report: results read, a scaling law fitted, figures drawn, one page written."""
