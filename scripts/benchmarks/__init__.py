"""What Temp-LoRA gains: experiments, and the tables in docs/results made from them."""
