"""How processes are started.

Accelerate's configuration, the flags over it, and errors before anything starts.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate.utils import DynamoBackend

from recipekit.errors import RunError
from recipekit.pipeline import accelerate_config
from recipekit.pipeline.accelerate_config import COMPILERS, read_launch
from recipekit.pipeline.accelerators import Accelerators, find_accelerators
from recipekit.pipeline.launch import Launch
from recipekit.training.parallel import Sharding

FSDP = "distributed_type: FSDP\nnum_processes: 4\n"
FSDP2 = f"{FSDP}fsdp_config:\n  fsdp_version: 2\n"


@pytest.fixture(autouse=True)
def no_saved_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)


@pytest.fixture(autouse=True)
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give this machine GPUs; it has none before."""

    def found(count: int, type: str = "cuda") -> None:
        monkeypatch.setattr(
            accelerate_config, "find_accelerators", lambda listed: Accelerators(type, count)
        )

    found(0, "cpu")
    return found


def config(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "accelerate.yaml"
    path.write_text(text)
    return path


def test_without_a_configuration_one_process_runs() -> None:
    launch = read_launch()
    assert launch == Launch(), "torch chooses the device"
    assert launch.command(Path("job.json"), ranks=True) == [
        sys.executable,
        "-m",
        "recipekit.pipeline.worker",
        "job.json",
    ]


def test_the_saved_default_is_used(tmp_path: Path) -> None:
    saved = tmp_path / "hf" / "accelerate" / "default_config.yaml"
    saved.parent.mkdir(parents=True)
    saved.write_text("distributed_type: MULTI_CPU\nnum_processes: 3\n")
    assert read_launch() == Launch(ranks=3, cpu=True, config=saved)


def test_a_configuration_with_fsdp_shards_the_weights_over_the_ranks(
    tmp_path: Path, gpus: Callable[..., None]
) -> None:
    gpus(4)
    assert read_launch(config(tmp_path, FSDP2)).sharding == Sharding(reshard_after_forward=True)
    keeps = config(tmp_path, f"{FSDP2}  fsdp_reshard_after_forward: false\n")
    assert read_launch(keeps).sharding == Sharding(reshard_after_forward=False)
    assert read_launch(keeps, 1).sharding is None


def test_a_configuration_with_dynamo_compiles_the_exact_softmax(tmp_path: Path) -> None:
    plain = read_launch(config(tmp_path, "distributed_type: NO\ndynamo_config: {}\n"))
    assert plain.compiler is None
    text = "distributed_type: NO\ndynamo_config: {dynamo_backend: INDUCTOR}\n"
    launch = read_launch(config(tmp_path, text))
    assert launch.environment()["ACCELERATE_DYNAMO_BACKEND"] == "inductor"


def test_the_flag_overrides_the_configuration(tmp_path: Path) -> None:
    launch = read_launch(config(tmp_path, "distributed_type: MULTI_CPU\nnum_processes: 4\n"), 2)
    assert launch.ranks == 2
    command = launch.command(Path("job.json"), ranks=True)
    assert command[2:4] == ["recipekit.pipeline.rank_launcher", "torch.distributed.run"]
    assert command[command.index("--nproc-per-node") + 1] == "2"


def test_a_stage_that_computes_nothing_runs_in_one_process() -> None:
    assert "torch.distributed.run" not in Launch(ranks=4, cpu=True).command(
        Path("job.json"), ranks=False
    )


def test_on_the_cpu_the_ranks_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    environment = Launch(ranks=2, cpu=True).environment()
    assert environment["ACCELERATE_USE_CPU"] == "true"
    assert environment["OMP_NUM_THREADS"] == str(max(1, (os.cpu_count() or 1) // 2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("distributed_type: DEEPSPEED\n", "DEEPSPEED is not supported; choose FullySharded"),
        ("distributed_type: TP\n", "TP is not supported; use FSDP, MULTI_GPU, MULTI_CPU or NO"),
        ("distributed_type: MULTI_HPU\n", "MULTI_HPU is not supported; use FSDP"),
        ("distributed_type: XLA\n", "XLA is not supported; use FSDP"),
        (
            f"{FSDP2}parallelism_config:\n  parallelism_config_dp_replicate_size: 2\n",
            "parallelism_config_dp_replicate_size 2 is not supported; leave parallelism_config out",
        ),
        (f"{FSDP}fsdp_config: {{fsdp_version: 1}}\n", "write `fsdp_version: 2`"),
        (f"{FSDP2}  fsdp_offload_params: true\n", "write `fsdp_offload_params: false`"),
        (
            f"{FSDP2}  fsdp_activation_checkpointing: true\n",
            "`train.gradient_checkpointing: true` in the recipe",
        ),
        (
            f"{FSDP2}parallelism_config:\n  parallelism_config_tp_size: 2\n",
            "parallelism_config_tp_size 2 is not supported",
        ),
        (f"{FSDP}fsdp_config: {{fsdp_version: two}}\n", "fsdp_version: expected a whole number"),
        (f"{FSDP}fsdp_config: [1]\n", r"fsdp_config: expected a map of keys, found \[1\]"),
        (f"{FSDP2}  fsdp_offload_params: sometimes\n", "expected true or false"),
        ("num_processes: two\n", "num_processes: expected a whole number, found 'two'"),
        ("num_machines: two\n", "num_machines: expected a whole number"),
        ("num_machines: 2\nmachine_rank: one\n", "machine_rank: expected a whole number"),
        ("use_cpu: maybe\n", "use_cpu: expected true or false"),
        ("dynamo_config: INDUCTOR\n", "dynamo_config: expected a map of keys, found 'INDUCTOR'"),
        ("dynamo_config: {dynamo_backend: NOPE}\n", "dynamo_backend: there is no backend 'NOPE'"),
        ("parallelism_config: 3\n", "parallelism_config: expected a map of keys, found 3"),
        ("- a list\n", "not an Accelerate configuration"),
        ("a: [", "not an Accelerate configuration"),
    ],
)
def test_a_configuration_that_cannot_be_followed_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(RunError, match=message) as error:
        read_launch(config(tmp_path, text))
    assert str(error.value).startswith(f"{tmp_path / 'accelerate.yaml'}: ")


def test_the_compilers_are_those_of_the_installed_accelerate() -> None:
    assert {*COMPILERS, "no"} == {backend.value.lower() for backend in DynamoBackend}


def test_listed_gpus_are_those_of_one_process_and_of_several(
    tmp_path: Path, gpus: Callable[..., None]
) -> None:
    gpus(2)
    one = read_launch(config(tmp_path, "distributed_type: NO\ngpu_ids: 3\n"))
    assert one.environment()["CUDA_VISIBLE_DEVICES"] == "3"

    text = "distributed_type: MULTI_GPU\nnum_processes: 2\ngpu_ids: '2, 3'\n"
    two = read_launch(config(tmp_path, text))
    assert two.environment()["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert "--gpu_ids 2,3" in " ".join(two.command(Path("job.json"), ranks=True))
    with pytest.raises(RunError, match="3 processes on this machine need 3 GPUs, and torch finds"):
        read_launch(config(tmp_path, text), 3)


def test_the_environment_precedes_listed_gpus_and_all_lists_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: Callable[..., None]
) -> None:
    gpus(2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    text = "distributed_type: MULTI_GPU\nnum_processes: 2\ngpu_ids: 2,3\n"
    launch = read_launch(config(tmp_path, text))
    assert launch.environment()["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert "--gpu_ids all" in " ".join(launch.command(Path("job.json"), ranks=True))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    launch = read_launch(config(tmp_path, "distributed_type: NO\ngpu_ids: all\n"))
    assert "CUDA_VISIBLE_DEVICES" not in launch.environment()


@pytest.mark.parametrize("ids", ["[0, 1]", "0;1", "true"])
def test_malformed_gpu_ids_are_refused(tmp_path: Path, ids: str) -> None:
    with pytest.raises(RunError, match="gpu_ids: expected all or ids such as '0,1'"):
        read_launch(config(tmp_path, f"gpu_ids: {ids}\n"))


def test_a_missing_configuration_names_the_command_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="accelerate config --config_file"):
        read_launch(tmp_path / "none.yaml")


# GPUs
# --------------------------------------------------------------------------------------------------


def test_more_processes_than_gpus_are_refused(
    gpus: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus(1)
    with pytest.raises(
        RunError, match="2 processes on this machine need 2 GPUs, and torch finds 1"
    ):
        read_launch(num_processes=2)
    assert read_launch(num_processes=1).ranks == 1


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("distributed_type: MULTI_GPU\nnum_processes: 4\n", "distributed_type MULTI_GPU asks"),
        ("distributed_type: MULTI_XPU\nnum_processes: 4\n", "distributed_type MULTI_XPU asks"),
        (FSDP2, "distributed_type FSDP asks"),
        ("distributed_type: NO\ngpu_ids: 3\n", "gpu_ids 3 asks"),
    ],
)
def test_a_configuration_that_asks_for_gpus_is_refused_where_there_are_none(
    tmp_path: Path, text: str, asked: str
) -> None:
    path = config(tmp_path, text)
    with pytest.raises(RunError) as error:
        read_launch(path)
    assert str(error.value) == (
        f"{path}: {asked} for GPUs, but torch finds none on this machine; to run on the CPU, use "
        "--cpu"
    )
    assert error.value.code == "RK604"
    launch = read_launch(path, cpu=True)
    assert launch.cpu
    assert launch.ranks == (1 if "NO" in text else 4)


def test_several_processes_without_a_configuration_need_gpus_or_the_flag(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(RunError, match="several ranks need a GPU each, but torch finds none"):
        read_launch(num_processes=2)
    assert read_launch(num_processes=2, cpu=True) == Launch(ranks=2, cpu=True)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")  # as `accelerate launch --cpu` writes it
    assert read_launch(num_processes=2) == Launch(ranks=2, cpu=True)


def test_accelerators_of_other_makers_are_those_that_torch_finds(
    tmp_path: Path, gpus: Callable[..., None]
) -> None:
    gpus(8, "xpu")
    launch = read_launch(config(tmp_path, "distributed_type: MULTI_XPU\nnum_processes: 4\n"))
    assert (launch.ranks, launch.cpu) == (4, False)


def test_without_a_number_every_gpu_of_every_machine_is_used(
    tmp_path: Path, gpus: Callable[..., None]
) -> None:
    gpus(8)
    assert read_launch(config(tmp_path, "distributed_type: MULTI_GPU\n")).ranks == 8
    two = config(tmp_path, "distributed_type: NO\nnum_machines: 2\nmain_process_ip: node0\n")
    assert read_launch(two).ranks == 16
    assert read_launch(two, cpu=True).ranks == 2


def test_torch_counts_the_gpus_in_another_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "torch.py").write_text(
        "import os\n"
        "from types import SimpleNamespace\n"
        "listed = os.environ['CUDA_VISIBLE_DEVICES'].split(',')\n"
        "accelerator = SimpleNamespace(\n"
        "    current_accelerator=lambda check_available: SimpleNamespace(type='cuda'),\n"
        "    device_count=lambda: len(listed),\n"
        ")\n"
        "print('a line of a plugin')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert find_accelerators("0,1,5") == Accelerators("cuda", 3)
    (tmp_path / "torch.py").write_text("raise ImportError('libcudart.so.13: cannot open')\n")
    with pytest.raises(RunError, match="torch cannot look for GPUs: ImportError: libcudart"):
        find_accelerators()


@pytest.mark.slow
def test_the_gpus_are_those_of_torch() -> None:
    found = find_accelerators()
    device = torch.accelerator.current_accelerator(check_available=True)
    assert found.type == (device.type if device else "cpu")
    assert found.count == (torch.accelerator.device_count() if device else 0)


def test_zero_processes_are_refused() -> None:
    with pytest.raises(RunError, match="at least 1"):
        read_launch(num_processes=0)
