"""The comparison of methods: from the runs of sweeps to figures, as JSON, SVG and Markdown.

Each figure is a JSON object, made of the runs and of nothing else (`figures`); plot and page are
functions of it (`line_plot`, `page`).
"""
