"""Long generation as a job: a prompt in, a text and a report out."""

from templora_edge.generation.generate_job import GenerateJob
from templora_edge.generation.generation import Generation
from templora_edge.generation.outputs import Outputs

__all__ = ["GenerateJob", "Generation", "Outputs"]
