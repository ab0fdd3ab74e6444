"""The contenders of `engine.py`: each is built in a process of its own and then does work of a given size."""

import functools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import engine_models


class Work(NamedTuple):
    """Prompts of random tokens that come at the same time, and greedy tokens after each, whatever they are."""

    streams: int
    prompt_tokens: int
    new_tokens: int


Run = Callable[[Work], None]
THREADS = 2
MOST = Work(16, 512, 128)


def prompts(work: Work, vocab_size: int) -> list[list[int]]:
    """Never the same twice in a process, so that no beginning is found again."""
    return [[_DRAWN.randrange(5, vocab_size) for _ in range(work.prompt_tokens)] for _ in range(work.streams)]


_DRAWN = random.Random(0)


def contenders(name: str, folder: Path) -> dict[str, Callable[[], Run]]:
    """What is compared on a model; OpenVINO only in the forms that `engine-peers.txt` says how to make."""
    openvino = {
        f"OpenVINO GenAI {kind}": functools.partial(openvino_genai, name, folder, kind)
        for kind in ("f32", "int8", "int4")
        if (folder / f"{name}.openvino-{kind}").is_dir()
    }
    return {
        **{
            f"inkstone {quant}": functools.partial(inkstone, name, folder, quant)
            for quant in ("float32", "bfloat16", "int8", "int4")
        },
        **{
            f"inkstone, keys and values too, {quant}": functools.partial(inkstone, name, folder, quant, "int8")
            for quant in ("int8", "int4")
        },
        **{f"llama.cpp {kind}": functools.partial(llama_cpp, name, folder, kind) for kind in ("Q8_0", "Q4_0", "BF16")},
        **openvino,
        **{
            f"transformers {kind}": functools.partial(transformers, name, folder, kind)
            for kind in ("float32", "bfloat16")
        },
        "CTranslate2 int8": functools.partial(ctranslate2, name, folder),
    }


def inkstone(name: str, folder: Path, quant: str, kv_cache: str = "auto") -> Run:
    """This package's engine, nothing remembered of earlier prompts."""
    from inkstone.checkpoint import load_decoder
    from inkstone.engine.config import EngineConfig
    from inkstone.engine.offline import complete
    from inkstone.engine.open import open_engine
    from inkstone.engine.request import Request
    from inkstone.nn.sampling_params import SamplingParams

    model, _ = load_decoder(str(folder / name), "cpu", "auto")
    settings = {"quant": quant, "kv_cache": kv_cache, "threads": THREADS, "prefix_reuse": False}
    config = EngineConfig.model_validate(settings | {"max_running": MOST.streams})
    engine = open_engine(model, config)
    vocab_size = model.config.vocab_size

    def run(work: Work) -> None:
        params = SamplingParams(max_new_tokens=work.new_tokens, temperature=0, ignore_eos=True)
        found = complete(engine, [Request(prompt, params) for prompt in prompts(work, vocab_size)])
        assert all(len(one.token_ids) == work.new_tokens for (one,) in found)

    return _warm(run)


def llama_cpp(name: str, folder: Path, kind: str) -> Run:
    """llama.cpp by its own interface: one batch a step, the likeliest token of each."""
    import ctypes

    import llama_cpp as lib
    import numpy as np

    silent = lib.llama_log_callback(lambda *_: None)
    lib.llama_log_set(silent, ctypes.c_void_p())
    lib.llama_backend_init()
    path = engine_models.make_gguf(name, folder, kind)
    model = lib.llama_model_load_from_file(str(path).encode(), lib.llama_model_default_params())
    assert model, f"llama.cpp does not read {path}"
    params = lib.llama_context_default_params()
    params.n_ctx = MOST.streams * 256
    params.n_batch, params.n_ubatch, params.n_seq_max = 2048, 512, MOST.streams
    params.n_threads = params.n_threads_batch = THREADS
    params.kv_unified = True
    context = lib.llama_init_from_model(model, params)
    assert context
    vocab_size = engine_models.MODELS[name]["vocab_size"]
    batch = lib.llama_batch_init(2048, 0, 1)

    def decode(tokens: list[tuple[int, int, int, bool]]) -> None:
        for index, (token, position, sequence, wanted) in enumerate(tokens):
            batch.token[index], batch.pos[index] = token, position
            batch.n_seq_id[index], batch.seq_id[index][0] = 1, sequence
            batch.logits[index] = wanted
        batch.n_tokens = len(tokens)
        assert lib.llama_decode(context, batch) == 0

    def likeliest(index: int) -> int:
        logits = lib.llama_get_logits_ith(context, index)
        return int(np.ctypeslib.as_array(logits, (vocab_size,)).argmax())

    def run(work: Work) -> None:
        lib.llama_memory_clear(lib.llama_get_memory(context), True)
        last = work.prompt_tokens - 1
        rows = [
            (token, position, sequence, position == last)
            for sequence, prompt in enumerate(prompts(work, vocab_size))
            for position, token in enumerate(prompt)
        ]
        assert len(rows) <= 2048
        decode(rows)
        chosen = [likeliest(sequence * work.prompt_tokens + last) for sequence in range(work.streams)]
        for number in range(1, work.new_tokens):
            decode([(token, last + number, sequence, True) for sequence, token in enumerate(chosen)])
            chosen = [likeliest(sequence) for sequence in range(work.streams)]

    run.keep = silent  # type: ignore[attr-defined]
    return _warm(run)


