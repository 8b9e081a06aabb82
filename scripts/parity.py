"""Tiny checkpoints with outputs of Hugging Face transformers, for what those of shared origin leave out.

    pip install torch transformers safetensors numpy
    python scripts/parity.py test/data/parity [NAME...]

Each folder holds a random model (seeded) in the layout that people have, and what transformers makes of
it in f32: `golden.safetensors` with logits, hidden states and 40 greedy ids, `masked.safetensors` with
logits where only some neurons and heads, by layer and token, contribute; keys and values are exact.
"""

import json
import re
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

V, E, F, L, H = 331, 48, 144, 3, 6
QWEN = dict(
    hidden_size=E, intermediate_size=F, num_hidden_layers=L, num_attention_heads=H,
    num_key_value_heads=2, vocab_size=V, max_position_embeddings=128, head_dim=8,
    hidden_act="relu", tie_word_embeddings=True,
)
FALCON = dict(
    hidden_size=E, ffn_hidden_size=F, num_hidden_layers=L, num_attention_heads=H, vocab_size=V,
    max_position_embeddings=128, activation="relu",
)

# name: configuration, how attention is computed, where blocks, heads' inputs and neurons lie, published names
CASES = {
    "bloom-post-norm": dict(
        config=dict(model_type="bloom", hidden_size=E, n_layer=L, n_head=H, vocab_size=V,
                    apply_residual_connection_post_layernorm=True),
        sites=("transformer.h", "self_attention.dense", "mlp.dense_4h_to_h"),
        rename={"hidden_size": "n_embed", "n_head": "num_attention_heads"}, strip="transformer.",
    ),
    "falcon-one-norm": dict(
        config=dict(model_type="falcon", new_decoder_architecture=True, num_kv_heads=3,
                    num_ln_in_parallel_attn=1, bias=True, **FALCON),
        sites=("transformer.h", "self_attention.dense", "mlp.dense_4h_to_h"),
    ),
    "falcon-rw-fused": dict(
        config=dict(model_type="falcon", alibi=True, multi_query=False, parallel_attn=False,
                    bias=True, **FALCON),
        attention="sdpa",
        sites=("transformer.h", "self_attention.dense", "mlp.dense_4h_to_h"),
    ),
    "gpt2-scaled": dict(
        config=dict(model_type="gpt2", n_embd=E, n_layer=L, n_head=H, n_positions=128, vocab_size=V,
                    scale_attn_by_inverse_layer_idx=True, reorder_and_upcast_attn=True,
                    activation_function="relu", bos_token_id=0, eos_token_id=0),
        sites=("transformer.h", "attn.c_proj", "mlp.c_proj"), strip="transformer.",
    ),
    "mpt-clip": dict(
        config=dict(model_type="mpt", d_model=E, n_layers=L, n_heads=H, max_seq_len=128, vocab_size=V,
                    attn_config=dict(clip_qkv=0.8, softmax_scale=0.5)),
        sites=("transformer.blocks", "attn.out_proj", "ffn.down_proj"),
    ),
    # What llm-foundry computes and transformers reads over.
    "mpt-foundry": dict(
        config=dict(model_type="mpt", d_model=E, n_layers=L, n_heads=H, max_seq_len=128, vocab_size=V),
        foundry=dict(clip_qkv=1.5, qk_ln=True, alibi_bias_max=16),
        sites=("transformer.blocks", "attn.out_proj", "ffn.down_proj"),
    ),
    "qwen2-windows": dict(
        config=dict(model_type="qwen2", use_sliding_window=True, sliding_window=7, max_window_layers=1,
                    **{k: v for k, v in QWEN.items() if k != "head_dim"}),
        sites=("model.layers", "self_attn.o_proj", "mlp.down_proj"),
    ),
    "qwen3-windows": dict(
        config=dict(model_type="qwen3", use_sliding_window=True, sliding_window=5,
                    layer_types=["sliding_attention", "full_attention", "sliding_attention"], **QWEN),
        sites=("model.layers", "self_attn.o_proj", "mlp.down_proj"),
    ),
}


class Foundry(torch.nn.Module):
    """MPT's fused projection with a bias, then clipping, then norms of queries and keys."""

    def __init__(self, linear, clip):
        super().__init__()
        self.linear, self.clip = linear, clip
        self.q_ln, self.k_ln = torch.nn.LayerNorm(E), torch.nn.LayerNorm(E)

    def forward(self, x):
        q, k, v = self.linear(x).clamp(-self.clip, self.clip).chunk(3, dim=-1)
        return torch.cat([self.q_ln(q), self.k_ln(k), v], dim=-1)


