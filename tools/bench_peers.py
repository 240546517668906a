"""Times another engine on the shapes of tools/bench, which runs it.

    bench_peers.py llama.cpp|transformers-fp32|transformers-bf16 --model M --sequences B --prompt-tokens P --tokens N

llama.cpp takes a GGUF file (llama-cpp-python), transformers a folder; of a GGUF file it takes the
folder beside it that `vernier convert` made (FILE.folder). Prints tokens a second, of all that was
drawn and of decoding alone; loading does not count.
"""

import argparse
import json
import os
import random
import time


def report(options, prompt_seconds, seconds):
    drawn = options.sequences * options.tokens
    print(json.dumps({"tokens_per_s": drawn / seconds,
                      "decode_tokens_per_s": options.sequences * (options.tokens - 1) / (seconds - prompt_seconds)}))


def with_transformers(options, dtype):
    import torch
    import transformers

    torch.set_num_threads(os.cpu_count())
    path = options.model + ".folder" if options.model.endswith(".gguf") else options.model
    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=dtype).eval()
    size = model.config.vocab_size
    with torch.inference_mode():
        def draw():
            torch.manual_seed(7)
            start = time.perf_counter()
            ids = torch.randint(size, (options.sequences, options.prompt_tokens))
            cache, prompt = None, 0.0
            for step in range(options.tokens):
                out = model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
                cache = out.past_key_values
                ids = torch.multinomial(out.logits[:, -1].float().softmax(-1), 1)
                if step == 0:
                    prompt = time.perf_counter() - start
            return prompt, time.perf_counter() - start

        options_tokens, options.tokens = options.tokens, 2
        draw()  # warms up
        options.tokens = options_tokens
        report(options, *draw())


def with_llama_cpp(options):
    import llama_cpp as lib

    lib.llama_backend_init()
    model = lib.llama_model_load_from_file(options.model.encode(), lib.llama_model_default_params())
    params = lib.llama_context_default_params()
    room = options.prompt_tokens + options.tokens
    params.n_ctx, params.n_seq_max = options.sequences * room, options.sequences
    params.n_batch = params.n_ubatch = max(512, options.sequences)
    params.n_threads = params.n_threads_batch = os.cpu_count()
    size = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
    rng = random.Random(7)

    def draw(tokens):
        context = lib.llama_init_from_model(model, params)
        batch = lib.llama_batch_init(params.n_batch, 0, 1)

        def add(sequence, position, wanted):
            at = batch.n_tokens
            batch.token[at], batch.pos[at] = rng.randrange(size), position
            batch.n_seq_id[at], batch.seq_id[at][0], batch.logits[at] = 1, sequence, wanted
            batch.n_tokens += 1

        def run():
            if lib.llama_decode(context, batch) != 0:
                raise SystemExit("llama_decode failed")
            batch.n_tokens = 0

        start = time.perf_counter()
        for sequence in range(options.sequences):
            if batch.n_tokens + options.prompt_tokens > params.n_batch:
                run()
            for position in range(options.prompt_tokens):
                add(sequence, position, position == options.prompt_tokens - 1)
        run()
        prompt = time.perf_counter() - start
        for step in range(1, tokens):  # random tokens: no time of a sampler in Python counts
            for sequence in range(options.sequences):
                add(sequence, options.prompt_tokens + step - 1, True)
            run()
        seconds = time.perf_counter() - start
        lib.llama_batch_free(batch)
        lib.llama_free(context)
        return prompt, seconds

    draw(2)
    report(options, *draw(options.tokens))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("peer", choices=("llama.cpp", "transformers-fp32", "transformers-bf16"))
    parser.add_argument("--model", required=True)
    for name in ("--sequences", "--prompt-tokens", "--tokens"):
        parser.add_argument(name, type=int, required=True)
    options = parser.parse_args()
    if options.peer == "llama.cpp":
        with_llama_cpp(options)
    else:
        with_transformers(options, options.peer.removeprefix("transformers-").replace("fp", "float").replace("bf", "bfloat"))


if __name__ == "__main__":
    main()
