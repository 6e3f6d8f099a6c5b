"""Any two modules: implementations that know nothing of our registry, whose names, trees and signatures differ.

`targets` loads them, `configs` makes one small configuration for both, `batches` a batch that both understand;
`align.mapping` finds which weights, modules and edges correspond, and `adapter` lets the harness see the Paddle side
under torch's names. `compare` is the comparison from start to verdict, `command` its command line.
"""