def to_foundry(model, clip_qkv, alibi_bias_max, **_):
    """Let a MPT model of transformers compute what llm-foundry does: biases, q and k norms, steeper ALiBi."""
    bias = lambda size: torch.nn.Parameter(torch.empty(size))
    body = model.transformer
    alibi = body.build_mpt_alibi_tensor
    body.build_mpt_alibi_tensor = lambda *a, **more: alibi(*a, alibi_bias_max=alibi_bias_max, **more)
    body.norm_f.bias = bias(E)
    for block in body.blocks:
        for norm in (block.norm_1, block.norm_2):
            norm.bias = bias(E)
        for linear in (block.attn.Wqkv, block.attn.out_proj, block.ffn.up_proj, block.ffn.down_proj):
            linear.bias = bias(linear.out_features)
        block.attn.Wqkv = Foundry(block.attn.Wqkv, clip_qkv)


def build(case, seed):
    torch.manual_seed(seed)
    config = AutoConfig.for_model(**case["config"])
    implementation = case.get("attention", "eager")
    model = AutoModelForCausalLM.from_config(config, attn_implementation=implementation).float().eval()
    if case.get("foundry"):
        to_foundry(model, **case["foundry"])
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() == 2:
                embedding = any(part in name for part in ("embed", "wte", "wpe"))
                p.normal_(0, 1 if embedding else 1.5 / p.shape[1] ** 0.5)
            else:
                p.normal_(0 if name.endswith("bias") else 1, 0.2)
    return model


def greedy(model, ids):
    margins, out, text = [], [], ids.tolist()
    for _ in range(40):
        logits = model(torch.tensor([text])).logits[0, -1]
        first, second = logits.topk(2).values.tolist()
        margins.append((first - second) / (logits.max() - logits.min()).item())
        out.append(int(logits.argmax()))
        text.append(out[-1])
    return torch.tensor(out, dtype=torch.int32), min(margins)


def masked(model, case, ids):
    blocks, heads_at, neurons_at = case["sites"]
    T = len(ids)
    hooks, heads, neurons = [], [], []
    for block in model.get_submodule(blocks):
        for at, found, count in ((heads_at, heads, H), (neurons_at, neurons, None)):
            module = block.get_submodule(at)
            width = getattr(module, "in_features", None) or module.weight.shape[0]
            mask = torch.rand(T, count or width) < 0.6
            found.append(mask)
            spread = mask.repeat_interleave(width // mask.shape[1], dim=1)

            def cut(_, args, spread=spread):
                return (args[0] * spread, *args[1:])

            hooks.append(module.register_forward_pre_hook(cut))
    logits = model(ids[None]).logits[0]
    for hook in hooks:
        hook.remove()
    byte = lambda masks: torch.stack(masks).to(torch.uint8)
    return dict(heads=byte(heads), neurons=byte(neurons), logits=logits.contiguous())


@torch.no_grad()
def write(folder, name, case):
    seed = next(s for s in range(1000, 2000) if greedy(build(case, s), prompt(s))[1] > 1e-3)
    model, ids = build(case, seed), prompt(seed)
    out = model(ids[None], output_hidden_states=True)
    path = folder / name
    path.mkdir(parents=True, exist_ok=True)
    golden = dict(input_ids=ids.int(), logits=out.logits[0], greedy_ids=greedy(model, ids)[0])
    golden |= {f"hidden.{i}": h[0] for i, h in enumerate(out.hidden_states)}
    save_file({k: v.contiguous() for k, v in golden.items()}, path / "golden.safetensors")
    save_file(masked(model, case, ids), path / "masked.safetensors")

    model.save_pretrained(path)
    (path / "generation_config.json").unlink(missing_ok=True)
    strip, tensors = case.get("strip", ""), {}
    for key, tensor in model.state_dict().items():
        key = key.removeprefix(strip).replace("Wqkv.linear", "Wqkv")
        if not key.startswith("lm_head"):
            tensors[re.sub(r"Wqkv\.(._ln)", r"\1", key)] = tensor.contiguous()
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((path / "config.json").read_text())
    if foundry := case.get("foundry"):
        config |= dict(no_bias=False, attn_config=foundry)
    config = {case.get("rename", {}).get(k, k): v for k, v in config.items()}
    if case.get("attention"):
        config["attn_implementation"] = case["attention"]
    (path / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    print(name, "seed", seed, sum(f.stat().st_size for f in path.iterdir()), "bytes")


def prompt(seed):
    return torch.randint(3, V, (26,), generator=torch.Generator().manual_seed(seed))


if __name__ == "__main__":
    target, *names = sys.argv[1:]
    for name in names or CASES:
        write(Path(target), name, CASES[name])
