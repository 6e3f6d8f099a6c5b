"""What `python -m convert` is made of: options, jobs, their display, the check of a forward pass, reports."""
