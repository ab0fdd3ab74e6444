"""Every architecture, from a recipe's settings to a folder that loads."""

from pathlib import Path
from typing import Any

import pytest
import torch

from inkstone.checkpoint import load_checkpoint
from inkstone.core.config import parse_config
from inkstone.core.errors import ConfigError, InkstoneError
from inkstone.core.stage import execute
from inkstone.nn.architectures import ARCHITECTURES
from inkstone.nn.models.base import Encoder, EncoderDecoder, Model
from inkstone.tokenizer import Tokenizer
from inkstone.train.config import PretrainConfig
from inkstone.train.learning import build_model, equip, learning_of
from inkstone.train.loop import Loop, pretrain_settings
from inkstone.train.metrics import read_metrics
from inkstone.train.objectives.experts import PretrainExperts
from inkstone.train.optim import OptimizerConfig, build_optimizers
from inkstone.train.stages import pretrain
from tests.train.helpers import TINY, tiny_loop

SIZES: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 1, "qk_norm": True},
    "gpt2": {},
    "mixtral": {"num_experts": 4},
    "lstm": {"embedding_size": 24},
    "bert": {},
    "modernbert": {},
    "t5": {},
    "marian": {},
}
ARCHS = sorted(SIZES)


def settings(arch: str, **changes: Any) -> PretrainConfig:
    heads = {} if arch == "lstm" else {"num_attention_heads": 2}
    model = {"arch": arch, "hidden_size": 32, "num_hidden_layers": 2, **heads, **SIZES[arch]}
    base = TINY | {"model": model, "steps": 24, "eval_every": 12, "eval_tokens": 512, "log_every": 5}
    return PretrainConfig(**base | changes)


def test_every_architecture_is_tested() -> None:
    assert set(ARCHS) == set(ARCHITECTURES)


