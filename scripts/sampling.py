"""What transformers draws from under generation configurations, for src/loaders/generation.test.ts.

    pip install torch transformers
    python3 scripts/sampling.py            write test/data/sampling.json
    python3 scripts/sampling.py --check    fail where that file is not what this writes

A tiny Llama of random weights generates one id after a prompt under each configuration; recorded are its logits, and of
what `generate` makes of them the ids that can be drawn and their probabilities.
"""

import argparse
import json
import pathlib
import random

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

OUTPUT = pathlib.Path(__file__).resolve().parent.parent / "test/data/sampling.json"
VOCABULARY = 48


def configurations(seed):
    rng = random.Random(seed)
    yield {"do_sample": True}
    yield {"do_sample": True, "temperature": 0.6, "top_p": 0.9}
    yield {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05}
    yield {"do_sample": True, "temperature": 1.5, "top_p": 0.5}
    yield {"do_sample": True, "temperature": 0.3, "min_p": 0.1}
    yield {"do_sample": True, "temperature": 2.0, "min_p": 0.2, "top_k": 0}
    for _ in range(18):
        some = {
            "temperature": round(rng.uniform(0.2, 2.5), 2),
            "top_k": rng.choice([0, 1, 3, 10, 40]),
            "top_p": round(rng.uniform(0.05, 1), 2),
            "min_p": round(rng.uniform(0, 0.4), 2),
            "repetition_penalty": round(rng.uniform(0.7, 2), 2),
        }
        yield {"do_sample": True} | {name: value for name, value in some.items() if rng.random() < 0.7}


def record():
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        bos_token_id=None, eos_token_id=None, pad_token_id=0)).eval()
    with torch.no_grad():
        model.lm_head.weight *= 25
    rng = random.Random(1)
    cases = []
    for config in configurations(2):
        prompt = [rng.randrange(VOCABULARY) for _ in range(rng.choice([1, 5, 90]))]
        out = model.generate(
            torch.tensor([prompt]), generation_config=GenerationConfig(**config, pad_token_id=0), max_new_tokens=1,
            output_logits=True, output_scores=True, return_dict_in_generate=True)
        shares = torch.softmax(out.scores[0][0].double(), -1)
        ids = [i for i in shares.argsort(descending=True, stable=True).tolist() if shares[i] > 0]
        cases.append({
            "config": config,
            "before": prompt,
            "logits": [round(x, 5) for x in out.logits[0][0].tolist()],
            "ids": ids,
            "probabilities": [round(shares[i].item(), 6) for i in ids],
        })
    return cases


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--check", action="store_true")
text = "[\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in record()) + "\n]\n"
if parser.parse_args().check:
    assert OUTPUT.read_text() == text, f"{OUTPUT} is not what this writes"
else:
    OUTPUT.write_text(text)
