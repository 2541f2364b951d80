"""Holds all contenders to AVX2, so that a newer CPU shows what older instructions do. Its clock, caches and pipelines stay its own.

The libraries have no setting for all of their kernels. So every `cpuid` in a copy of a program becomes a trap, and `cpuid.c`, preloaded,
answers it without what is newer. Worker and peers say what they then use, and a run ends where that is not AVX2. Not held is glibc,
which copies and compares memory with what the CPU has."""

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

from numpy._core._multiarray_umath import __cpu_dispatch__

# Both have two bytes; the second one is `int3` and `nop`.
CPUID, TRAP = b"\x0f\xa2", b"\xcc\x90"
# What must stand in the worker's log, and what numpy may use beyond what it always does: its name for AVX2 with FMA.
WORKER, NUMPY = 'instructions="avx2"', ["X86_V3"]


def hold(programs, work):
    """The programs to measure with. What starts from now on is held, peers included."""
    folder = work / "avx2"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    answers, server = folder / "cpuid.so", folder / programs.worker.name
    subprocess.run(["cc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", Path(__file__).with_name("cpuid.c"), "-o", answers], check=True)
    shutil.copy(programs.worker, server)
    # fastembed runs on it too.
    package = Path(importlib.util.find_spec("onnxruntime").origin).parent
    shutil.copytree(package, folder / "python" / package.name)
    for program in (server, *(folder / "python").glob("*/capi/onnxruntime_pybind11_state*.so")):
        trap(program)
    os.environ |= {"LD_PRELOAD": str(answers), "PYTHONPATH": str(folder / "python")}
    # OpenVINO's kernels are compiled as it runs, for what this says.
    os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX2"
    os.environ["NPY_DISABLE_CPU_FEATURES"] = " ".join(name for name in __cpu_dispatch__ if name not in NUMPY)
    return replace(programs, server=server)


def trap(program):
    """Places are looked up in the disassembly: the same two bytes occur inside of other instructions."""
    listing = subprocess.run(["objdump", "--disassemble", "--no-show-raw-insn", program], capture_output=True, text=True, check=True).stdout
    addresses = [int(found[1], 16) for found in re.finditer(r"^\s*([0-9a-f]+):\s+cpuid\s*$", listing, re.MULTILINE)]
    headers = subprocess.run(["readelf", "--wide", "--section-headers", program], capture_output=True, text=True, check=True).stdout
    sections = [[int(number, 16) for number in found.groups()] for found in re.finditer(r" PROGBITS +(\w+) (\w+) (\w+)", headers)]
    content = bytearray(program.read_bytes())
    for address in addresses:
        ((begin, offset),) = [(begin, offset) for begin, offset, size in sections if begin <= address < begin + size]
        place = slice(offset + address - begin, offset + address - begin + len(CPUID))
        if content[place] != CPUID:
            raise RuntimeError(f"{program} has no cpuid at {address:#x}")
        content[place] = TRAP
    if not addresses:
        raise RuntimeError(f"{program} never asks what the CPU is")
    program.write_bytes(content)
