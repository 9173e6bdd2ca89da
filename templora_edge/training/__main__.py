"""`python -m templora_edge.training`: the child process."""

from templora_edge.training.worker import main

main()
