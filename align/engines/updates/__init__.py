"""Update rules of our own, for a framework that lacks one or whose own deviates from `engines.spec`."""
