"""A kernel library takes what its signatures declare, which is what its C++ functions take, and refuses the rest."""

import re
import weakref
from pathlib import Path

import pytest
import torch
from torch import Tensor

from seedwise.kernels import build, launch
from seedwise.kernels.launch import Code
from seedwise.kernels.library import NUMBER_TYPES, TENSOR_TYPES, KernelLibrary, Parameter
from seedwise.kernels.ops import batch_norm, conv3x3, depthwise, pixels, pointwise, squeeze_excite

needs_compiler = pytest.mark.skipif(build.compiler_version() is None, reason="no C++ compiler here")
LIBRARIES = *depthwise.LIBRARIES, *(ops.KERNELS for ops in (batch_norm, conv3x3, pixels, pointwise, squeeze_excite))
PROTOTYPE = re.compile(r'extern "C" (\w+) (\w+)\(([^)]*)\)')
C_TYPES = {
    **{"int": "int", "int64": "int64_t", "double": "double"},
    **{"int64[]": "const int64_t*", "float[]": "const float*", "address": "void*"},
}
C_TENSORS = {"T": "void*", "f32": "float*", "f64": "double*", "i64": "int64_t*", "u8": "uint8_t*"}
TEXT = """
extern "C" int add(const float* a, const float* b, float* out, int64_t n, int threads) {
    for (long i = 0; i < n; ++i) out[i] = a[i] + (b ? b[i] : 0);
    return n > 3 ? 1 : 0;
}
extern "C" int first(const void* a, const void* b, int* out, int bf16, int threads) { return bf16 ? 2 : 0; }
"""
SIGNATURES = {"add": "a: f32, b: f32?, out: f32 maps; n: int64", "first": "a: T maps, b: T strided?, out: i64"}


@pytest.fixture
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KernelLibrary:
    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "it.cpp").write_text("#include <cstdint>\n" + TEXT)
    return KernelLibrary(str(tmp_path / "it.cpp"), SIGNATURES)


def maps(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.ones(shape, dtype=dtype).contiguous(memory_format=torch.channels_last)


def test_codes_are_those_of_the_header() -> None:
    text = (build.CSRC / "code.hpp").read_text()
    (listed,) = re.findall(r"enum Code : int \{(.*)\};", text)
    assert dict(re.findall(r"(\w+) = (\d+)", listed)) == {code.name: str(code.value) for code in Code}
    assert launch._ERRORS.keys() == {*Code} - {Code.DONE}


def test_signatures_are_those_of_the_prototypes() -> None:
    assert {library.source for library in LIBRARIES} == {*build.CSRC.glob("*.cpp")}
    for library in LIBRARIES:
        found = {name: (code, given) for code, name, given in PROTOTYPE.findall(library.source.read_text())}
        assert found.keys() == library.signatures.keys()
        for name, (code, given) in found.items():
            types = [re.sub(r"\s*\w+$", "", one.strip()) for one in given.split(",")]
            signature = library.signatures[name]
            kinds = {dtype: kind for kind, dtype in TENSOR_TYPES.items()}
            tensors = [C_TENSORS[kinds[tensor.dtype]] for tensor in signature.tensors]
            assert code == "Code", name
            assert [one.removeprefix("const ") for one in types[: len(tensors)]] == tensors, name
            assert types[len(tensors) :] == [C_TYPES[kind] for kind in signature.numbers.values()], name


def test_a_signature_of_unknown_words_is_refused() -> None:
    assert C_TYPES.keys() == NUMBER_TYPES.keys()
    with pytest.raises(KeyError):
        Parameter.parse("x: f16")
    with pytest.raises(KeyError):
        KernelLibrary("it.cpp", {"kernel": "x: f32; n: long"})


@needs_compiler
def test_tensors_are_launched_and_codes_raised(kernels: KernelLibrary) -> None:
    a, b, out = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.ones(4), maps(1, 4, 1, 1)
    kernels.launch("add", (a, b, out), 3)
    assert out.flatten().tolist() == [2, 3, 4, 1]
    kernels.launch("add", (a, None, out), 2)
    assert out.flatten().tolist() == [1, 2, 4, 1]
    with pytest.raises(MemoryError, match=r"^add: no memory"):
        kernels.launch("add", (a, b, out), 4)
    kernels.launch("first", (maps(1, 2, 2, 2), None, torch.tensor(0)))
    with pytest.raises(ValueError, match=r"^first: no kernel"):  # its second number is whether they are bfloat16
        kernels.launch("first", (maps(1, 2, 2, 2, dtype=torch.bfloat16), None, torch.tensor(0)))


@needs_compiler
@pytest.mark.parametrize(
    ("name", "tensors", "said"),
    [
        ("add", (torch.ones(2).double(), None, maps(1, 2, 1, 1)), r"add: a is float64\[2\] of strides \[1\], not f32"),
        ("add", (torch.ones(4)[::2], None, maps(1, 2, 1, 1)), r"add: a is float32\[2\] of strides \[2\], not f32"),
        ("add", (torch.ones(2), None, torch.ones(1, 2, 2, 1)), r"out is float32\[1, 2, 2, 1\] .*, not f32 maps"),
        ("add", (torch.ones(2), None, None), "add: out is None, not f32 maps"),
        (
            "first",
            (maps(1, 2, 2, 2), maps(1, 1, 1, 1, dtype=torch.bfloat16), torch.tensor(0)),
            r"b is bfloat16.*, not T strided",
        ),
        ("first", (maps(1, 2, 2, 2).double(), None, torch.tensor(0)), r"a is float64.*, not T maps"),
        ("first", (torch.ones(1, 2, 2, 2), None, torch.tensor(0)), r"a is float32.*, not T maps"),
    ],
)
def test_what_is_not_declared_is_refused(
    name: str, tensors: tuple[Tensor | None, ...], said: str, kernels: KernelLibrary
) -> None:
    with pytest.raises(TypeError, match=said):
        kernels.launch(name, tensors, *((2,) if name == "add" else ()))


@needs_compiler
def test_so_is_another_number_of_tensors(kernels: KernelLibrary) -> None:
    with pytest.raises(ValueError, match="longer"):
        kernels.launch("add", (torch.ones(2),), 2)


@needs_compiler
def test_tensors_are_kept_until_a_deferred_launch_has_run(kernels: KernelLibrary) -> None:
    a, out = torch.ones(2), maps(1, 2, 1, 1)
    seen = weakref.ref(a)
    with launch.deferred_launches():
        kernels.launch("add", (a, None, out), 2)
        del a
        assert seen() is not None
        out.zero_()
    assert seen() is None and out.flatten().tolist() == [1, 1]


def test_without_a_library_there_is_an_error(kernels: KernelLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "compiler_version", lambda: None)
    assert not kernels.available() and kernels.name() is None and kernels.compiler() is None
    with pytest.raises(RuntimeError, match=r"^add: the kernels of it\.cpp aren't compiled on this machine$"):
        kernels.launch("add", (torch.ones(2), None, maps(1, 2, 1, 1)), 2)


@needs_compiler
def test_each_target_has_kernels_of_its_own(kernels: KernelLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [name for name in ("generic", "avx2") if launch.why_not(name) is None]
    found = []
    for name in (*names, *names):
        monkeypatch.setenv(launch.TARGET_VARIABLE, name)
        found.append(str(kernels.name()))
        assert f"-{name}-" in found[-1]
    assert len({*found}) == len(names)
