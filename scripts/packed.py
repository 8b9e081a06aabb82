"""Record what the packages that publish quantized checkpoints pack, and what they unpack it to.

    python -m venv V && V/bin/pip install compressed-tensors safetensors gptqmodel
    V/bin/pip install --no-deps --target OLD compressed-tensors==0.12.2   # the last one that has act-order
    V/bin/pip download --no-deps --no-build-isolation autoawq && tar xzf autoawq-*.tar.gz
    AWQ=autoawq-0.2.9/awq V/bin/python scripts/packed.py test/data/packed
    PYTHONPATH=OLD V/bin/python scripts/packed.py test/data/packed ct-4-order

Each file has one module, `linear`, as the package packs it; `expected` [outputs, inputs], the weight that the package
gives back; and in its metadata the `quantization_config` and what made it. AutoAWQ's own imports ask for a transformers
of its time, so only its linear layer is loaded.
"""

import importlib
import importlib.metadata
import json
import os
import sys
import types

import torch
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.utils import calculate_qparams
from safetensors.torch import save_file

# Of compressed-tensors no multiple of a word's codes; AutoAWQ's packer wants one of 32.
CT_OUTPUTS, GPTQ_OUTPUTS, AWQ_OUTPUTS = 20, 24, 32


def weight(outputs, inputs, dtype):
    generator = torch.Generator().manual_seed(outputs * inputs)
    values = torch.randn(outputs, inputs, generator=generator) * 0.05
    # One group of inputs above 0 alone, so that a zero point is 0.
    values[1, :32] = values[1, :32].abs() + 0.01
    return values.to(dtype)


def save(into, name, tensors, expected, config, made_with):
    tensors = {f"linear.{key}": value.contiguous() for key, value in tensors.items() if value is not None}
    metadata = {"quantization_config": json.dumps(config), "made_with": made_with}
    save_file({**tensors, "expected": expected.contiguous()}, f"{into}/{name}.safetensors", metadata)


def compressed(into, name, inputs, bits, symmetric, group, dtype, packed=True, actorder=None):
    from compressed_tensors.compressors import IntQuantizationCompressor, PackedQuantizationCompressor

    args = QuantizationArgs(
        num_bits=bits,
        type="int",
        symmetric=symmetric,
        strategy="channel" if group is None else "group",
        group_size=group,
        actorder=actorder,
    )
    w = weight(CT_OUTPUTS, inputs, dtype)
    by_group = w.reshape(CT_OUTPUTS, -1, group or inputs)
    scale, zero = calculate_qparams(by_group.amin(-1), by_group.amax(-1), args)
    state = {"weight": w, "weight_scale": scale.to(dtype), "weight_zero_point": zero}
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    compressor = PackedQuantizationCompressor if packed else IntQuantizationCompressor
    stored = compressor.compress(state, scheme)
    expected = compressor.decompress(dict(stored), scheme)["weight"]
    save_compressed(into, name, stored, expected, scheme, packed)


def act_order(into, name, inputs, group):
    """With act-order, which later versions have no more: groups of inputs in an order of their own."""
    from compressed_tensors.compressors import PackedQuantizationCompressor
    from compressed_tensors.compressors.quantized_compressors.pack_quantized import unpack_from_int32
    from compressed_tensors.quantization.lifecycle.forward import dequantize

    args = QuantizationArgs(num_bits=4, type="int", symmetric=True, strategy="group", group_size=group, actorder="group")
    w = weight(CT_OUTPUTS, inputs, torch.float16)
    order = torch.randperm(inputs, generator=torch.Generator().manual_seed(7))
    g_idx = torch.empty(inputs, dtype=torch.int)
    g_idx[order] = torch.arange(inputs, dtype=torch.int) // group
    by_group = w[:, order].reshape(CT_OUTPUTS, -1, group)
    scale, zero = calculate_qparams(by_group.amin(-1), by_group.amax(-1), args)
    scale = scale.half()
    stored = PackedQuantizationCompressor().compress_weight(w, scale, args, zero, g_idx)
    codes = unpack_from_int32(stored["weight_packed"], 4, w.shape)
    expected = dequantize(codes, scale, zero, args, g_idx=g_idx)
    stored = {**stored, "weight_scale": scale, "weight_g_idx": g_idx}
    save_compressed(into, name, stored, expected, QuantizationScheme(targets=["Linear"], weights=args), True)


def save_compressed(into, name, stored, expected, scheme, packed):
    config = {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized" if packed else "int-quantized",
        "quantization_status": "compressed",
        "config_groups": {"group_0": json.loads(scheme.model_dump_json())},
        "ignore": ["lm_head"],
        "kv_cache_scheme": None,
    }
    version = importlib.metadata.version("compressed-tensors")
    save(into, name, stored, expected, config, f"compressed-tensors {version}")


