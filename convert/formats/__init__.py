"""File formats. Each reader is an index: it finds where every tensor lies and checks that it lies inside the file.

No reader loads a tensor, imports a framework, or runs anything that a file says: `StoredTensor.read` fetches one
tensor.
"""
