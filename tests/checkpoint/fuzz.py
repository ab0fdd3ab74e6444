"""Damaged model folders, one after another: only our errors may come out, quickly and without large allocations.

    python -m tests.checkpoint.fuzz --cases 20000 --seed 0

prints what was tried and exits with 1 at the first crash, hang or large allocation. Each case damages one file of a
sound folder (random bytes, cut short, bytes and bits changed, JSON keys and values changed, a hostile header, index or
config) and loads it, under a limit of address space and of time.
"""

import argparse
import collections
import copy
import json
import random
import resource
import signal
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from inkstone.checkpoint import load_checkpoint, save_checkpoint
from inkstone.core.errors import InkstoneError
from tests.tiny_models import tiny_model, tiny_tokenizer

SECONDS = 2.0
ADDRESS_SPACE = 2 << 30
"""Bytes that all cases together may map beyond what the process had at the start."""
PEAK_GROWTH = 300 << 20
HUGE: tuple[Any, ...] = (
    *(0, 1, -1, 2, 3, 7, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**63, 2**64, 10**12, 10**30, -(10**12)),
    *(
        0.0,
        0.5,
        -0.5,
        1e-300,
        1e300,
        True,
        False,
        None,
        "",
        "1",
        "auto",
        "float32",
        "../x",
        "\x1b[2J",
        "墨",
        "a" * 5000,
    ),
    *([], [1], [0, 0], {}, {"a": 1}, [[[]]], ["x"], {"rope_type": "default"}, {"rope_type": []}, [10**12, 10**12]),
)
RAW = (
    *(b"NaN", b"Infinity", b"1" * 5000, b"[" * 3000 + b"]" * 3000, b'{"a":' * 3000),
    *(b'"\xff"', b"1e999", b"\x00", b"\xef\xbb\xbf{}"),
)


