"""Recomputed layers give what the model's own give, outputs and gradients, and keep less."""

import pytest
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm

from kpod_ray.config import LoraConfig
from kpod_ray.data.batches import collate
from kpod_ray.kernels.recomputed_embedding import RecomputedEmbedding, output_head
from kpod_ray.kernels.recomputed_layers import (
    RecomputedGatedMlp,
    RecomputedNorm,
    Scratch,
    use_recomputed_layers,
)
from kpod_ray.models.packing import use_packing
from kpod_ray.models.student import load_student
from kpod_ray.training.build import add_adapters

WIDTH, INNER = 12, 20
SMALL = {
    "vocab_size": 300,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


@pytest.fixture
def mlp():
    torch.manual_seed(0)
    config = LlamaConfig(hidden_size=WIDTH, intermediate_size=INNER, num_attention_heads=1)
    return LlamaMLP(config)


@pytest.fixture
def norm():
    torch.manual_seed(1)
    norm = LlamaRMSNorm(WIDTH, eps=1e-3)
    nn.init.normal_(norm.weight)
    return norm


def recomputed_mlp(mlp):
    return RecomputedGatedMlp(mlp.gate_proj, mlp.up_proj, mlp.down_proj, Scratch())


def gradients(module, x):
    wanted = [p for p in (x, *module.parameters()) if p.requires_grad]
    return torch.autograd.grad((module(x) ** 2).sum(), wanted)


@pytest.mark.parametrize("shape", [(5, WIDTH), (2, 3, WIDTH), (0, WIDTH)])
def test_a_recomputed_norm_is_the_norm(norm, shape):
    recomputed, x = RecomputedNorm(norm.weight, 1e-3), torch.randn(shape, requires_grad=True)
    torch.testing.assert_close(recomputed(x), norm(x))
    for ours, theirs in zip(gradients(recomputed, x), gradients(norm, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_recomputed_norm_by_hand():
    # (3, 4): the mean square is 12.5; with epsilon 12.5 the root of 25 is 5.
    recomputed = RecomputedNorm(nn.Parameter(torch.tensor([1.0, 10.0])), 12.5)
    torch.testing.assert_close(recomputed(torch.tensor([3.0, 4.0])), torch.tensor([0.6, 8.0]))


@pytest.mark.parametrize("shape", [(5, WIDTH), (2, 3, WIDTH)])
@pytest.mark.parametrize("is_frozen", [False, True])
def test_a_recomputed_mlp_is_the_mlp(mlp, shape, is_frozen):
    mlp.requires_grad_(not is_frozen)
    x = torch.randn(shape, requires_grad=True)
    recomputed = recomputed_mlp(mlp)
    torch.testing.assert_close(recomputed(x), mlp(x))
    for ours, theirs in zip(gradients(recomputed, x), gradients(mlp, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_both_together_are_exact(mlp, norm):
    x = torch.randn(3, WIDTH, dtype=torch.float64, requires_grad=True)
    reference = nn.RMSNorm(WIDTH, eps=1e-3)  # unlike Llama's, it calculates in float64
    reference.weight = norm.weight
    plain = nn.Sequential(reference, mlp).double()
    recomputed = nn.Sequential(RecomputedNorm(norm.weight, 1e-3), recomputed_mlp(mlp))
    for ours, theirs in zip(gradients(recomputed, x), gradients(plain, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_a_second_backward_pass_is_refused(mlp):
    loss = recomputed_mlp(mlp)(torch.randn(3, WIDTH, requires_grad=True)).sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="supports one backward pass"):
        loss.backward()


class Storages(TorchDispatchMode):
    """Notes the memory of all that operations return."""

    def __init__(self):
        super().__init__()
        self.noted = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple) else (result,):
            storage = tensor.untyped_storage()
            self.noted[storage.data_ptr()] = StorageWeakRef(storage), storage.nbytes() // 4
        return result

    def kept_sizes(self):
        """The sizes of those that still live."""
        return sorted(size for reference, size in self.noted.values() if not reference.expired())


def kept_sizes(module, x):
    with Storages() as storages:
        output = module(x)
    assert output.requires_grad
    return storages.kept_sizes()


def test_the_product_and_the_normalised_are_not_kept(mlp, norm):
    x = torch.randn(7, WIDTH, requires_grad=True)
    scale, outer, inner = 7, 7 * WIDTH, 7 * INNER
    whole = kept_sizes(nn.Sequential(norm, mlp), x)
    recomputed = kept_sizes(
        nn.Sequential(RecomputedNorm(norm.weight, 1e-3), recomputed_mlp(mlp)), x
    )
    assert (whole.count(scale), recomputed.count(scale)) == (1, 1)
    # The normalised with and without the weight, and the output; then the input, and the output.
    assert (whole.count(outer), recomputed.count(outer)) == (3, 2)
    # One of the three is the scratch memory, which all layers share.
    assert (whole.count(inner), recomputed.count(inner)) == (4, 3)


def test_nor_are_copies_of_the_normalised_under_autocast(mlp, norm):
    x = torch.randn(7, WIDTH, requires_grad=True)
    recomputed = nn.Sequential(RecomputedNorm(norm.weight, 1e-3), recomputed_mlp(mlp))
    half_as_large = 7 * WIDTH // 2
    with torch.autocast("cpu", torch.bfloat16):
        assert recomputed[0](x).dtype == torch.bfloat16
        torch.testing.assert_close(recomputed[0](x), norm(x).bfloat16())
        # A copy for each of two linear layers, and the output; then the output.
        assert kept_sizes(nn.Sequential(norm, mlp), x).count(half_as_large) == 3
        assert kept_sizes(recomputed, x).count(half_as_large) == 1


def names(student):
    return [name for name, _ in student.named_parameters()]


def pairs_of_gradients(plain, recomputed, batch):
    """The gradients of both, after a look at their losses."""
    expected, found = plain(batch), recomputed(batch)
    torch.testing.assert_close(found.token_nll, expected.token_nll)
    theirs = torch.autograd.grad(expected.total, list(plain.parameters()))
    ours = torch.autograd.grad(found.total, list(recomputed.parameters()))
    return zip(ours, theirs, strict=True)


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_recomputed_student_is_the_student(tiny_folder, examples, dtype, packing):
    plain, recomputed = (load_student(tiny_folder, dtype).eval() for _ in range(2))
    if packing:
        assert use_packing(plain, 1024)
        assert use_packing(recomputed, 1024)
    use_recomputed_layers(recomputed.language_model)
    assert names(recomputed) == names(plain)  # so checkpoints and exports know nothing of it
    kinds = [type(module) for module in recomputed.modules()]
    assert [
        kinds.count(kind) for kind in (RecomputedNorm, RecomputedGatedMlp, RecomputedEmbedding)
    ] == [5, 2, 1]
    batch = plain.collate(examples, [0, 1, 0], 0)
    for mine, other in pairs_of_gradients(plain, recomputed, batch):
        if dtype == torch.float32:
            torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)
        else:
            assert (mine - other).norm() <= 0.02 * other.norm()


def test_gradients_of_several_passes_add_up(tiny_folder, examples):
    plain, recomputed = (load_student(tiny_folder, torch.float32).eval() for _ in range(2))
    use_recomputed_layers(recomputed.language_model)
    plain(collate(examples, [0, 1, 0], 0)).total.backward()
    for example, given in zip(examples, [0, 1, 0], strict=True):
        recomputed(collate([example], [given], 0)).total.backward()
    for mine, other in zip(recomputed.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-3, atol=1e-4)


def test_embeddings_alone_have_their_gradient_too():
    weight = nn.Parameter(torch.randn(6, 3))
    embedding, ids = RecomputedEmbedding(weight, 5), torch.tensor([[1, 5, 1]])
    (embedding(ids) * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    expected = torch.zeros(6, 3)
    expected[1] = torch.tensor([2.0, 4.0, 6.0])  # read twice; 5 is padding
    torch.testing.assert_close(weight.grad, expected)


def test_a_frozen_student_with_adapters_keeps_its_embeddings(tiny_folder, examples):
    plain, recomputed = (load_student(tiny_folder, torch.float32).eval() for _ in range(2))
    for student in (plain, recomputed):
        torch.manual_seed(0)
        add_adapters(student.language_model, LoraConfig(rank=2))
    use_recomputed_layers(recomputed.language_model)
    assert names(recomputed) == names(plain)
    assert not any(isinstance(module, RecomputedEmbedding) for module in recomputed.modules())
    batch = collate(examples, [0, 0, 0], 0)
    losses = [student(batch).total for student in (recomputed, plain)]
    torch.testing.assert_close(*losses)
    found, expected = (
        torch.autograd.grad(loss, [p for p in student.parameters() if p.requires_grad])
        for loss, student in zip(losses, (recomputed, plain), strict=True)
    )
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("is_tied", [False, True])
def test_a_recomputed_encoder_decoder_is_the_student(tmp_path, examples, is_tied):
    torch.manual_seed(0)
    tokens = {"eos_token_id": 2, "pad_token_id": 0, "decoder_start_token_id": 0}
    sizes = {"d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 4}
    config = T5Config(vocab_size=300, **sizes, **tokens, tie_word_embeddings=is_tied)
    T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    plain, recomputed = (load_student(str(tmp_path), torch.float32).eval() for _ in range(2))
    use_recomputed_layers(recomputed.language_model)
    assert names(recomputed) == names(plain)
    assert any(isinstance(module, RecomputedNorm) for module in recomputed.modules())
    batch = plain.collate(examples, [0, 1, 0], 0)
    for mine, other in pairs_of_gradients(plain, recomputed, batch):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)


def test_untied_embeddings_stay():
    model = Qwen2ForCausalLM(Qwen2Config(**SMALL, tie_word_embeddings=False))
    use_recomputed_layers(model)
    assert type(model.get_input_embeddings()) is nn.Embedding
    assert output_head(model) is model.lm_head.weight


def test_layers_that_do_something_else_stay():
    # Its norms multiply by 1 + weight, its gate is a GELU.
    model = Gemma2ForCausalLM(Gemma2Config(**SMALL, head_dim=4))
    before = [type(module) for module in model.model.layers.modules()]
    use_recomputed_layers(model)
    assert [type(module) for module in model.model.layers.modules()] == before


def test_a_gate_of_another_kind_stays():
    model = LlamaForCausalLM(LlamaConfig(**SMALL, hidden_act="relu"))
    use_recomputed_layers(model)
    assert not any(isinstance(module, RecomputedGatedMlp) for module in model.modules())
    assert any(isinstance(module, RecomputedNorm) for module in model.modules())
