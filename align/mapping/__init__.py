"""Which weights, modules and edges of two foreign models correspond.

`side` is what one model is made of; `names` says how alike two names are; `weights` proposes a weight map of `links`,
whose open questions `decide` settles by function; `modules` and `edges` follow from it; `text` prints, saves and reads
a map.
"""
