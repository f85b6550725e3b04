"""The report of runs and blends, section by section: one HTML page, and Markdown with figures."""
