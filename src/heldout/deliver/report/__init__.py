"""Reports: what runs and blends are worth and where they fail, as one HTML file and as Markdown with figures."""
