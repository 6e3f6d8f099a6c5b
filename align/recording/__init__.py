"""Recording and comparing apart: files of arrays from elsewhere, and recordings of what one side of a case did."""
