"""Neural nets as plain torch modules: no loops, no files, no data."""
