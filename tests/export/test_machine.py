import json
import os
import platform
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("openvino", reason="needs the extra sdmad[openvino]")

from sdmad.detector.manifest import file_hash
from sdmad.errors import InputError, ModelError
from sdmad.export import machine
from sdmad.export.files import read_description
from sdmad.export.runtime import ExportedModel

X86 = platform.machine().lower() in ("x86_64", "amd64")


@pytest.fixture
def processor(monkeypatch):
    """A processor with or without exact products of 8-bit numbers, whatever this one is."""

    def chosen(exact):
        monkeypatch.setattr(machine, "exact_int8", lambda: exact)

    return chosen


def test_eight_bits_are_for_this_machine_alone_and_only_where_its_sums_are_exact(processor):
    for exact, bits in ((True, 8), (False, 7)):
        processor(exact)
        assert machine.weight_bits("int8", "here") == bits
        assert machine.weight_bits("int8", "any") == 7
        assert machine.weight_bits("bfloat16", "here") is None
    with pytest.raises(InputError, match="here or any, got 'vnni'"):
        machine.check_target("vnni")


@pytest.mark.skipif(not X86, reason="no other processors cut the sums off")
def test_the_sums_are_cut_off_exactly_where_the_processor_has_no_such_instruction():
    if "OV_CPU_MAX_ISA" in os.environ:  # make test sets it to AVX2: the older instructions
        assert not machine.exact_int8()
        return
    listed = Path("/proc/cpuinfo")
    if not listed.exists():
        pytest.skip("only Linux lists the instructions here")
    known = {"avx512_vnni", "avx_vnni", "amx_int8"}
    assert machine.exact_int8() == bool(known & set(listed.read_text().split()))


def as_int8(folder, copy, **said):
    """An export that says to be int8, and what else is given; its graph is another's."""
    shutil.copytree(folder, copy)
    config = json.loads((copy / "config.json").read_text()) | {"precision": "int8"}
    del config["weight_bits"]
    (copy / "config.json").write_text(json.dumps(config | said))
    manifest = json.loads((copy / "export.json").read_text())
    manifest["files"]["config.json"] = file_hash(copy / "config.json")
    (copy / "export.json").write_text(json.dumps(manifest))
    return copy


@pytest.mark.parametrize("said", [{"weight_bits": 8}, {}])
def test_eight_bits_are_refused_where_the_sums_are_cut_off(
    openvino_export, tmp_path, processor, said
):
    copy = as_int8(openvino_export, tmp_path / "copy", **said)
    processor(False)
    with pytest.raises(ModelError, match=r"copy: made for a processor.*--target any"):
        ExportedModel.load(copy)
    processor(True)
    pixels = np.zeros((1, 8, 8, 1), np.uint8)
    assert np.isfinite(ExportedModel.load(copy).run(pixels).scores).all()


def test_seven_bits_are_read_anywhere(openvino_export, tmp_path, processor):
    processor(False)
    copy = as_int8(openvino_export, tmp_path / "copy", weight_bits=7)
    assert ExportedModel.load(copy).description.weight_bits == 7
    with pytest.raises(ModelError, match="weights of 4 bits"):
        read_description(as_int8(openvino_export, tmp_path / "other", weight_bits=4))
