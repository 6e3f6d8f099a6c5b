"""From the torch file of a new architecture to what the registry needs of it: `python -m align new`."""
