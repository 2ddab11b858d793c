"""Generate with vLLM alone, for `benchmarks.teacher`: read requests, print tokens per second.

Command: ``python -m benchmarks.teacher_alone IS_SPREAD BATCH_ROWS``, with a JSON list of pairs (text,
seed) on standard input.
"""

from __future__ import annotations

import json
import sys
import time

from benchmarks.teacher import ENGINE, FIGURE, MODEL, NEW_TOKENS, SPREAD
from kpod_ray.data.prompts import PromptBuilder
from kpod_ray.inference.vllm_engine import cpu_arguments
from kpod_ray.models.sources import model_folder
from kpod_ray.models.student import load_tokenizer


def main() -> None:
    """Generate for the requests on standard input; print the line that starts with `FIGURE`."""
    from vllm import LLM, SamplingParams

    is_spread, batch_rows = bool(int(sys.argv[1])), int(sys.argv[2])
    rows = json.loads(sys.stdin.read())
    folder = model_folder(MODEL)
    llm = LLM(model=folder, **cpu_arguments(ENGINE))
    tokenizer, prompt_builder = load_tokenizer(folder), PromptBuilder("chat")
    started = time.time()
    prompts = [{"prompt_token_ids": prompt_builder.encode(tokenizer, text)} for text, _ in rows]
    parameters = [
        SamplingParams(
            temperature=0,
            max_tokens=SPREAD[seed % len(SPREAD)] if is_spread else NEW_TOKENS,
            ignore_eos=is_spread,
            logprobs=0,
        )
        for _, seed in rows
    ]
    tokens = 0
    for first in range(0, len(rows), batch_rows):
        some = slice(first, first + batch_rows)
        outputs = llm.generate(prompts[some], parameters[some], use_tqdm=False)
        tokens += sum(len(output.outputs[0].token_ids) for output in outputs)
    print(f"{FIGURE}{tokens / (time.time() - started)}", flush=True)


if __name__ == "__main__":
    main()
