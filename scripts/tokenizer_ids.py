"""Ids by Hugging Face's `tokenizers` (PyPI, 0.23.3), for src/tokenizer/recorded.test.ts.

    python3 scripts/tokenizer_ids.py                          write test/data/tokenizers/recorded.json
    python3 scripts/tokenizer_ids.py --check                  fail where that file is not what this writes
    python3 scripts/tokenizer_ids.py --many N --seed S FILE   N other cases, for a long comparison
    python3 scripts/tokenizer_ids.py --bases FOLDER …         over vocabularies in FOLDER/NAME/tokenizer.json too

Small vocabularies are trained on the bundled model's excerpts, then every kind of normalizer, pre-tokenizer,
post-processor, decoder, model option and added token is put together at random, and given texts made to be nasty.
"""

import argparse
import json
import pathlib
import random

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "test/data/tokenizers/recorded.json"

CHARACTERS = list("abcXYZ019 '.,!?-_<>|/\\\"$+=^~`#@%&*()[]{}:;") + """
é É é ü ß ẞ ſ K İ ı Σ ς σ ǅ ŉ ﬁ ﬆ Å ½ ² ³ ¹ ¼ ¾ ٣ ० 〇 二 Ⅷ ① 𝟘 𝔘 你 好 ， ！ の カ 한 ไ ท ा क् ع ש 🙂 👩‍👩‍👧
🏳️‍🌈 ‿ ⁀ — … “ ’ « ¿ ₂ € ° ™ ▁ Ġ Ċ ª º ﷺ Ǆ ཱི 가 豈 <|endoftext|> <s> </s> <unk> 's 'S 're 'LL don't the ing Hello 1234 3.14
http:// <special> <lst> <rst> <sw> <norm> <NORM> ## [UNK] <0x0A>""".split() + [
    chr(c) for c in (
        0x0, 0x1, 0x9, 0xA, 0xB, 0xC, 0xD, 0x1C, 0x1F, 0x7F, 0x85, 0xA0, 0xAD, 0x301, 0x327, 0x344, 0x20DD, 0x903, 0x610,
        0x1680, 0x180E, 0x2000, 0x200B, 0x200C, 0x200D, 0x2028, 0x2029, 0x202F, 0x205F, 0x2060, 0x3000, 0xFEFF, 0xE000,
        0xFFFD, 0xFFFF, 0x10FFFF,
    )
] + ["  ", "\r\n", " world"]

