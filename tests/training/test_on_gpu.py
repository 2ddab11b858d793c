"""Training on a GPU is training on the CPU: losses, packing, adapters, sharding over nccl."""

import pytest
import torch
import torch.distributed
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode

from kpod_ray.config import LoraConfig, StudentConfig
from kpod_ray.data.batches import PackedBatch, collate
from kpod_ray.models.packing import use_packing
from kpod_ray.models.safetensors_state import load_state, read_state, state_of, write_state
from kpod_ray.models.student import load_student
from kpod_ray.training.build import add_adapters
from kpod_ray.training.parallel import recompute_layers, shard
from kpod_ray.training.trainer import StudentTraining, TrainingSet, WorkerRank

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

GIVEN = {"q0": 0, "q1": 1, "q2": 0}
NUM_STEPS = 4


class Operations(TorchDispatchMode):
    """Notes the names of all operations."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(str(func))
        return func(*args, **(kwargs or {}))


def student_on(device, folder, *, packing=False, dtype=torch.float32):
    student = load_student(folder, dtype).eval()
    if packing:
        assert use_packing(student, 1024)
    return student.to(device)


def training_of(student, examples, *, module=None, **settings):
    config = StudentConfig(model="tiny:0", learning_rate=1e-2, **settings)
    training_set = TrainingSet(examples, "from_weighting", 0, 0)
    return StudentTraining(student, module or student, config, training_set, WorkerRank(0, 1))


def losses_of(training):
    return [training.train_step([0, 1, 2], GIVEN, 0.0)["loss"] for _ in range(NUM_STEPS)]


@pytest.fixture(scope="module")
def nccl(tmp_path_factory):
    store = tmp_path_factory.mktemp("nccl") / "store"
    torch.distributed.init_process_group(
        "nccl", init_method=f"file://{store}", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("settings", [{}, {"micro_batch_tokens": 1}])
@pytest.mark.parametrize("packing", [False, True])
def test_the_losses_are_those_of_the_cpu(tiny_folder, examples, packing, settings):
    expected = losses_of(training_of(student_on("cpu", tiny_folder), examples))
    student = student_on("cuda", tiny_folder, packing=packing)
    losses = losses_of(training_of(student, examples, **settings))
    assert losses == pytest.approx(expected, rel=1e-4)
    assert losses[-1] < losses[0]


def test_step_losses_are_those_of_the_cpu(tiny_folder, examples):
    trainings = [training_of(student_on(d, tiny_folder), examples) for d in ("cpu", "cuda")]
    for training in trainings:
        training.train_step([0, 1, 2], GIVEN, 0.0)
    on_cpu, on_gpu = (training.step_losses() for training in trainings)
    for expected, losses in zip(on_cpu, on_gpu, strict=True):
        assert losses == pytest.approx(expected, rel=1e-4, nan_ok=True)


def test_sequences_packed_for_the_varlen_kernel_are_those_of_padding(tiny_folder, examples):
    padded = student_on("cuda", tiny_folder, dtype=torch.bfloat16)
    packed = student_on("cuda", tiny_folder, packing=True, dtype=torch.bfloat16)
    batch = packed.collate(examples, [0, 0, 0], 0).to("cuda")
    assert isinstance(batch, PackedBatch)
    with Operations() as operations:
        ours = packed(batch)
    assert any("varlen" in name for name in operations.names)
    theirs = padded(collate(examples, [0, 0, 0], 0).to("cuda"))
    torch.testing.assert_close(ours.total, theirs.total, rtol=2e-3, atol=0)
    for mine, other in zip(
        torch.autograd.grad(ours.total, list(packed.parameters())),
        torch.autograd.grad(theirs.total, list(padded.parameters())),
        strict=True,
    ):
        assert (mine - other).norm() < 0.03 * other.norm()


def test_packed_sequences_do_not_see_each_other(tiny_folder, examples):
    student = student_on("cuda", tiny_folder, packing=True, dtype=torch.bfloat16)
    last = len(examples[2].target_ids)
    with torch.no_grad():
        losses = [
            student(student.collate([first, examples[2]], [0, 0], 0).to("cuda")).token_nll[-last:]
            for first in examples[:2]
        ]
    torch.testing.assert_close(*losses, rtol=1e-2, atol=1e-2)


def test_adapters_alone_are_trained(tiny_folder, examples):
    student = student_on("cpu", tiny_folder, packing=True, dtype=torch.bfloat16)
    add_adapters(student.language_model, LoraConfig(rank=4))
    student.to("cuda")
    frozen = {n: p.clone() for n, p in student.named_parameters() if not p.requires_grad}
    losses = losses_of(training_of(student, examples))
    assert losses[-1] < losses[0]
    for name, parameter in student.named_parameters():
        assert name not in frozen or torch.equal(parameter, frozen[name])


def test_layers_computed_again_give_the_same(tiny_folder, examples):
    expected = losses_of(training_of(student_on("cuda", tiny_folder), examples))
    student = student_on("cuda", tiny_folder)
    recompute_layers(student.language_model)
    assert losses_of(training_of(student, examples)) == pytest.approx(expected, rel=1e-5)


def test_a_sharded_student_and_ddp_over_nccl_give_the_same(tiny_folder, examples, nccl):
    expected = losses_of(training_of(student_on("cuda", tiny_folder), examples))
    sharded = student_on("cuda", tiny_folder)
    shard(sharded, num_workers=1)
    assert losses_of(training_of(sharded, examples)) == pytest.approx(expected, rel=1e-5)
    student = student_on("cuda", tiny_folder)
    module = DistributedDataParallel(student)
    losses = losses_of(training_of(student, examples, module=module))
    assert losses == pytest.approx(expected, rel=1e-5)


def test_a_training_goes_on_from_its_checkpoint(tiny_folder, examples, tmp_path):
    untouched = training_of(student_on("cuda", tiny_folder), examples)
    losses_of(untouched)
    write_state(state_of(untouched.module, untouched.optimizer), tmp_path)
    resumed = training_of(student_on("cuda", tiny_folder), examples)
    load_state(resumed.module, resumed.optimizer, read_state(tmp_path))
    assert losses_of(resumed) == pytest.approx(losses_of(untouched), rel=1e-6)
