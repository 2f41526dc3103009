"""Command-line tools of the collection: `python -m tools VERB`."""
