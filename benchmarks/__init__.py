"""Side-by-side benchmarks, each one command; what they print is measured on the machine at hand."""
