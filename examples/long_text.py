"""Write 600 tokens with a context of 256, learning them as the paper does."""

from templora_edge import SamplingOptions, TempLora

PROMPT = "The old house stood at the end of the lane, and"

# TempLora("model.gguf", ...) for your own model; without the preset only given text is learned
with TempLora(n_ctx=256, block_len=64, preset="paper") as text:
    sampling = SamplingOptions(temperature=0.8, seed=1, ignore_eos=True)
    story = "".join(piece.text for piece in text.generate(PROMPT, n_predict=600, sampling=sampling))
    print(PROMPT + story)
    for block in text.blocks:
        if block.loss_before is not None and block.loss_after is not None:
            print(f"block {block.index}: loss {block.loss_before:.2f} -> {block.loss_after:.2f}")
    print(f"perplexity of the prompt, if it came next: {text.score(PROMPT).ppl:.1f}")
