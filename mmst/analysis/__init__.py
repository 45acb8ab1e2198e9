"""Numbers and pictures of trained networks and their subnets.

One module for each analysis, which a tool of ``tools/analysis_tools`` calls.
"""
