"""The page from figures made up: aims are judged, and a missing section is left out."""

import pytest

from benchmarks.performance.page import goals, write_page

MACHINE = {"processor": "p", "cores": 2, "bfloat16": True, "torch": "2", "threads": 2}


def spread(median):
    return {"median": median, "low": 0.9 * median, "high": 1.2 * median, "runs": 5}


@pytest.fixture
def found():
    times = {
        "bare tower, float32": 1.0,
        "transformers, float32": 1.1,
        "sdmad, float32": 1.02,
        "bare tower, bfloat16": 0.5,
        "sdmad, bfloat16": 0.52,
    }
    exports = {"bare torch f32": 800, "bare openvino f32": 600, "export openvino f32": 606}
    exports |= {"bare openvino bf16": 300, "export openvino bf16": 303}
    exports |= {"bare openvino int8": 160, "export openvino int8": 170}
    exports |= {"export openvino int8 196": 125, "export openvino int8 168": 100}
    price = {"128 px, f32": [80.0, 82.0], "128 px, int8": [79.0, 82.0]}
    curve = {"1": spread(1.0), "2": spread(2.1)}
    return {
        "machine": MACHINE,
        "steps": {
            "times": {"reference": spread(10.0), "float32": spread(4.0), "bfloat16": spread(3.0)},
            "losses": {"reference": 1.0, "float32": 1.0, "bfloat16": 1.01},
            "count": {"reference": 4.2, "ours": 2.0},
            "prepared": {"first": 2.0, "another": 0.1},
        },
        "fits": {
            "agreement": {"loss": 1e-6, "score": 2e-3},
            "whole_fits": {"oct": {"float32": [80.0], "bfloat16": [79.0]}},
        },
        "scoring": {"times": {k: spread(v) for k, v in times.items()}, "images": 4},
        "others": {"open_clip, float32": spread(1.3)},
        "exports": {
            # A round on a machine at half its speed changes no ratio.
            "times": {k: [{"ms": s * v, "cpu_ms": v} for s in (1, 2)] for k, v in exports.items()},
            "cosines": {"bf16": 0.9999, "int8": 0.999},
        },
        "price": {"oct": price, "brain": price},
        "reading": {
            "files": {"png": {"alone": 9.0, "waited": 1.0, "worked": 99.0}},
            "precision": "bfloat16",
        },
        "limits": {
            "times": {"products, float32": spread(1.0), "scoring, float32": spread(4.0)},
            "product_operations": 2e11,
            "operations": 1.8e11,
            "images": 4,
            "profiles": {"scoring, float32": {"matrix products": 90.0, "everything else": 10.0}},
        },
        "growth": {
            "curves": dict.fromkeys(("images", "categories", "signs", "shots", "pixels"), curve),
            "precision": "bfloat16",
            "epochs": 5,
            "few": 4,
        },
    }


def test_every_aim_is_judged(found):
    rows = {what: (value, aim, reached) for what, value, aim, reached in goals(found)}
    assert rows["Fit step, float32, times the reference"] == ("2.50", "2.0", "yes")
    assert rows["Fit step, bfloat16, times the reference"] == ("3.33", "3.5", "NO")
    assert rows["Losses and scores against the reference"][2] == "NO"
    assert rows["Lite fits in bfloat16, points of AUROC, worst modality"] == ("-1.00", "-0.5", "NO")
    over = "Adapters and scoring over the bare tower, PyTorch"
    assert rows[f"{over} float32"] == ("+2.0 %", "3 %", "yes")
    assert rows[f"{over} bfloat16"] == ("+4.0 %", "3 %", "NO")
    export = "Export, OpenVINO {}, times the bare PyTorch float32 tower"
    assert rows[export.format("int8")] == ("4.71", "4.0", "yes")
    assert rows[export.format("int8 at 196 px")] == ("6.40", "6.0", "yes")
    assert rows[export.format("int8 at 168 px")] == ("8.00", "6.0", "yes")
    assert rows["The whole export over its bare tower, OpenVINO int8"] == ("+6.2 %", "3 %", "NO")
    assert rows["Tower waits for 1,000 png files"] == ("1.00 %", "5 %", "yes")


def test_the_page_has_every_table(found, tmp_path):
    docs = tmp_path / "performance.md"
    write_page(found, docs)
    page = docs.read_text(encoding="utf-8")
    for words in ("open\\_clip, float32", "by count of operations", "0.99990", "-0.50"):
        assert words in page
    assert "180 x 10^9 operations" in page
    assert "| float32 | 200 | 900 | 1000 | 90 % |" in page
    assert docs.with_name("performance-growth.png").read_bytes().startswith(b"\x89PNG")


def test_a_missing_section_is_left_out(found, tmp_path):
    few = {"machine": MACHINE, "fits": found["fits"]}
    assert len(goals(few)) == 2
    write_page(few, tmp_path / "performance.md")
