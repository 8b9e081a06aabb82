"""Trains tiny SentencePiece models on the excerpts of books-6m and writes what they encode to golden.json.

pip install sentencepiece==0.2.3 && python test/data/sentencepiece/train.py
"""

import json
import pathlib
import random

import sentencepiece as spm

here = pathlib.Path(__file__).parent
excerpts = sorted((here / "../../../models/books-6m/excerpts").resolve().glob("*.txt"))
text = "\n".join(path.read_text() for path in excerpts)
lines = [line for line in text.splitlines() if line]
common = {
    "vocab_size": 420,
    "byte_fallback": True,
    "character_coverage": 0.99,
    "num_threads": 1,
    "minloglevel": 2,
}
kinds = {
    # As Llama's: texts as they are, after a space.
    "plain": {
        "model_type": "bpe",
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
    },
    "spaces": {"model_type": "bpe", "normalization_rule_name": "identity"},
    # No space before, and a token that is matched before all else, as Gemma's.
    "symbols": {
        "model_type": "bpe",
        "normalization_rule_name": "identity",
        "add_dummy_prefix": False,
        "remove_extra_whitespaces": False,
        "user_defined_symbols": ["<tool>"],
    },
    "unigram": {"model_type": "unigram", "normalization_rule_name": "identity"},
    # Characters it has not are unknown.
    "unigram-unknown": {
        "model_type": "unigram",
        "normalization_rule_name": "identity",
        "byte_fallback": False,
        "add_dummy_prefix": False,
        "remove_extra_whitespaces": False,
    },
}
for name, options in kinds.items():
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(lines[:2000]), model_prefix=str(here / name), **(common | options)
    )
    (here / f"{name}.vocab").unlink()

random.seed(1)
texts = ["", " ", "   ", "a", " a", "a ", "  two  spaces  ", "\n", "\n\n a\n", "tab\tend", "é🦙", "ﬁ Ⅷ"]
texts += ["x<tool>y", "x <tool> y", "<tool>", "<s>", "<0x41>", "aaaaaaaa", "the the\nthe"]
for _ in range(60):
    start = random.randrange(len(text) - 200)
    texts.append(text[start : start + random.randrange(1, 120)])
for _ in range(60):
    texts.append("".join(random.choices("theranois  .,\nAé", k=random.randrange(1, 40))))
golden = {}
for name in kinds:
    model = spm.SentencePieceProcessor(model_file=str(here / f"{name}.model"))
    golden[name] = [[text, model.encode(text), model.decode(model.encode(text))] for text in texts]
(here / "golden.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n")
