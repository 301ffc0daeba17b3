"""What a run leaves for people: rows of metrics, the console, tables of results and one offline page."""
