"""One file a step; ``hedgerow.records.upgrade`` runs those that a database lacks."""
