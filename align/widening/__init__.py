"""A float64 run without float32 islands: while it lasts, code that asks for float32 gets float64.

Many published models cast to float32 inside (a softmax, a norm, a table of angles). Two correct implementations then
differ by float32's rounding within the float64 run, which would hide a small fault or look like one. The float32 run
judges such casts as they stand.

One file for each framework; `Backend.widened` reaches them.
"""
