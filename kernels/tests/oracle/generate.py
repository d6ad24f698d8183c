#!/usr/bin/env python3
"""Writes ../vectors.json: first outputs of families from implementations that are not ours.

To regenerate, with a JDK 17 or later, g++ and glibc:
    python3 -m venv /tmp/oracle && /tmp/oracle/bin/pip install numpy==2.4.6 randomgen==2.5.1
    /tmp/oracle/bin/python generate.py
"""

import json
import pathlib
import platform
import random
import subprocess
import tempfile

import numpy
import randomgen

HERE = pathlib.Path(__file__).parent
ROWS = []


def row(family, modulus, seed, outputs, source):
    ROWS.append({"family": family, "modulus": int(modulus), "seed": str(seed),
                 "outputs": [int(x) for x in outputs], "source": source})


def lines(command, source):
    for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
        family, modulus, seed, *outputs = line.split()
        row(family, modulus, seed, outputs, source)


with tempfile.TemporaryDirectory() as folder:
    export = ["--add-modules", "jdk.random", "--add-exports", "jdk.random/jdk.random=ALL-UNNAMED"]
    subprocess.run(["javac", *export, "-d", folder, HERE / "Oracle.java"], check=True)
    version = subprocess.run(["java", "--version"], check=True, capture_output=True, text=True)
    lines(["java", *export, "-cp", folder, "Oracle"], version.stdout.splitlines()[0])
    subprocess.run(["g++", "-O2", "-o", f"{folder}/oracle", HERE / "oracle.cpp"], check=True)
    version = subprocess.run(["g++", "--version"], check=True, capture_output=True, text=True)
    libc = " ".join(platform.libc_ver())
    lines([f"{folder}/oracle"], f"{version.stdout.splitlines()[0]}, {libc}")

for seed in [0, 1, 42, 2**31, 2**32 - 1, 2**32, 2**32 + 7, 2**63, 2**64 - 1, 0x123456789ABCDEF0]:
    random.seed(seed)
    outputs = [random.getrandbits(32) for _ in range(1300 if seed in (42, 2**32) else 40)]
    row("python_random", 1000, seed, outputs, f"CPython {platform.python_version()}")

for seed in [0, 1, 42, 2**32 - 1, 2**32, 2**64 - 1, 0x123456789ABCDEF0]:
    philox = randomgen.Philox(key=seed, counter=2**128 - 1, number=4, width=32)
    outputs = philox.random_raw(160)
    source = f"randomgen {randomgen.__version__}"
    row("philox4x32_full", 1000, seed, outputs, source)
    row("philox4x32", 1000, seed, outputs[::4], source)
    pcg = randomgen.PCG32(0)
    state = pcg.state
    # pcg32_srandom_r: from state 0 one step, add the seed, one step.
    increment = 54 * 2 + 1
    multiplier = 6364136223846793005
    state["state"]["state"] = ((increment + seed) * multiplier + increment) % 2**64
    state["state"]["inc"] = increment
    pcg.state = state
    row("pcg32_srandom", 1000, seed, pcg.random_raw(40), source)
    state["state"]["state"] = seed
    state["state"]["inc"] = 1442695040888963407
    pcg.state = state
    row("pcg32", 1000, seed, pcg.random_raw(40), source)
    sfc = numpy.random.SFC64(0)
    state = sfc.state
    state["state"]["state"] = numpy.array(
        [seed, 0x9E3779B97F4A7C15, 0x6A09E667F3BCC908, 1], dtype=numpy.uint64)
    sfc.state = state
    row("sfc64", 1000, seed, sfc.random_raw(40), f"NumPy {numpy.__version__}")

# Vectors that their authors or the documentation publish.
row("pcg32_srandom", 1000, 42,
    [0xA15C02B7, 0x7B47F409, 0xBA1D3330, 0x83D2F293, 0xBFA4784B, 0xCBED606E],
    "pcg32-demo's expected output, pcg-c-basic")
row("philox4x32_full", 1000, 0, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8],
    "Random123 kat_vectors")
row("php_mt_rand", 1000, 1, [895547922, 2141438069], "PHP 7.1 and later, mt_srand(1)")
row("msvc_rand", 1000, 1, [41, 18467, 6334, 26500, 19169], "Microsoft C, srand(1)")

text = ",\n".join(json.dumps(r) for r in ROWS)
(HERE.parent / "vectors.json").write_text(f"[\n{text}\n]\n")
