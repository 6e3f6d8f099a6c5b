"""Hypotheses on what a faulty module computes, one file for each theme.

A hypothesis is a function from the evidence to candidates: closed forms of the recorded values, the simplest first. A
form that could not compute the reference's own value is never tried on the port's.
"""
