"""Reports: one JSON with a schema, and its views as HTML, Markdown, SVG and terminal text."""
