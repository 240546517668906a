"""Regenerates tests/cases/step: one optimizer step of eight algorithms on stored rollouts, by PyTorch's
autograd and AdamW through `transformers`, one sequence at a time, without packing.

    golden_step.py --out tests/cases

The environment, Python 3.11 or later:

    python3 -m venv golden-venv
    golden-venv/bin/pip install torch==2.11.0 transformers==5.24.0 numpy

    step/model/                    a Llama of two layers with random weights, fp32
    step/rollouts.jsonl            rollout rows with token fields, as `vernier replay` reads them
    step/NAME/gradient.safetensors of the loss, before clipping
    step/NAME/weights.safetensors  after the step
    step/step.json                 versions, configuration, and of each case its [algo] and loss

A case takes `old`, the log-probabilities that ratios are over, from the model itself ("recompute":
every ratio is 1) or from the rows ("rollout"): these are off the model's on both sides of every clip,
never at a corner. The formulas are those of the papers named beside them; losses and gradients of
sequences are first held to known values. The model computes in fp32, the loss of its log-probabilities in
fp64. All inputs come from fixed seeds.
"""

import argparse
import json
import math
import shutil
from pathlib import Path

import torch
from compare_transformers import save_tokenizer
from golden import aggregate, check, check_authors_batch, drpo_objective, drpo_settings, dump, note, significant, versions, write
from safetensors.torch import save_file
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from transformers.utils.logging import disable_progress_bar

CHARACTERS = "0123456789+-=#? abcdefghijklmnopqrstuvwxy"
MERGES = (("a", "b"),)
END = len(CHARACTERS) + len(MERGES)  # the last token
TEMPERATURE = 0.8
MAX_COMPLETION_LENGTH = 24
OPTIMIZER = {"learning_rate": 1e-6, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0, "grad_clip": 1.0}
# Questions, and for each of their responses its reward: mixed ones, a graded one, all right, all wrong, one right.
PROMPTS = ["12+30-7=?", "sum 4 and 5", "3+3+3+3-10+4=? 12", "9-9=?", "what is 20-1-7 ?", "17+25+8+1=?"]
REWARDS = [[1, 0, 1, 0, 0, 1, 1, 0], [0, 1, 0, 0], [1.2, 1, 0.2, 0, 0.2, 1.2], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 1]]
CORNERS = (0.8, 1.2, 1.28, 5.0, 10.0)  # of a token's ratio, in any of the losses
GSPO = (3e-4, 4e-4)


# ---------------------------------------------------------------- model and rollouts


def make_model(folder):
    save_tokenizer(folder, CHARACTERS, MERGES)
    torch.manual_seed(17)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=END + 1, hidden_size=32, intermediate_size=44, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=64, rms_norm_eps=1e-5, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=END, pad_token_id=None))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            spread = 0.2 if "embed" in name else 0.25
            weight.copy_(1 + 0.2 * torch.randn(weight.shape) if name.endswith("norm.weight") else spread * torch.randn(weight.shape))
    model.save_pretrained(folder)


def load_model(folder):
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")


def logprobs(model, row):
    """Of the response's tokens under logits / temperature, [T] in fp64; the gradient flows through them."""
    prompt, response = row["prompt_ids"], row["response_ids"]
    logits = model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1:-1]
    return (logits / TEMPERATURE).log_softmax(-1)[torch.arange(len(response)), response].double()


@torch.no_grad()
def draw(model, prompt, length, stops):
    """`length` tokens, the last one the end token where the response stops by itself."""
    ids = list(prompt)
    for _ in range(length - stops):
        logits = model(torch.tensor([ids])).logits[0, -1] / TEMPERATURE
        logits[END] = -math.inf
        ids.append(torch.multinomial(logits.softmax(-1), 1).item())
    return ids[len(prompt):] + [END] * stops


