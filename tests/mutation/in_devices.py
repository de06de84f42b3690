"""Faults in what computes where."""

from fault import Fault

DEVICES = (
    Fault(
        "on a GPU solarize inverts one value less",
        "augment/sorted_operations.py",
        "looked_up.float().ceil()",
        "looked_up.ceil()",
        "conformance/test_augment_devices.py::test_sorted_operations_have_the_bits_of_one_after_the_other",
    ),
    Fault(
        "the first GPU decides for all of them",
        "base/devices.py",
        "return found[index] if index < len(found) else None",
        "return found[0] if index < len(found) else None",
        "gpu/test_devices.py",
    ),
    Fault(
        "auto takes a GPU that torch has no code for",
        "base/devices.py",
        "usable = [gpu.number for gpu in gpus() if gpu.supported]",
        "usable = [gpu.number for gpu in gpus()]",
        "gpu/test_devices.py",
    ),
    Fault(
        "every trial on the first GPU",
        "study/local_runner.py",
        'os.environ["CUDA_VISIBLE_DEVICES"] = gpu ',
        'os.environ["CUDA_VISIBLE_DEVICE"] = gpu ',
        "gpu/test_two_gpus.py::test_an_ablation_of_two_gpus_uses_both_one_trial_each",
    ),
    Fault(
        "resume goes on with another kind of device without a word",
        "run/folder.py",
        '    "device": "device",\n',
        "",
        "gpu/test_elsewhere.py::test_a_run_of_a_gpu_computes_without_one_and_says_so",
    ),
)