PATTERNS = [{"String": text} for text in (" ", "a", ".", "  ")] + [
    {"Regex": text} for text in (
        r"\s+", r"\p{N}", r"\w+", r"[^\w\s]+", r"\d{1,3}", "[0-9][0-9][0-9]", r"[\r\n]", r"\b", "^", "$", ".", "x*",
        "(?=[A-Z])", "[[:punct:]]", "[[:space:]]", "[[:alpha:]]+", r"\p{Han}+", r"[\p{L}&&[^a-z]]", r"\h+",
        "(?i)hello|WORLD", r"(a|b)\1", r"\p{P}|\p{S}", r"\P{L}", r"\S+", r"\W", r"\D+", r"\R", r"(?<!\w)1", r"\A.", r".\z",
        r"\s?[A-Za-zµÀ-ÖØ-öø-ƺ]+", r"\s?[!-/:-~！-／：-～‘-‟　-。]+", "[一-龥ࠀ-一가-퟿]+", r" ?[^(\s|[.,!?…。，、।۔،])]+",
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
        r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    )
]
BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def chance(self, share=0.5):
        return self.random.random() < share

    def one(self, *of):
        return self.random.choice(of)

    def text(self):
        most = self.one(1, 2, 3, 5, 8, 13, 21, 40)
        return "".join(self.one(*CHARACTERS) for _ in range(self.random.randint(0, most)))

    def steps(self, make, key, kind, most=3):
        return {"type": kind, key: [make(True) for _ in range(self.random.randint(1, most))]}

    def scheme(self):
        return {"replacement": self.one("▁", "▁", "_"), "prepend_scheme": self.one("first", "always", "never"), "split": self.chance()}

    def pre_tokenizer(self, inner=False):
        kinds = ["Split"] * 3 + ["ByteLevel", "Whitespace", "WhitespaceSplit", "Punctuation", "Digits", "BertPreTokenizer"]
        kinds += ["CharDelimiterSplit", "Metaspace", "FixedLength"] + ([] if inner else ["Sequence"] * 3)
        kind = self.one(*kinds)
        fields = {
            "Split": lambda: {"pattern": self.one(*PATTERNS), "behavior": self.one(*BEHAVIORS), "invert": self.chance(0.3)},
            "ByteLevel": lambda: {"add_prefix_space": self.chance(), "trim_offsets": True, "use_regex": self.chance(0.6)},
            "Punctuation": lambda: {"behavior": self.one(*BEHAVIORS)},
            "Digits": lambda: {"individual_digits": self.chance()},
            "CharDelimiterSplit": lambda: {"delimiter": self.one("a", " ", ".", "_", "é")},
            "Metaspace": self.scheme,
            "FixedLength": lambda: {"length": self.random.randint(1, 6)},
            "Sequence": lambda: self.steps(self.pre_tokenizer, "pretokenizers", kind),
        }.get(kind, dict)()
        return {"type": kind, **fields}

    def normalizer(self, inner=False):
        kinds = ["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Strip", "StripAccents", "Prepend", "Replace", "Replace"]
        kinds += ["BertNormalizer", "Nmt"] + ([] if inner else ["ByteLevel"] + ["Sequence"] * 3)
        kind = self.one(*kinds)
        fields = {
            "Strip": lambda: {"strip_left": self.chance(), "strip_right": self.chance()},
            "Prepend": lambda: {"prepend": self.one("▁", " ", "xx")},
            "Replace": lambda: {"pattern": self.one(*PATTERNS), "content": self.one("", "▁", " ", "$1", "zz")},
            "BertNormalizer": lambda: {
                "clean_text": self.chance(), "handle_chinese_chars": self.chance(),
                "strip_accents": self.one(True, False, None), "lowercase": self.chance(),
            },
            "Sequence": lambda: self.steps(self.normalizer, "normalizers", kind),
        }.get(kind, dict)()
        return {"type": kind, **fields}

    def decoder(self, inner=False):
        kinds = ["ByteLevel", "WordPiece", "Metaspace", "BPEDecoder", "CTC", "Replace", "Fuse", "Strip", "ByteFallback"]
        kind = self.one(*kinds, *([] if inner else ["Sequence"] * 4))
        fields = {
            "ByteLevel": lambda: {"add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "WordPiece": lambda: {"prefix": "##", "cleanup": self.chance()},
            "Metaspace": self.scheme,
            "BPEDecoder": lambda: {"suffix": self.one("</w>", "e")},
            "CTC": lambda: {"pad_token": self.one("a", "<pad>"), "word_delimiter_token": self.one("|", "b"), "cleanup": self.chance()},
            "Replace": lambda: {"pattern": self.one(*PATTERNS), "content": self.one("", " ", "zz")},
            "Strip": lambda: {"content": self.one(" ", "▁", "a"), "start": self.one(0, 1, 2), "stop": self.one(0, 1, 2)},
            "Sequence": lambda: self.steps(self.decoder, "decoders", kind, 4),
        }.get(kind, dict)()
        return {"type": kind, **fields}

    def post_processor(self, named, inner=False):
        kind = self.one("TemplateProcessing", "TemplateProcessing", "ByteLevel", "BertProcessing", "RobertaProcessing", *([] if inner else ["Sequence"]))
        first, last = self.one(*named), self.one(*named)
        special = lambda pair: {"SpecialToken": {"id": pair[0], "type_id": 0}}
        text = {"Sequence": {"id": "A", "type_id": 0}}
        around = {"sep": [last[0], last[1]], "cls": [first[0], first[1]]}
        fields = {
            "ByteLevel": lambda: {"add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "BertProcessing": lambda: around,
            "RobertaProcessing": lambda: {**around, "trim_offsets": True, "add_prefix_space": self.chance()},
            "TemplateProcessing": lambda: {
                "single": [special(first)] * self.one(0, 1) + [text] + [special(last)] * self.one(0, 1, 2),
                "pair": [text, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {name: {"id": name, "ids": [number], "tokens": [name]} for name, number in (first, last)},
            },
            # Two that add tokens are not defined: the second takes what the first added for a second text.
            "Sequence": lambda: {"processors": [{"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}, self.post_processor(named, True)]},
        }[kind]()
        return {"type": kind, **fields}

    def added(self, first):
        names = ["<special>", "<lst>", "<rst>", "<sw>", "<norm>", "  ", "<spe", "É", "\n", "Hello", "ing"]
        self.random.shuffle(names)
        flags = lambda: {"single_word": self.chance(0.3), "lstrip": self.chance(0.3), "rstrip": self.chance(0.3), "normalized": self.chance(0.4), "special": self.chance()}
        return [{"id": first + i, "content": name, **flags()} for i, name in enumerate(names[: self.random.randint(1, 8)])]

    def options(self, model, unknown):
        if model["type"] == "BPE":
            fields = {"ignore_merges": self.chance(), "fuse_unk": self.chance(), "byte_fallback": self.chance(), "unk_token": unknown}
        elif model["type"] == "Unigram":
            return {"byte_fallback": self.chance()}
        else:
            return {"max_input_chars_per_word": self.one(3, 10, 100)} if model["type"] == "WordPiece" else {}
        return {key: value for key, value in fields.items() if key == "unk_token" or self.chance(0.7)}


def trained():
    """Small vocabularies of every model."""
    files = sorted(str(path) for path in (ROOT / "models/books-6m/excerpts").glob("*.txt"))
    specials = ["<unk>", "<s>", "</s>"]
    letters = ["é", "你", "½", "🙂", "▁", " ", "##a"] + [f"<0x{byte:02X}>" for byte in range(0x100)]
    common = {"vocab_size": 700, "special_tokens": specials + letters, "show_progress": False}
    kinds = {
        "bytes": (models.BPE(), trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **common), pre_tokenizers.ByteLevel()),
        "bpe": (models.BPE(unk_token="<unk>"), trainers.BpeTrainer(**common), pre_tokenizers.Metaspace()),
        "affixes": (
            models.BPE(unk_token="<unk>", continuing_subword_prefix="##", end_of_word_suffix="</w>"),
            trainers.BpeTrainer(continuing_subword_prefix="##", end_of_word_suffix="</w>", **common), pre_tokenizers.Whitespace(),
        ),
        "unigram": (models.Unigram(), trainers.UnigramTrainer(unk_token="<unk>", **common), pre_tokenizers.Metaspace()),
        "pieces": (models.WordPiece(unk_token="<unk>"), trainers.WordPieceTrainer(**common), pre_tokenizers.BertPreTokenizer()),
        "words": (models.WordLevel(unk_token="<unk>"), trainers.WordLevelTrainer(**common), pre_tokenizers.Whitespace()),
    }
    for name, (model, trainer, split) in kinds.items():
        tokenizer = Tokenizer(model)
        tokenizer.pre_tokenizer = split
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.train(files, trainer)
        yield name, {**json.loads(tokenizer.to_str()), "added_tokens": []}


def vocabulary(model):
    return {text: i for i, (text, _) in enumerate(model["vocab"])} if model["type"] == "Unigram" else model["vocab"]


def is_refused(patch):
    """What the engine refuses by name: a Metaspace that looks for the first piece behind spelled bytes."""
    steps = patch.get("pre_tokenizer", {}).get("pretokenizers", [])
    spells = [i for i, step in enumerate(steps) if step["type"] == "ByteLevel"]
    first = [i for i, step in enumerate(steps) if step.get("prepend_scheme") == "first"]
    return bool(spells and first) and max(first) > min(spells)


def case(make, name, base):
    """One tokenizer of random parts; None where Hugging Face's refuses it or fails."""
    patch = {}
    if make.chance(0.7):
        patch["pre_tokenizer"] = make.pre_tokenizer()
    if make.chance(0.5):
        patch["normalizer"] = make.normalizer()
    if make.chance(0.7):
        patch["decoder"] = make.decoder()
    ids = vocabulary(base["model"])
    if make.chance(0.4):
        first = 1 + max([*ids.values(), *(token["id"] for token in base["added_tokens"])])
        patch["added_tokens"] = base["added_tokens"] + make.added(first)
    if make.chance(0.5):
        named = [(text, ids[text]) for text in ("<s>", "</s>", "<unk>", "<|endoftext|>") if text in ids] or [next(iter(ids.items()))]
        patch["post_processor"] = make.post_processor(named)
    unknown = "<unk>" if "<unk>" in ids else next(iter(ids))
    model = make.options(base["model"], unknown) if make.chance(0.4) else {}
    if is_refused(patch):
        return None
    try:
        tokenizer = Tokenizer.from_str(json.dumps({**base, **patch, "model": {**base["model"], **model}}))
        normalized = [tokenizer.normalizer.normalize_str(token["content"]) if tokenizer.normalizer else token["content"] for token in patch.get("added_tokens", base["added_tokens"]) if token["normalized"]]
        if len(set(normalized)) < len(normalized):
            return None  # Which one it is then depends on the order of a table.
        texts = [make.text() for _ in range(10)]
        encoded = [[tokenizer.encode(text, add_special_tokens=special).ids for special in (True, False)] for text in texts]
        top = tokenizer.get_vocab_size()
        given = [[make.random.randrange(top) for _ in range(make.random.randint(0, 12))] for _ in range(6)] + [ids for ids, _ in encoded[:4]]
        decoded = [[tokenizer.decode(ids, skip_special_tokens=skip) for skip in (True, False)] for ids in given]
    except BaseException:  # Its panics are no Exceptions.
        return None
    return {"base": name, "patch": patch, "model": model, "texts": texts, "ids": encoded, "given": given, "decoded": decoded}


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--check", action="store_true")
    arguments.add_argument("--many", type=int, default=100)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--bases")
    arguments.add_argument("file", nargs="?", default=OUTPUT)
    options = arguments.parse_args()
    bases = dict(trained())
    for path in sorted(pathlib.Path(options.bases).glob("*/tokenizer.json")) if options.bases else []:
        bases[str(path)] = json.loads(path.read_text())
    make = Maker(options.seed)
    cases = []
    while len(cases) < options.many:
        name = make.one(*bases)
        cases += filter(None, [case(make, name, bases[name])])
    kept = {name: base for name, base in bases.items() if "/" not in name}
    text = json.dumps({"bases": kept, "cases": cases}, ensure_ascii=True, separators=(",", ":")) + "\n"
    file = pathlib.Path(options.file)
    if options.check:
        raise SystemExit(0 if file.read_text() == text else f"{file} is not what this script writes")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


main()