def grid(w, group, bits, symmetric, g_idx):
    """Scales and zero points [outputs, groups] of a weight [outputs, inputs]."""
    groups = int(g_idx.max()) + 1
    top = 2**bits - 1
    low = torch.stack([w[:, g_idx == g].amin(1) for g in range(groups)], 1).clamp(max=0)
    high = torch.stack([w[:, g_idx == g].amax(1) for g in range(groups)], 1).clamp(min=0)
    if symmetric:
        scale = 2 * torch.maximum(-low, high) / top
        zero = torch.full_like(scale, (top + 1) // 2)
    else:
        scale = (high - low) / top
        zero = torch.round(-low / scale)
    return scale.half().float(), zero


def gptq(into, name, bits, symmetric, group, ordered=False, version=2):
    import gptqmodel
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.quantization.config import QuantizeConfig
    from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module

    inputs = 96
    linear = torch.nn.Linear(inputs, GPTQ_OUTPUTS, bias=False)
    linear.weight.data = weight(GPTQ_OUTPUTS, inputs, torch.float32)
    size = inputs if group == -1 else group
    g_idx = torch.arange(inputs) // size
    if ordered:
        g_idx = g_idx[torch.randperm(inputs, generator=torch.Generator().manual_seed(7))]
    scale, zero = grid(linear.weight.data, size, bits, symmetric, g_idx)
    layer = TorchLinear(bits=bits, group_size=group, sym=symmetric, desc_act=ordered, in_features=inputs, out_features=GPTQ_OUTPUTS, register_buffers=True)
    layer.pack_original(linear, scale, zero, g_idx.int())
    layer.post_init()
    expected = layer.dequantize_weight().T.clone()
    if version == 1:
        convert_gptq_v2_to_v1_format_module(layer, QuantizeConfig(bits=bits, group_size=group))
    stored = {key: getattr(layer, key).clone() for key in ("qweight", "qzeros", "scales")}
    stored["g_idx"] = g_idx.int()
    config = {
        "quant_method": "gptq",
        "bits": bits,
        "group_size": group,
        "desc_act": ordered,
        "sym": symmetric,
        "lm_head": False,
        "checkpoint_format": "gptq" if version == 1 else "gptq_v2",
        "pack_dtype": "int32",
        "meta": {"quantizer": [f"gptqmodel:{gptqmodel.__version__}"], "damp_percent": 0.05},
    }
    save(into, name, stored, expected, config, f"gptqmodel {gptqmodel.__version__}")


def awq(into, name, group):
    root = os.environ["AWQ"]
    for package in ("awq", "awq.utils", "awq.modules", "awq.modules.linear"):
        module = types.ModuleType(package)
        module.__path__ = [os.path.join(root, *package.split(".")[1:])]
        sys.modules[package] = module
    gemm = importlib.import_module("awq.modules.linear.gemm")
    unpack = importlib.import_module("awq.utils.packing_utils")

    inputs = 96
    linear = torch.nn.Linear(inputs, AWQ_OUTPUTS, bias=False)
    linear.weight.data = weight(AWQ_OUTPUTS, inputs, torch.float32)
    scale, zero = grid(linear.weight.data, group, 4, False, torch.arange(inputs) // group)
    steps, zeros = scale.repeat_interleave(group, 1), zero.repeat_interleave(group, 1)
    codes = torch.clamp(torch.round(linear.weight.data / steps) + zeros, 0, 15)
    linear.weight.data = ((codes - zeros) * steps).half()
    layer = gemm.WQLinear_GEMM.from_linear(linear, 4, group, scales=scale.T.contiguous().half(), zeros=zero.T.contiguous())
    expected = unpack.dequantize_gemm(layer.qweight, layer.qzeros, layer.scales, 4, group).T
    stored = {key: getattr(layer, key) for key in ("qweight", "qzeros", "scales")}
    config = {
        "quant_method": "awq",
        "bits": 4,
        "group_size": group,
        "zero_point": True,
        "version": "gemm",
        "modules_to_not_convert": None,
    }
    save(into, name, stored, expected, config, "autoawq 0.2.9")


HALF, FULL = torch.float16, torch.float32
CASES = {
    "ct-4-group": lambda *to: compressed(*to, 96, 4, True, 32, HALF),
    "ct-4-group-zeros": lambda *to: compressed(*to, 96, 4, False, 32, FULL),
    "ct-4-static": lambda *to: compressed(*to, 96, 4, False, 32, HALF, actorder="static"),
    "ct-4-channel": lambda *to: compressed(*to, 44, 4, False, None, HALF),
    "ct-8-channel": lambda *to: compressed(*to, 44, 8, True, None, FULL),
    "ct-int-channel": lambda *to: compressed(*to, 44, 8, True, None, HALF, packed=False),
    "ct-int-group-zeros": lambda *to: compressed(*to, 96, 8, False, 32, HALF, packed=False),
    "gptq-v2-zeros": lambda *to: gptq(*to, 4, False, 32),
    "gptq-v1-zeros": lambda *to: gptq(*to, 4, False, 32, version=1),
    "gptq-v1": lambda *to: gptq(*to, 4, True, 32, version=1),
    "gptq-v1-order": lambda *to: gptq(*to, 4, True, 32, ordered=True, version=1),
    "gptq-v1-row": lambda *to: gptq(*to, 4, True, -1, version=1),
    "gptq-8-zeros": lambda *to: gptq(*to, 8, False, 32),
    "awq": lambda *to: awq(*to, 32),
}
# Asked for by name, as it takes another version.
ORDERED = {"ct-4-order": lambda *to: act_order(*to, 96, 32)}


def main(into, *names):
    os.makedirs(into, exist_ok=True)
    for name in names or CASES:
        {**CASES, **ORDERED}[name](into, name)


if __name__ == "__main__":
    main(*sys.argv[1:])
