"""Training, in a process of its own.

Importing this package loads no torch: `process` is the parent's half; `worker`, `trainer` and
`base` run in the child (or in a test).
"""
