"""Power report: a result as JSON and Markdown."""
