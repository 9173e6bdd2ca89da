"""`python -m templora_edge.sidecar`: the child process."""

from templora_edge.sidecar.worker import main

main()