def damage_json(rng: random.Random, data: bytes) -> bytes:
    """JSON with keys removed, renamed, repeated or given other values, at any depth."""
    value = json.loads(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        _damage_value(rng, value)
    text = json.dumps(value).encode()
    kind = rng.random()
    if kind < 0.1:
        text = text.replace(b"{", b'{"__metadata__": {}, "__metadata__": {}, ', 1)
    elif kind < 0.2:
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice(RAW) + text[at:]
    elif kind < 0.25:
        text = rng.choice(RAW)
    return text


def _damage_value(rng: random.Random, value: Any) -> None:
    """Change one entry of a JSON object or list in place, mostly a leaf."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = rng.choice(keys)
        if isinstance(value[key], dict | list) and value[key] and rng.random() < 0.8:
            value = value[key]
            continue
        break
    kind = rng.random()
    if kind < 0.6:
        value[key] = copy.deepcopy(rng.choice(HUGE))
    elif kind < 0.7 and isinstance(value[key], int) and not isinstance(value[key], bool):
        value[key] += rng.choice((-8, -1, 1, 8, 1 << 20))
    elif kind < 0.85:
        del value[key]
    elif isinstance(value, dict):
        value[rng.choice(("../x", "", str(key) + "x", "model.norm.weight", "auto_map"))] = value.pop(key)
    else:
        value.append(value[key])


def damage_bytes(rng: random.Random, data: bytes) -> bytes:
    """Cut short, prolonged, replaced by noise, or with some bytes, a bit or a block changed."""
    kind = rng.randrange(6)
    if kind == 0:
        return data[: rng.randrange(len(data))]
    if kind == 1:
        return data + rng.randbytes(rng.choice((1, 8, 100)))
    if kind == 2:
        return rng.randbytes(rng.choice((0, 1, 7, 8, 9, 64, 5000)))
    changed = bytearray(data)
    reach = len(changed) if rng.random() < 0.3 else min(len(changed), 4000)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        at = rng.randrange(reach)
        changed[at] = changed[at] ^ (1 << rng.randrange(8)) if kind == 3 else rng.randrange(256)
    if kind == 5:
        first, second = rng.randrange(reach), rng.randrange(reach)
        changed[first : first + 16] = changed[second : second + 16]
    return bytes(changed)


def damage_header(rng: random.Random, data: bytes) -> bytes:
    """A safetensors file with another header, of true or false length."""
    (size,) = struct.unpack("<Q", data[:8])
    header = damage_json(rng, data[8 : 8 + size].rstrip())
    if rng.random() < 0.2:
        lengths = (0, 1, len(header) + 8, len(header) * 2, len(data), 2**31, 2**62, 2**63, 2**64 - 1)
        return struct.pack("<Q", rng.choice(lengths)) + header + data[8 + size :]
    if rng.random() < 0.5:
        header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + data[8 + size :]


DAMAGES: dict[str, list[Callable[[random.Random, bytes], bytes]]] = {
    "config.json": [damage_json, damage_json, damage_json, damage_bytes],
    "model.safetensors": [damage_header, damage_header, damage_header, damage_bytes],
    "model.safetensors.index.json": [damage_json, damage_json, damage_bytes],
    "generation_config.json": [damage_json, damage_bytes],
    "tokenizer_config.json": [damage_json, damage_bytes],
    "tokenizer.json": [damage_json, damage_bytes],
}


class Folders:
    """Sound folders: a Llama in one file and in shards, and tiny models of other families."""

    def __init__(self, root: Path) -> None:
        self.single, self.sharded = root / "single", root / "sharded"
        model, tokenizer = tiny_model(num_key_value_heads=2), tiny_tokenizer()
        save_checkpoint(self.single, model, tokenizer)
        save_checkpoint(self.sharded, model, tokenizer, max_shard_size="40KB")
        self.others = [root / name for name in save_families(root)]
        folders = (self.single, self.sharded, *self.others)
        self.contents = {path: path.read_bytes() for folder in folders for path in folder.iterdir()}

    def choose(self, rng: random.Random) -> tuple[Path, str]:
        """A file to damage, and the kind of damage by the name of a file."""
        kind = rng.choices(list(DAMAGES), (4, 5, 2, 1, 1, 1))[0]
        if kind == "model.safetensors.index.json":
            return self.sharded / kind, kind
        if kind == "model.safetensors" and rng.random() < 0.3:
            return rng.choice(sorted(self.sharded.glob("model-*.safetensors"))), kind
        if kind in ("config.json", "model.safetensors") and rng.random() < 0.6:
            return rng.choice(self.others) / kind, kind
        return self.single / kind, kind


def save_families(root: Path) -> list[str]:
    """Tiny models of `transformers`, each with the tiny tokenizer; returns the folders' names."""
    import transformers as hf

    small = {"vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    decoder = {**small, "intermediate_size": 48, "num_key_value_heads": 2}
    seq2seq = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 40, "decoder_ffn_dim": 40}
    seq2seq |= {"vocab_size": 320, "encoder_attention_heads": 4, "decoder_attention_heads": 4, "pad_token_id": 2}
    models = {
        "gpt2": hf.GPT2LMHeadModel(hf.GPT2Config(vocab_size=320, n_embd=32, n_layer=2, n_head=4)),
        "bert": hf.BertForSequenceClassification(hf.BertConfig(**small, intermediate_size=48)),
        "modernbert": hf.ModernBertForMaskedLM(
            hf.ModernBertConfig(**small, intermediate_size=48, pad_token_id=2, bos_token_id=0, eos_token_id=1)
        ),
        "qwen2": hf.Qwen2ForCausalLM(hf.Qwen2Config(**decoder)),
        "mixtral": hf.MixtralForCausalLM(hf.MixtralConfig(**decoder, num_local_experts=2)),
        "marian": hf.MarianMTModel(hf.MarianConfig(**seq2seq, decoder_start_token_id=2, max_position_embeddings=64)),
        "t5": hf.T5ForConditionalGeneration(
            hf.T5Config(vocab_size=320, d_model=32, d_kv=8, d_ff=40, num_layers=1, num_heads=4)
        ),
    }
    hf.utils.logging.disable_progress_bar()
    for name, model in models.items():
        model.save_pretrained(root / name)
        tiny_tokenizer().save(root / name)
    return list(models)


def fuzz(cases: int, seed: int) -> collections.Counter[str]:
    """Load `cases` damaged folders; returns how often what came out.

    Raises:
        AssertionError: something else than an InkstoneError, more than 2 seconds, or a large allocation.
    """
    rng = random.Random(seed)
    outcomes: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as root:
        folders = Folders(Path(root))
        for folder in (folders.single, folders.sharded, *folders.others):
            load_checkpoint(folder, device="cpu")
        before, limits = _peak(), resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (_mapped() + ADDRESS_SPACE, limits[1]))
        handler = signal.signal(signal.SIGPROF, _too_long)
        slowest = 0.0
        try:
            for number in range(cases):
                file, kind = folders.choose(rng)
                damage = rng.choice(DAMAGES[kind])
                data = damage(rng, folders.contents[file])
                file.write_bytes(data)
                started = time.perf_counter()
                outcome = _load(file, f"case {number} of seed {seed}: {file.name}, {damage.__name__}")
                slowest = max(slowest, time.perf_counter() - started)
                outcomes[f"{kind}: {outcome}"] += 1
                file.write_bytes(folders.contents[file])
        finally:
            signal.signal(signal.SIGPROF, handler)
            resource.setrlimit(resource.RLIMIT_AS, limits)
    growth = _peak() - before
    assert growth < PEAK_GROWTH, f"{growth:,} bytes more were used"
    outcomes["slowest case, ms"], outcomes["peak growth, MB"] = round(slowest * 1000), growth >> 20
    return outcomes


def _load(file: Path, case: str) -> str:
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        load_checkpoint(file.parent, device="cpu")
    except InkstoneError:
        return "refused"
    except BaseException as error:
        raise AssertionError(f"{case}: {type(error).__name__}: {error}") from error
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return "loaded"


def _too_long(_signal: int, _frame: FrameType | None) -> None:
    raise TimeoutError(f"more than {SECONDS} seconds of computing")


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _mapped() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def main() -> None:
    """Parse arguments, fuzz, print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    started = time.monotonic()
    for outcome, count in sorted(fuzz(arguments.cases, arguments.seed).items()):
        print(f"{count:8,}  {outcome}")
    print(f"{arguments.cases:,} cases in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
