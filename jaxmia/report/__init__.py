"""From numbers to pictures: the table, charts, the page, files."""
