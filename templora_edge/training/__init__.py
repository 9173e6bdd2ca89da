"""Training in a separate process, the sidecar.

Importing this package loads no torch: `client` and `channel` are the parent's half; `worker`,
`trainer` and the rest run in the child (or in a test).
"""