def gaps(group, lp):
    """lp - old of a response. In the first group its mean lies inside GSPO's bounds, elsewhere outside; ratios go beyond every corner."""
    gap = 0.15 * torch.randn(len(lp), dtype=torch.float64)
    if group == 0:
        return gap - gap.mean() + 1.5e-4 * (1 if len(lp) % 2 == 0 else -1)
    for place in range(len(lp)):
        if torch.rand(()) < 0.05:
            gap[place] = (1.8, -1.0 if lp[place] < -2 else 1.0, 2.6)[torch.randint(3, (1,)).item()]
    return gap


def recorded(model, rows):
    """Log-probabilities for the rows: off the model's, on average above them, so that DRPO's divergence leaves its trust region."""
    with torch.no_grad():
        current = [logprobs(model, row) for row in rows]
    off = [gaps(row["group"], lp) for row, lp in zip(rows, current)]
    free = [i for i, row in enumerate(rows) if row["group"] > 0]
    shift = (torch.cat(off).sum() + 0.008 * sum(map(len, off))) / sum(len(off[i]) for i in free)
    for i in free:
        off[i] = off[i] - shift
    return [[float(f"{value:.9g}") for value in (lp - gap).float().tolist()] for lp, gap in zip(current, off)]


def check_margins(model, rows):
    """No ratio is so near a corner that rounding could decide; every corner has ratios on both sides."""
    with torch.no_grad():
        off = [logprobs(model, row) - torch.tensor(row["logprobs"], dtype=torch.float64) for row in rows]
    ratios, means = torch.cat(off).exp(), torch.stack([gap.mean() for gap in off])
    check(max(max(row["logprobs"]) for row in rows) < 0, "a recorded log-probability is not below 0")
    for values, corners, margin in ((ratios, CORNERS, 1e-4), (means.exp(), (1 - GSPO[0], 1 + GSPO[1]), 5e-5)):
        for corner in corners:
            check((values / corner - 1).abs().min() > margin, f"a ratio is too near {corner}")
            check(values.min() < corner < values.max(), f"no ratio on one side of {corner}")
    shares = [f"{(ratios > corner).double().mean():.3f} > {corner}" for corner in CORNERS]
    note(f"{len(rows)} responses, {len(ratios)} tokens, ratios: {', '.join(shares)}; K {-torch.cat(off).mean():.6f}")


def make_row(group, sample, prompt, prompt_ids, response, response_ids, stops, reward):
    right, form = reward >= 1, reward % 1 > 0
    return {"id": f"{group}-{sample}", "group": group, "sample": sample, "step": 1, "problem": str(group), "prompt": prompt, "response": response,
            "answer": "0", "prompt_ids": prompt_ids, "response_ids": response_ids, "logprobs_kind": "tempered",
            "finish_reason": "stop" if stops else "length", "num_tokens": len(response_ids), "raw_num_tokens": len(response_ids), "correct": right,
            "versions": [[0, len(response_ids)]], "rewards": {"accuracy": float(right), "format": 0.2 * form}, "reward": reward}


def make_rollouts(folder, path):
    model, tokenizer = load_model(folder), AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(5)
    rows = []
    for group, (prompt, rewards) in enumerate(zip(PROMPTS, REWARDS)):
        prompt_ids = tokenizer.encode(prompt)
        for sample, reward in enumerate(rewards):
            length = torch.randint(1, MAX_COMPLETION_LENGTH + 1, (1,)).item() if sample > 0 else (MAX_COMPLETION_LENGTH, 1)[group % 2]
            stops = length < MAX_COMPLETION_LENGTH
            ids = draw(model, prompt_ids, length, stops)
            rows.append(make_row(group, sample, prompt, prompt_ids, tokenizer.decode(ids, skip_special_tokens=True), ids, stops, reward))
    for row, values in zip(rows, recorded(model, rows)):
        row["logprobs"] = values
    check_margins(model, rows)
    write(path, "".join(json.dumps(row) + "\n" for row in rows))
    return rows


