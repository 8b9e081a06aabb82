"""Writes blocks.json: random blocks of every quantized type and what the PyPI package gguf decodes them to.

pip install gguf==0.19.0 && python test/data/gguf/blocks.py
"""

import base64
import json
import pathlib

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

# Where each type has its f16 scales: random bits there would often be no number.
SCALES = {
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q8_0": [0],
    "Q2_K": [80, 82],
    "Q3_K": [108],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
    "IQ4_NL": [0],
    "IQ4_XS": [0],
}

random = np.random.default_rng(7)
blocks = 3
golden = {}
for name, places in SCALES.items():
    kind = GGMLQuantizationType[name]
    _, size = GGML_QUANT_SIZES[kind]
    raw = random.integers(0, 256, (blocks, size), dtype=np.uint8)
    for place in places:
        scale = random.normal(0, 0.02, blocks).astype(np.float16)
        raw[:, place : place + 2] = scale.view(np.uint8).reshape(blocks, 2)
    values = quants.dequantize(raw.reshape(1, -1), kind).astype(np.float32).reshape(-1)
    golden[name] = {
        "bytes": base64.b64encode(raw.tobytes()).decode(),
        "values": base64.b64encode(values.tobytes()).decode(),
    }
path = pathlib.Path(__file__).with_suffix(".json")
path.write_text(json.dumps(golden, indent=1) + "\n")