@pytest.fixture(scope="module", params=ARCHS)
def trained(
    request: pytest.FixtureRequest,
    corpus_folder: Path,
    tokenizer_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The folder of a short run."""
    out = tmp_path_factory.mktemp("scratch") / request.param
    execute(pretrain, settings(request.param), {"corpus": corpus_folder, "tokenizer": tokenizer_folder}, out)
    return out


def test_the_loss_falls_and_the_folder_loads(trained: Path) -> None:
    rows = read_metrics(trained)
    losses = [row["loss"] for row in rows if "loss" in row]
    valid = [row["valid_loss"] for row in rows if "valid_loss" in row]
    assert losses[-1] < 0.9 * losses[0]
    assert valid[-1] < losses[0]
    model, tokenizer = load_checkpoint(trained, device="cpu")
    assert type(model) is ARCHITECTURES[trained.name].build
    assert model.config.vocab_size == tokenizer.vocab_size
    assert model.context == 32
    assert model.num_parameters() == sum(parameter.numel() for parameter in model.parameters())


def test_transformers_opens_it_and_agrees(trained: Path) -> None:
    import transformers

    if trained.name == "lstm":
        with pytest.raises(ValueError, match="lstm"):
            transformers.AutoConfig.from_pretrained(trained)
        return
    auto = dict.fromkeys(("bert", "modernbert"), transformers.AutoModelForMaskedLM).get(
        trained.name,
        transformers.AutoModelForSeq2SeqLM if trained.name in ("t5", "marian") else transformers.AutoModelForCausalLM,
    )
    theirs, loading = auto.from_pretrained(trained, output_loading_info=True, dtype=torch.float32)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    model, tokenizer = load_checkpoint(trained, device="cpu")
    ids = torch.tensor([tokenizer.encode("He who learns but")])
    with torch.inference_mode():
        inputs = (ids, ids.roll(1)) if isinstance(model, EncoderDecoder) else (ids,)
        named = dict(zip(("input_ids", "decoder_input_ids"), inputs, strict=False))
        expected = theirs.eval()(**named).logits
        torch.testing.assert_close(model(*inputs), expected, rtol=0, atol=1e-4)


def test_the_card_says_what_the_model_is_for(trained: Path) -> None:
    card = (trained / "README.md").read_text()
    expected = {
        "lstm": ("library_name: inkstone", "text-generation", "`transformers` has no class"),
        "bert": ("library_name: transformers", "fill-mask", "AutoModelForMaskedLM"),
        "modernbert": ("library_name: transformers", "fill-mask", "AutoModelForMaskedLM"),
        "t5": ("library_name: transformers", "text2text-generation", "AutoModelForSeq2SeqLM"),
        "marian": ("library_name: transformers", "text2text-generation", "AutoModelForSeq2SeqLM"),
    }
    for words in expected.get(trained.name, ("library_name: transformers", "text-generation", "AutoModelForCausalLM")):
        assert words in card
    code = card.split("```python\n")[1].split("```")[0].replace("path/to/this/folder", str(trained))
    exec(compile(code, "card", "exec"), {})


def test_special_tokens_are_added_after_all_others(trained: Path, tokenizer: Tokenizer) -> None:
    saved = Tokenizer.load(trained)
    before = tokenizer.vocab_size
    assert saved.encode_plain("学而不思") == tokenizer.encode_plain("学而不思")
    if trained.name in ("bert", "modernbert"):
        assert saved.special.mask == "<|mask|>"
        assert saved.special_tokens["<|mask|>"] == before
    elif trained.name in ("t5", "marian"):
        # 0.15 · 32 tokens are 5, in 2 spans: a sentinel for each, and one for the text after them.
        added = {name: token for name, token in saved.special_tokens.items() if token >= before}
        assert added == {f"<extra_id_{number}>": before + number for number in range(3)}
    else:
        assert saved.vocab_size == before


def loop_of(config: PretrainConfig, corpus: Path, tokenizer: Tokenizer, out: Path) -> Loop[Any]:
    from inkstone.data.corpus import Corpus
    from inkstone.data.packing import PackedSequences
    from inkstone.data.tokens import tokenize

    tokenizer = equip(tokenizer, config)
    learning = learning_of(config, tokenizer)
    store = tokenize(Corpus(corpus).texts("train"), tokenizer, out / "tokens")
    examples = learning.examples(PackedSequences(store, learning.length, config.seed))
    model = build_model(config, tokenizer)
    return Loop(model, learning.objective, examples, pretrain_settings(config), out, None)


@pytest.mark.parametrize("arch", ARCHS)
def test_a_resumed_run_ends_with_the_same_bits(
    arch: str, corpus_folder: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    changes: dict[str, Any] = {"steps": 8, "checkpoint_every": 5}
    if "dropout" in ARCHITECTURES[arch].keys:
        changes["model"] = settings(arch).model.model_dump(exclude_none=True) | {"dropout": 0.2}
    config = settings(arch, **changes)
    torch.manual_seed(0)
    whole = loop_of(config, corpus_folder, tokenizer, tmp_path / "whole")
    whole.run()
    torch.manual_seed(0)
    broken = loop_of(config, corpus_folder, tokenizer, tmp_path / "broken")
    real = broken.accumulate_gradient

    def dies(start: int) -> tuple[float, int]:
        if start == 6 * 8:
            raise RuntimeError("killed")
        return real(start)

    broken.accumulate_gradient = dies  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="killed"):
        broken.run()
    torch.manual_seed(1)
    resumed = loop_of(config, corpus_folder, tokenizer, tmp_path / "broken")
    assert resumed.state.step == 5
    resumed.run()
    for one, other in zip(whole.parameters, resumed.parameters, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("arch", [arch for arch in ARCHS if arch != "mixtral"])
def test_accumulated_batches_give_the_loss_of_the_large_batch(
    arch: str, corpus_folder: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    losses = []
    for size in (8, 2):
        loop = loop_of(settings(arch, micro_batch_size=size), corpus_folder, tokenizer, tmp_path / str(size))
        losses.append(loop.accumulate_gradient(0)[0])
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


@pytest.mark.parametrize("arch", ARCHS)
def test_muon_gets_the_products_of_the_blocks_and_nothing_else(arch: str, tokenizer: Tokenizer) -> None:
    config = settings(arch)
    model = build_model(config, equip(tokenizer, config))
    muon, adamw = build_optimizers(model, OptimizerConfig(name="muon"))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rotated = {names[id(each)] for group in muon.param_groups for each in group["params"]}
    others = {names[id(each)] for group in adamw.param_groups for each in group["params"]}
    assert rotated | others == set(names.values())
    assert not rotated & others
    parts = ("layers.", ".layer.", "block.", ".h.")
    tables = ("embed", "relative_attention_bias", "shared", "wte", "wpe")
    for name, parameter in model.named_parameters():
        is_product = any(part in name for part in parts) and not any(table in name for table in tables)
        assert (name in rotated) == (is_product and parameter.dim() == 2), name


@pytest.mark.parametrize("arch", ARCHS)
def test_the_dial_alone_gives_a_shape_whose_parameters_grow(arch: str) -> None:
    def size(depth: int) -> int:
        config = PretrainConfig(depth=depth, model={"arch": arch})  # type: ignore[arg-type]
        with torch.device("meta"):
            model: Model = config.architecture.build(config.shape(500, {"decoder_start_token_id": 2}))
        return sum(parameter.numel() for block in model.blocks for parameter in block.parameters())

    # Width and number of blocks both grow with depth.
    assert 5 < size(4) / size(2) < 10


def test_an_unknown_architecture_or_size_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.arch.*'rwkv'"):
        parse_config(PretrainConfig, {"model": {"arch": "rwkv"}}, where="recipe")
    with pytest.raises(ConfigError, match="did you mean 'hidden_size'"):
        parse_config(PretrainConfig, {"model": {"hiden_size": 3}}, where="recipe")


@pytest.mark.parametrize(
    ("arch", "size", "nearest"),
    [
        ("gpt2", {"num_key_value_heads": 2}, "num_attention_heads"),
        ("lstm", {"intermediate_size": 64}, "embedding_size"),
        ("bert", {"rope_theta": 1e4}, "known: "),
        ("llama", {"num_experts": 4}, "known: "),
        ("marian", {"head_dim": 8}, "hidden_size"),
        ("t5", {"num_experts_per_tok": 2}, "known: "),
    ],
)
def test_a_size_of_another_architecture_is_refused(arch: str, size: dict[str, Any], nearest: str) -> None:
    with pytest.raises(ConfigError, match=f"{arch} has no {next(iter(size))}") as caught:
        parse_config(PretrainConfig, {"model": {"arch": arch} | size}, where="recipe")
    assert nearest in str(caught.value)


@pytest.mark.parametrize(
    ("arch", "sizes"),
    [
        ("bert", {"hidden_size": 30, "num_attention_heads": 4}),
        ("marian", {"hidden_size": 33, "num_attention_heads": 1}),
        ("mixtral", {"num_experts": 2, "num_experts_per_tok": 4}),
        ("llama", {"num_key_value_heads": 3, "num_attention_heads": 4}),
    ],
)
def test_sizes_that_do_not_fit_are_refused(arch: str, sizes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"not a multiple|even d_model|is more than"):
        parse_config(PretrainConfig, {"model": {"arch": arch} | sizes}, where="recipe")


def _keys(arch: str, sizes: dict[str, Any]) -> dict[str, Any]:
    config = PretrainConfig(model={"arch": arch} | sizes)  # type: ignore[arg-type]
    return config.shape(99, {"decoder_start_token_id": 2}).model_dump()


def test_sizes_keep_their_meaning_under_the_families_own_names() -> None:
    sizes = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 80}
    t5, marian = (_keys(arch, {"dropout": 0.2} | sizes) for arch in ("t5", "marian"))
    assert [t5[key] for key in ("d_model", "d_kv", "d_ff", "num_layers", "num_decoder_layers", "num_heads")] == [
        48, 12, 80, 3, 3, 4,
    ]  # fmt: skip
    assert (t5["dropout_rate"], t5["n_positions"], t5["decoder_start_token_id"]) == (0.2, 256, 2)
    keys = ("d_model", "encoder_layers", "decoder_layers", "encoder_attention_heads", "decoder_attention_heads")
    assert [marian[key] for key in keys] == [48, 3, 3, 4, 4]
    assert (marian["encoder_ffn_dim"], marian["decoder_ffn_dim"], marian["dropout"]) == (80, 80, 0.2)


def test_only_hidden_tokens_carry_the_loss_of_bert(corpus_folder: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    loop = loop_of(settings("bert"), corpus_folder, tokenizer, tmp_path)
    batch = loop.objective.collate(loop.examples.batch(0, 4))
    assert batch["input_ids"].shape == (4, 32)
    assert loop.objective.num_targets(batch) == 4 * 5
    assert isinstance(loop.model, Encoder)
    logits = loop.model(batch["input_ids"])
    expected = sum(
        torch.nn.functional.cross_entropy(logits[row, position], label)
        for row in range(4)
        for position, label in zip(batch["positions"][row], batch["labels"][row], strict=True)
    )
    torch.testing.assert_close(loop.objective.loss(loop.model, batch)[0], expected)


@pytest.mark.parametrize("arch", ["t5", "marian"])
def test_the_decoder_writes_the_labels_after_its_start_token(
    arch: str, corpus_folder: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    loop = loop_of(settings(arch), corpus_folder, tokenizer, tmp_path)
    batch = loop.objective.collate(loop.examples.batch(0, 3))
    # Of 32 tokens 5 are cut out, in 2 spans; input and labels get 2 sentinels and end with eos.
    assert batch["input_ids"].shape == (3, 27 + 2 + 1)
    assert batch["labels"].shape == (3, 5 + 2 + 1)
    assert (batch["labels"][:, -1] == tokenizer.eos_id).all()
    start = torch.full((3, 1), tokenizer.pad_id)
    logits = loop.model(batch["input_ids"], torch.cat((start, batch["labels"][:, :-1]), dim=1))
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(), reduction="sum")
    torch.testing.assert_close(loop.objective.loss(loop.model, batch)[0], expected)


@pytest.mark.parametrize("arch", ["t5", "marian"])
def test_the_whole_text_can_be_written_back(
    arch: str, corpus_folder: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    changed = settings(arch)
    whole = changed.model_copy(update={"noise": changed.noise.model_copy(update={"restore": "text"})})
    loop = loop_of(whole, corpus_folder, tokenizer, tmp_path)
    batch = loop.objective.collate(loop.examples.batch(0, 3))
    # 31 tokens and the end: as many as the model has positions. In the input 5 of these are cut out, in 2 spans.
    assert batch["labels"].shape == (3, 32)
    assert (batch["labels"][:, -1] == tokenizer.eos_id).all()
    assert batch["input_ids"].shape == (3, 26 + 2 + 1)
    for source, target in zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
        kept = [token for token in source if token < tokenizer.vocab_size - 3]
        rest = iter(target)
        assert all(token in rest for token in kept), "the input is the text with parts left out"
    assert float(loop.objective.loss(loop.model, batch)[0].detach()) > 0


def test_experts_pay_for_being_unequally_busy_in_training_only(
    corpus_folder: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    changes = settings("mixtral").model.model_dump(exclude_none=True) | {"router_aux_loss_coef": 0.5}
    loop = loop_of(settings("mixtral", model=changes), corpus_folder, tokenizer, tmp_path)
    assert isinstance(loop.objective, PretrainExperts)
    batch = loop.objective.collate(loop.examples.batch(0, 2))
    with torch.no_grad():
        for name, parameter in loop.model.named_parameters():
            if "gate" in name:
                parameter.zero_()  # all experts equally probable: E · Σ f_i / E = k
        loop.model.train()
        trained = loop.objective.loss(loop.model, batch)[0]
        loop.model.eval()
        evaluated = loop.objective.loss(loop.model, batch)[0]
    tokens = loop.objective.num_targets(batch)
    assert float(trained - evaluated) == pytest.approx(0.5 * 2 * tokens, rel=1e-3)


@pytest.mark.parametrize("arch", ARCHS)
def test_the_plan_counts_every_architecture(arch: str, tokenizer_folder: Path, tokenizer: Tokenizer) -> None:
    assert pretrain.plan is not None
    config = settings(arch)
    plan = pretrain.plan(config, {"tokenizer": tokenizer_folder})
    assert plan["parameters"] == build_model(config, equip(tokenizer, config)).num_parameters()
    assert plan["memory_bytes"] > 16 * plan["parameters"]
    assert plan["seconds"] > 0


def test_lstm_and_packed_documents_train_like_documents_alone(
    corpus_folder: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    loop = tiny_loop(corpus_folder, tokenizer, tmp_path)
    config = settings("lstm")
    model = build_model(config, tokenizer)
    batch = loop.objective.collate(loop.examples.batch(0, 4))
    assert batch["segment_ids"].max() > 0
    packed = float(loop.objective.loss(model, batch)[0].detach())
    alone = 0.0
    for ids, labels, segments in zip(batch["input_ids"], batch["labels"], batch["segment_ids"], strict=True):
        for segment in segments.unique():
            part = segments == segment
            logits = model(ids[part].unsqueeze(0))[0]
            alone += float(torch.nn.functional.cross_entropy(logits, labels[part], reduction="sum").detach())
    assert packed == pytest.approx(alone, rel=1e-5)


def test_generating_with_an_encoder_is_one_clear_error(trained: Path) -> None:
    from inkstone.checkpoint import load_decoder

    if trained.name in ("bert", "modernbert", "t5", "marian"):
        with pytest.raises(InkstoneError, match=f"a {trained.name} model") as caught:
            load_decoder(trained)
        assert caught.value.remedy
    else:
        assert load_decoder(trained)