# ---------------------------------------------------------------- credit


def group_normalised(rewards, divide=True):
    """(r - mean) / (std + 1e-6), the std that of a sample; or r - mean. arXiv:2402.03300, arXiv:2503.20783."""
    r = torch.tensor(rewards, dtype=torch.float64)
    centred = r - r.mean()
    return centred / (r.std() + 1e-6) if divide else centred


def leave_one_out(rewards):
    """r less the mean of the others. arXiv:2402.14740."""
    r = torch.tensor(rewards, dtype=torch.float64)
    return r - (r.sum() - r) / (len(rewards) - 1)


# ---------------------------------------------------------------- losses of a token


def clipped(ratio, advantage, low, high, dual=math.inf):
    """max(-A rho, -A clip(rho)); below A = 0 at most -A dual. arXiv:1707.06347, arXiv:2503.14476, arXiv:1912.09729."""
    loss = torch.maximum(-advantage * ratio, -advantage * ratio.clamp(1 - low, 1 + high))
    return loss.clamp(max=-advantage * dual) if advantage < 0 else loss


def ppo(low, high, dual=math.inf):
    return lambda lp, old, advantage: clipped((lp - old).exp(), advantage, low, high, dual)


def gspo(lp, old, advantage):
    """The ratio of the response, exp(mean(lp - old)), at each of its tokens. arXiv:2507.18071."""
    return clipped((lp - old).mean().exp(), advantage, *GSPO).expand(len(lp))


def cispo(lp, old, advantage):
    """-min(rho, 5) A lp with the ratio held constant. arXiv:2506.13585; the cap of arXiv:2510.13786."""
    return -(lp - old).exp().clamp(max=5).detach() * advantage * lp


def policy_loss(name, sequences, groups):
    """The loss of the update. sequences: lp and old of each response; groups: places and rewards of each question's responses."""
    credit, token_loss, how = {
        "grpo": (group_normalised, ppo(0.2, 0.2), "seq-mean-token-mean"),
        "dr_grpo": (lambda r: group_normalised(r, divide=False), ppo(0.2, 0.2), "seq-mean-token-sum"),
        "dapo": (group_normalised, ppo(0.2, 0.28, dual=10), "token-mean"),
        "rloo": (leave_one_out, ppo(0.2, 0.2), "seq-mean-token-sum"),
        "gspo": (group_normalised, gspo, "seq-mean-token-mean"),
        "cispo": (group_normalised, cispo, "token-mean")}[name]
    losses = []
    for places, rewards in groups:
        for place, advantage in zip(places, credit(rewards)):
            losses.append(token_loss(sequences[place]["lp"], sequences[place]["old"], advantage))
    total = aggregate(losses, how)
    return total / MAX_COMPLETION_LENGTH if name == "dr_grpo" else total


# What [algo] says beyond its type, and whose loss that is.
ALGORITHMS = {"grpo": {"loss_aggregation": "seq-mean-token-mean", "beta": 0}, "dr_grpo": {}, "dapo": {}, "rloo": {"beta": 0}, "gspo": {},
              "cispo": {}, "drpo": {}, "disco": {}}


def loss_of(name, sequences, rows):
    groups = [[i for i, row in enumerate(rows) if row["group"] == g] for g in range(len(PROMPTS))]
    if name not in ("drpo", "disco"):
        return policy_loss(name, sequences, [(places, [rows[i]["reward"] for i in places]) for places in groups])
    for sequence, row in zip(sequences, rows):
        sequence["reward"] = int(row["correct"])
    setting = drpo_settings()[0] | {"algo": name, "length_capacity": MAX_COMPLETION_LENGTH}
    return drpo_objective([[sequences[i] for i in places] for places in groups], setting)["loss"]