def openvino_genai(name: str, folder: Path, kind: str) -> Run:
    """OpenVINO GenAI with continuous batching, which its pipeline has for one prompt as well as for many."""
    import openvino
    import openvino_genai as genai

    scheduler = genai.SchedulerConfig()
    scheduler.max_num_seqs, scheduler.max_num_batched_tokens = MOST.streams, 2048
    scheduler.enable_prefix_caching = False
    scheduler.cache_size = 1
    out = folder / f"{name}.openvino-{kind}"
    settings = {"INFERENCE_NUM_THREADS": THREADS}
    pipeline = genai.ContinuousBatchingPipeline(str(out), scheduler, "CPU", settings)
    alone = genai.LLMPipeline(str(out), "CPU", **settings)
    vocab_size = engine_models.MODELS[name]["vocab_size"]

    def config(work: Work) -> Any:
        made = genai.GenerationConfig()
        made.max_new_tokens = made.min_new_tokens = work.new_tokens
        made.ignore_eos, made.do_sample = True, False
        return made

    def run(work: Work) -> None:
        given = prompts(work, vocab_size)
        if work.streams == 1:
            alone.generate(openvino.Tensor(_array(given)), config(work))
            return
        inputs = [openvino.Tensor(_array([prompt])) for prompt in given]
        found = pipeline.generate(inputs, [config(work)] * len(inputs))
        assert all(len(each.m_generation_ids[0]) == work.new_tokens for each in found)

    return _warm(run)


def transformers(name: str, folder: Path, dtype: str) -> Run:
    """`generate`, the prompts in one batch."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(THREADS)
    model = AutoModelForCausalLM.from_pretrained(folder / name, dtype=getattr(torch, dtype)).eval()
    model.generation_config.eos_token_id = None
    vocab_size = model.config.vocab_size

    def run(work: Work) -> None:
        input_ids = torch.tensor(prompts(work, vocab_size))
        with torch.inference_mode():
            out = model.generate(
                input_ids,
                attention_mask=torch.ones_like(input_ids),
                do_sample=False,
                max_new_tokens=work.new_tokens,
                pad_token_id=0,
            )
        assert out.shape[1] == work.prompt_tokens + work.new_tokens

    return _warm(run)


def ctranslate2(name: str, folder: Path) -> Run:
    """CTranslate2's generator, the prompts in one batch."""
    import ctranslate2 as lib
    from tokenizers import Tokenizer

    out = engine_models.make_ctranslate2(name, folder)
    generator = lib.Generator(str(out), device="cpu", compute_type="int8", intra_threads=THREADS)
    tokenizer = Tokenizer.from_file(str(folder / name / "tokenizer.json"))
    vocab_size = engine_models.MODELS[name]["vocab_size"]

    def run(work: Work) -> None:
        given = [[tokenizer.id_to_token(token) for token in prompt] for prompt in prompts(work, vocab_size)]
        found = generator.generate_batch(
            given,
            max_length=work.new_tokens,
            min_length=work.new_tokens,
            sampling_topk=1,
            include_prompt_in_result=False,
            end_token=[],
        )
        assert all(len(each.sequences_ids[0]) == work.new_tokens for each in found)

    return _warm(run)


def _array(rows: list[list[int]]) -> Any:
    import numpy as np

    return np.array(rows, dtype=np.int64)


def _warm(run: Run) -> Run:
    """The same, after a little of everything."""
    run(Work(1, 64, 8))
    run(Work(2, 16, 4))
    return run
