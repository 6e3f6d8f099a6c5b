"""The kinds of bug, one file for each stage that must find them. Each file has `mutations(site)`."""