def check_known():
    """Numbers that the algorithms' own tests hold to: advantages of one group, losses and gradients of one batch."""
    check_authors_batch()
    rewards = [1, 1, 1, 0, 1, 0, 1, 0]
    for values, right, wrong in ((group_normalised(rewards), 0.724567, -1.207612), (group_normalised(rewards, False), 0.375, -0.625),
                                 (leave_one_out(rewards), 0.428571, -0.714286)):
        check(abs(values[0] - right) < 1e-6 and abs(values[3] - wrong) < 1e-6, f"advantages {values}")
    lp = [[-0.5, -1.0, -2.0, -0.1], [-1.5, -0.3], [-0.8, -0.9, -1.1]]
    old = [[-0.7, -0.9, -2.5, -0.25], [-1.0, -0.9], [-0.8, -2.4, -1.0]]
    for loss, how, value, gradient in ((ppo(0.2, 0.2), "seq-mean-token-mean", 0.910708, None), (ppo(0.2, 0.2), "seq-mean-token-sum", 2.141392, None),
                                       (ppo(0.2, 0.2, dual=3), "token-mean", 0.466849, 0.0), (ppo(0.2, 0.28, dual=10), "token-mean", 0.702531, 0.746948),
                                       (gspo, "seq-mean-token-mean", 0.639080, 0.265778), (cispo, "token-mean", -0.504701, 0.746948)):
        tensors = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in lp]
        total = aggregate([loss(x, torch.tensor(o, dtype=torch.float64), a) for x, o, a in zip(tensors, old, (1.0, -0.5, -1.5))], how)
        total.backward()
        check(abs(total.item() - value) < 1e-6, f"loss {total.item()}, known {value}")
        check(gradient is None or abs(tensors[2].grad[1].item() - gradient) < 1e-6, f"gradient {tensors[2].grad[1].item()}, known {gradient}")


# ---------------------------------------------------------------- the step


def step(folder, rows, name, old):
    """Loss, global norm, gradient before clipping and weights after one step, by the names of a checkpoint."""
    model = load_model(folder)
    sequences = [{"lp": logprobs(model, row)} for row in rows]
    for sequence, row in zip(sequences, rows):
        stored = torch.tensor(row["logprobs"], dtype=torch.float32).double()
        sequence["old"] = stored if old == "rollout" else sequence["lp"].detach()
    loss = loss_of(name, sequences, rows)
    loss.backward()
    gradient = {n: p.grad.clone() for n, p in model.named_parameters()}
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), OPTIMIZER["grad_clip"])
    torch.optim.AdamW(model.parameters(), lr=OPTIMIZER["learning_rate"], betas=OPTIMIZER["betas"], eps=OPTIMIZER["eps"],
                      weight_decay=OPTIMIZER["weight_decay"]).step()
    return loss.item(), norm.item(), gradient, {n: p.detach() for n, p in model.named_parameters()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("tests/cases"))
    folder = parser.parse_args().out / "step"
    torch.set_num_threads(1)
    disable_progress_bar()
    check_known()
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "model").mkdir(parents=True)
    make_model(folder / "model")
    rows = make_rollouts(folder / "model", folder / "rollouts.jsonl")
    cases = []
    for name, keys in ALGORITHMS.items():
        for old in ("recompute", "rollout"):
            loss, norm, gradient, weights = step(folder / "model", rows, name, old)
            case = f"{name}-{old}"
            (folder / case).mkdir()
            save_file(gradient, folder / case / "gradient.safetensors")
            save_file(weights, folder / case / "weights.safetensors")
            cases.append({"name": case, "algo": {"type": name} | keys, "old_logprobs": old, "loss": round(loss, 12) + 0.0, "grad_norm": significant(norm, 8)})
            note(f"{case}: loss {loss:.6f}, norm {norm:.6f}")
    write(folder / "step.json", dump({"versions": versions("torch", "transformers", "safetensors"), "temperature": TEMPERATURE,
                                      "max_completion_length": MAX_COMPLETION_LENGTH, "optimizer": OPTIMIZER, "cases": cases}) + "\n")


if __name__ == "__main__":
    main()
