"""Model folders cross to `transformers` and back with equal logits, config and token ids."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers import LlamaConfig as HFLlamaConfig
from transformers import LlamaForCausalLM as HFLlama
from transformers import Qwen3Config as HFQwen3Config
from transformers import Qwen3ForCausalLM as HFQwen3

import inkstone
from inkstone.checkpoint import load_model, save_checkpoint
from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.train import train_bytes_bpe, train_characters
from tests.tiny_models import SHAPES, TEXTS, tiny_model, tiny_tokenizer

IDS = torch.randint(0, 320, (2, 40), generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
def test_transformers_loads_what_is_saved_here(tmp_path: Path, changes: dict[str, object]) -> None:
    model = tiny_model(**changes)
    save_checkpoint(tmp_path, model, tiny_tokenizer())
    oracle, report = AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto", output_loading_info=True)
    assert not any(report.values()), report
    assert isinstance(oracle, HFQwen3 if model.config.qk_norm else HFLlama)
    assert oracle.config.architectures == [type(oracle).__name__]
    assert oracle.dtype == torch.float32
    assert sum(p.numel() for p in oracle.parameters()) == model.config.num_parameters()
    with torch.inference_mode():
        torch.testing.assert_close(model(IDS), oracle(IDS).logits, atol=1e-4, rtol=0)


def test_llama_class_loads_a_llama_folder(tmp_path: Path) -> None:
    model = tiny_model(num_key_value_heads=2)
    save_checkpoint(tmp_path, model, tiny_tokenizer())
    oracle = HFLlama.from_pretrained(tmp_path)
    with torch.inference_mode():
        torch.testing.assert_close(model(IDS), oracle(IDS).logits, atol=1e-4, rtol=0)


def test_auto_tokenizer_gives_the_same_ids(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    save_checkpoint(tmp_path, tiny_model(), tokenizer)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for text in (*TEXTS, "", " ", "a<|im_end|>b"):
        assert theirs(text).input_ids == tokenizer.encode(text)
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id) == (0, 1, 2)


@pytest.mark.parametrize(
    "tokenizer", [train_bytes_bpe(TEXTS, 300), train_characters(TEXTS)], ids=["bytes_bpe", "characters"]
)
def test_tokenizers_trained_here_score_as_in_transformers(tmp_path: Path, tokenizer: Tokenizer) -> None:
    save_checkpoint(tmp_path, tiny_model(max_position_embeddings=256), tokenizer)
    theirs, oracle = AutoTokenizer.from_pretrained(tmp_path), HFLlama.from_pretrained(tmp_path)
    lm = inkstone.load(tmp_path, device="cpu")
    for text in (*TEXTS, "unseen: ü§"):
        ids = theirs(text, return_tensors="pt").input_ids
        with torch.inference_mode():
            logprobs = oracle(ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])
        assert list(lm.score(text).token_ids) == ids[0].tolist()
        assert lm.score(text).logprob == pytest.approx(logprobs.sum().item(), rel=1e-4, abs=1e-4)


def test_generation_config_stops_at_end_of_document_and_of_message(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, tiny_model(), tiny_tokenizer(), generation={"temperature": 0.7})
    config = GenerationConfig.from_pretrained(tmp_path)
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (0, [1, 4], 2)
    assert config.temperature == 0.7
    assert config.do_sample


@pytest.mark.parametrize("theta_key", ["rope_parameters", "rope_theta"])
def test_rope_theta_is_read_from_either_generation_of_config(tmp_path: Path, theta_key: str) -> None:
    model = tiny_model(rope_theta=1234.0)
    save_checkpoint(tmp_path, model, tiny_tokenizer())
    config = json.loads((tmp_path / "config.json").read_text())
    del config["rope_theta" if theta_key == "rope_parameters" else "rope_parameters"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    oracle = HFLlama.from_pretrained(tmp_path)
    with torch.inference_mode():
        ours = load_model(tmp_path, device="cpu")(IDS)
        torch.testing.assert_close(ours, oracle(IDS).logits, atol=1e-4, rtol=0)
        assert torch.equal(ours, model(IDS))


HF_SHAPE = {
    "vocab_size": 320,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}


@pytest.mark.parametrize(
    "config",
    [
        HFLlamaConfig(**HF_SHAPE),
        HFLlamaConfig(**HF_SHAPE, num_key_value_heads=2, tie_word_embeddings=True),
        HFLlamaConfig(**HF_SHAPE, num_key_value_heads=1, head_dim=12, attention_bias=True, rms_norm_eps=1e-2),
        HFLlamaConfig(**HF_SHAPE, rope_parameters={"rope_type": "default", "rope_theta": 777.0}),
        HFQwen3Config(**HF_SHAPE, num_key_value_heads=2, head_dim=16),
        HFQwen3Config(**HF_SHAPE, num_key_value_heads=2, tie_word_embeddings=True, attention_bias=True),
    ],
    ids=["llama", "tied, grouped", "bias, wide heads", "theta", "qwen3", "qwen3 tied, bias"],
)
@pytest.mark.parametrize("shard_size", ["1GB", "20KB"])
def test_models_of_transformers_load_here(tmp_path: Path, config: HFLlamaConfig, shard_size: str) -> None:
    torch.manual_seed(0)
    oracle = (HFQwen3 if isinstance(config, HFQwen3Config) else HFLlama)(config).eval()
    with torch.no_grad():
        for parameter in oracle.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    oracle.save_pretrained(tmp_path, max_shard_size=shard_size)
    assert (tmp_path / "model.safetensors.index.json").exists() == (shard_size == "20KB")
    with torch.inference_mode():
        ours = load_model(tmp_path, device="cpu")(IDS)
        torch.testing.assert_close(ours, oracle(IDS).logits, atol=1e-4, rtol=0)
