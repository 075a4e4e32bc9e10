import os
import signal
import struct
import subprocess
import sys
import threading
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdmad.data import child, decoders, intensity, shared
from sdmad.data import decoder as one_decoder
from sdmad.data.child import OverrunError, Watch
from sdmad.data.decoder import Decoder
from sdmad.data.headers import read_header
from sdmad.data.images import ImageError, read_image, volume_slices
from sdmad.data.limits import Limits, limits, reading_limits
from sdmad.data.sets.base import read_mask
from sdmad.errors import InputError
from sdmad.processes import environment

pytestmark = pytest.mark.filterwarnings("ignore::sdmad.data.intensity.IntensityWarning")
GREY = np.arange(600, dtype=np.uint16).reshape(20, 30).astype(np.uint8)


@pytest.fixture
def picture(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "good.png")
    return tmp_path / "good.png"


@pytest.fixture
def fresh():
    """No decoder of another test, and none of this one for another."""
    decoders._end_all()
    yield
    decoders._end_all()


MISCHIEF = """
import os, signal, time
from sdmad.data import serving, tasks
true = tasks.TASKS["image"]

def image(path, **arguments):
    if path.name == "crash.png":
        os.kill(os.getpid(), signal.SIGSEGV)
    if path.name == "hang.png":
        while True:
            pass
    if path.name == "sleep.png":
        time.sleep(60)
    if path.name == "native.png":
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        time.sleep(60)
    if path.name == "memory.png":
        return bytearray(8 << 30)
    if path.name == "leak.png":
        kept.append(bytearray(900 << 20))
    if path.name == "hidden.png":
        try:
            kept.append([bytearray(300 << 20) for _ in range(9)])
        except MemoryError:
            raise OSError("broken data stream") from None
    if path.name == "panic.png":
        raise BaseException("Doe^Secret")
    if path.name == "noise.png":
        print("Doe^Secret")
        os.write(2, b"Doe^Secret")
        raise LookupError("Doe^Secret")
    return true(path, **arguments)

kept = []
tasks.TASKS["image"] = image
serve = serving.serve
"""


@pytest.fixture
def mischief(tmp_path, monkeypatch, fresh, picture):
    """Files whose names make a decoder crash, hang or swallow memory."""
    (tmp_path / "module").mkdir()
    (tmp_path / "module" / "tests_mischief.py").write_text(MISCHIEF)
    monkeypatch.syspath_prepend(str(tmp_path / "module"))
    monkeypatch.setattr(
        one_decoder, "PROGRAM", "import tests_mischief as m; m.serve({memory}, {shared})"
    )

    def named(name):
        (tmp_path / name).write_bytes(picture.read_bytes())
        return tmp_path / name

    return named


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("crash.png", "its decoder crashed on it; export the file again"),
        ("memory.png", r"takes more memory .* reduce it \(of 1 GiB; SDMAD_READ_MEMORY sets"),
        (
            "hidden.png",
            r"damaged or cut short, or takes more memory .*\(of 1 GiB; SDMAD_READ_MEMORY",
        ),
        ("panic.png", "damaged or cut short; copy or export it again$"),
        ("noise.png", "damaged or cut short; copy or export it again$"),
    ],
)
def test_mischief_costs_one_image(mischief, picture, name, message, capfd):
    with reading_limits(memory=1):
        before = np.asarray(read_image(picture))
        with pytest.raises(ImageError, match=rf"{name}: {message}") as error:
            read_image(mischief(name))
        assert error.value.path == mischief(name)
        np.testing.assert_array_equal(np.asarray(read_image(picture)), before)
    assert "Secret" not in str(error.value)
    assert capfd.readouterr() == ("", "")


BY_CLOCK = r"not read within 1\.8 s by the clock \(6 times SDMAD_READ_SECONDS\), so its decoder was"
BY_PROCESSOR = (
    r"not read within 0\.3 s of processor time, so its decoder was ended; SDMAD_READ_SECONDS"
)


@pytest.mark.parametrize(
    ("name", "clock", "message"),
    [("hang.png", 600, BY_PROCESSOR), ("sleep.png", 6, BY_CLOCK), ("native.png", 6, BY_CLOCK)],
)
def test_what_takes_too_long_costs_one_image(mischief, picture, monkeypatch, name, clock, message):
    """A busy one its processor time, however long that takes; one that waits the clock's bound."""
    read_image(picture)
    monkeypatch.setattr("sdmad.data.limits.CLOCK", clock)
    with (
        reading_limits(seconds=0.3),
        pytest.raises(ImageError, match=f"{name}: {message}") as error,
    ):
        read_image(mischief(name))
    assert error.value.path == mischief(name)
    np.testing.assert_array_equal(np.asarray(read_image(picture)), GREY)


def test_time_in_which_a_decoder_does_not_run_is_not_the_files(mischief, picture, monkeypatch):
    """Stopped for longer than it may work; so is one on a machine with too much to do."""
    read_image(picture)
    (decoder,) = decoders._Idle.waiting
    decoder.send_signal(signal.SIGSTOP)
    timer = threading.Timer(0.8, decoder.send_signal, [signal.SIGCONT])
    timer.start()
    monkeypatch.setattr("sdmad.data.limits.CLOCK", 200)
    with reading_limits(seconds=0.3):
        np.testing.assert_array_equal(np.asarray(read_image(picture)), GREY)
    timer.join()
    assert decoders._Idle.waiting == [decoder]


def test_a_signal_that_the_asking_process_ignores_ends_a_decoder(mischief, monkeypatch):
    monkeypatch.setattr("sdmad.data.limits.CLOCK", 600)
    before = signal.signal(signal.SIGPROF, signal.SIG_IGN)
    try:
        with reading_limits(seconds=0.3), pytest.raises(ImageError, match="of processor time"):
            read_image(mischief("hang.png"))
    finally:
        signal.signal(signal.SIGPROF, before)


def test_time_in_which_this_process_was_stopped_counts_for_little(monkeypatch):
    """By hand: of 3 s, a wait of 0.5 s and two of which the clock says an hour leave 0.5 s."""
    now = iter([0.0, 0.5, 10.0, 3610.0, 4000.0, 7600.0])
    monkeypatch.setattr("sdmad.data.child.time.monotonic", lambda: next(now))
    watch, answers, waited = Watch(3.0), iter([True, False, True]), []

    def ready(milliseconds):
        waited.append(milliseconds)
        return next(answers)

    watch.wait(ready)
    assert watch.left == 2.5
    watch.wait(ready)
    assert (watch.left, waited) == (0.5, [1000.0, 1000.0, 1000.0])


def test_nothing_is_waited_for_when_no_time_is_left():
    watch = Watch(0.02)
    with pytest.raises(OverrunError):
        watch.wait(lambda milliseconds: time.sleep(milliseconds / 1000))
    with pytest.raises(OverrunError):
        watch.wait(lambda milliseconds: True)


def test_what_other_files_left_in_memory_is_not_laid_on_the_next(mischief, picture):
    with reading_limits(memory=1.5):
        for _ in range(2):
            assert read_image(mischief("leak.png")).size == (30, 20)


def test_a_decoder_that_was_ended_meanwhile_is_replaced(picture, fresh):
    read_image(picture)
    (decoder,) = decoders._Idle.waiting
    decoder.kill()
    decoder.wait()
    np.testing.assert_array_equal(np.asarray(read_image(picture)), GREY)
    assert decoders._Idle.waiting != [decoder]


def test_decoders_that_are_ended_as_they_start_are_replaced(picture, fresh, monkeypatch):
    started = []
    true_start = Decoder.start

    def start(decoder):
        started.append(decoder)
        if len(started) < decoders.STARTS:
            decoder.kill()
            decoder.wait()
        true_start(decoder)

    monkeypatch.setattr(Decoder, "start", start)
    np.testing.assert_array_equal(np.asarray(read_image(picture)), GREY)
    assert len(started) == decoders.STARTS


def test_a_decoder_is_kept_and_shared_by_threads(picture, fresh):
    for _ in range(5):
        read_image(picture)
    assert len(decoders._Idle.waiting) == 1
    threads = [threading.Thread(target=read_image, args=(picture,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= len(decoders._Idle.waiting) <= decoders.MOST_IDLE


def test_a_stopped_lane_ends_its_decoder(mischief, picture):
    lane = decoders.Lane()
    with reading_limits(seconds=600):
        lane.ask("image", picture, index=None, window="auto", max_pixels=1000)
        timer = threading.Timer(0.3, lane.stop)
        timer.start()
        with pytest.raises(ImageError, match="crashed"):
            lane.ask("image", mischief("hang.png"), index=None, window="auto", max_pixels=1000)
        with pytest.raises(InputError):
            lane.ask("image", picture, index=None, window="auto", max_pixels=1000)
    timer.join()


def answer_of_a_decoder(expression):
    """What an expression is in a process that was started as decoders are."""
    program = f"import sdmad.data.serving, sys, os; print({expression})"
    command = [sys.executable, "-P", "-c", program]
    done = subprocess.run(command, env=environment(), capture_output=True, check=True, text=True)
    return done.stdout.strip()


def test_decoders_are_light(monkeypatch):
    assert answer_of_a_decoder("sorted({'torch', 'sklearn', 'scipy'} & set(sys.modules))") == "[]"
    monkeypatch.setenv("OPENAI_API_KEY", "geheim")
    monkeypatch.setenv("HF_TOKEN", "geheim")
    assert answer_of_a_decoder("'geheim' in str(os.environ)") == "False"


def test_a_path_begins_where_the_asking_process_is(picture, monkeypatch, tmp_path, fresh):
    monkeypatch.chdir(tmp_path)
    assert read_image("good.png").size == (30, 20)
    (tmp_path / "below").mkdir()
    picture.rename(tmp_path / "below" / "good.png")
    monkeypatch.chdir(tmp_path / "below")
    assert read_image("good.png").size == (30, 20)
    with pytest.raises(ImageError, match=r"^other\.png: no such file"):
        read_image("other.png")


def test_no_module_is_taken_from_the_current_folder(tmp_path, monkeypatch, picture, fresh):
    for name in ("json", "numpy", "signal", "pydicom"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(np.asarray(read_image(picture)), GREY)
    assert not (tmp_path / "ran").exists()


def test_every_question_is_answered_as_in_this_process(tmp_path, picture, fresh):
    mask = np.zeros((20, 30), np.uint8)
    mask[3:9, 4:7] = 2
    Image.fromarray(mask).save(tmp_path / "mask.png")

    def answers():
        return (
            np.asarray(read_image(picture, (100.0, 50.0))).tolist(),
            read_header(picture),
            volume_slices(picture),
            read_mask(tmp_path / "mask.png", (20, 30)).tolist(),
        )

    there = answers()
    decoders._end_all()
    with reading_limits(trusted=True):
        assert answers() == there
    assert list(child.started) == []  # no process was needed


def test_warnings_come_with_the_answer_once(tmp_path, monkeypatch):
    monkeypatch.setattr(intensity, "_told", set())
    Image.fromarray(np.full((9, 9), 7, np.uint8)).save(tmp_path / "flat.png")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(3):
            read_image(tmp_path / "flat.png")
    assert ["flat.png: every pixel is the same" in str(one.message) for one in told] == [True]
    assert told[0].message.kind == "constant"


def test_the_debug_log_comes_with_the_answer(mischief, caplog):
    caplog.set_level("DEBUG", logger="sdmad")
    with pytest.raises(ImageError):
        read_image(mischief("noise.png"))
    assert "LookupError" in caplog.text
    assert 'Secret"' not in caplog.text.replace('LookupError("Doe^Secret")', "")


def test_a_fork_starts_decoders_of_its_own(picture, fresh):
    read_image(picture)
    child = os.fork()
    if child == 0:
        right = decoders._Idle.waiting == []
        right = right and np.array_equal(np.asarray(read_image(picture)), GREY)
        decoders._end_all()
        os._exit(0 if right else 1)
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(np.asarray(read_image(picture)), GREY)


def test_decoders_end_with_their_process(picture):
    program = (
        "from sdmad.data import decoders; from sdmad.data.images import read_image\n"
        f"read_image({str(picture)!r}); print(decoders._Idle.waiting[0].pid)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stderr == b""
    assert not Path(f"/proc/{int(done.stdout)}").exists()


# ---- answers


LIAR = """
import pathlib, sys
print("{{}}", flush=True)
for line in sys.stdin:
    print(pathlib.Path({file!r}).read_text(), flush=True)
"""


SAID = '"warnings": [], "log": []'


@pytest.fixture
def liar(tmp_path, fresh, monkeypatch):
    """Let decoders answer whatever is asked for."""

    def lie(answer):
        (tmp_path / "answer").write_text(answer)
        program = LIAR.replace("{file!r}", repr(str(tmp_path / "answer")))
        monkeypatch.setattr(one_decoder, "PROGRAM", program)

    return lie


@pytest.mark.parametrize(
    "answer",
    [
        f'{{{SAID}, "type": "|u1", "shape": [33554432], "shared": true}}',
        f'{{{SAID}, "type": "|u1", "shape": [2, 1073741824], "shared": false}}',
        f'{{{SAID}, "type": "|u1", "shape": [-2, -3], "shared": true}}',
        f'{{{SAID}, "type": "|u1", "shape": [2.5], "shared": true}}',
        f'{{{SAID}, "type": "|u1", "shape": 4, "shared": true}}',
        f'{{{SAID}, "type": "|O", "shape": [4], "shared": true}}',
        f'{{{SAID}, "type": "<f8", "shape": [4], "shared": true}}',
        f'{{{SAID}, "type": "|u1", "shape": [4]}}',
        f'{{{SAID}, "value": "neither pixels nor what is said of them"}}',
        f'{{{SAID}, "error": 7, "value": ""}}',
        '{"warnings": 7, "log": [], "value": ""}',
        '{"warnings": [["two", "parts"]], "log": [], "value": ""}',
        '{"warnings": [], "log": 7, "value": ""}',
        "[" * 100_000,
        "no JSON",
        "7",
        '"',
        "{}",
        "x" * (child.MOST_SAID + 9),
    ],
)
def test_an_answer_that_no_decoder_gives_is_none(picture, liar, answer):
    liar(answer)
    with pytest.raises(ImageError, match="crashed"):
        read_image(picture)


def test_what_a_decoder_may_say_is_believed(picture, liar):
    liar(f'{{{SAID}, "value": "a text"}}')
    assert decoders.ask("image", picture) == "a text"


@pytest.mark.parametrize("lacking", [False, True])
def test_pixels_are_the_same_by_shared_memory_and_by_the_pipe(
    tmp_path, monkeypatch, fresh, lacking
):
    """More than is shared goes by the pipe; all does where the system shares no memory."""
    if lacking:
        monkeypatch.delattr(os, "memfd_create")
    wide = np.arange((shared.LENGTH // 4096 + 1) * 4096, dtype=np.uint32).astype(np.uint8)
    for name, values in (("wide", wide.reshape(-1, 4096)), ("small", GREY), ("wide", None)):
        if values is not None:
            Image.fromarray(values).save(tmp_path / f"{name}.png", compress_level=1)
        expected = GREY if name == "small" else wide.reshape(-1, 4096)
        np.testing.assert_array_equal(np.asarray(read_image(tmp_path / f"{name}.png")), expected)


def faults(process):
    """Page faults of a process that needed no disk, so far."""
    text = Path(f"/proc/{process.pid}/stat").read_text()
    return int(text.rpartition(")")[2].split()[7])


def test_memory_is_kept_for_the_next_picture(tmp_path, fresh):
    """One of 256 KiB has 64 pages; with what is made of it, all of them came anew each time."""
    values = np.random.default_rng(0).integers(0, 256, (512, 512), np.uint8)
    Image.fromarray(values).save(tmp_path / "large.png")
    for _ in range(3):
        read_image(tmp_path / "large.png")
    (decoder,) = decoders._Idle.waiting
    before = faults(decoder)
    for _ in range(10):
        read_image(tmp_path / "large.png")
    assert faults(decoder) - before < 10 * 64


def test_an_answer_is_not_changed_by_the_next(tmp_path, picture, fresh):
    first = read_image(picture)
    Image.fromarray(255 - GREY).save(tmp_path / "other.png")
    read_image(tmp_path / "other.png")
    np.testing.assert_array_equal(np.asarray(first), GREY)


def test_shared_memory_keeps_its_length():
    """A shorter one would end the process that reads beyond its end."""
    memory = shared.Shared()
    (file,) = memory.handed
    for length in (0, shared.LENGTH + 1):
        with pytest.raises(PermissionError):
            os.ftruncate(file, length)
    memory.hand_over()
    memory.close()
    assert memory.taken(1) is None


def test_a_decoder_leaves_no_descriptor(picture, fresh):
    before = len(list(Path("/proc/self/fd").iterdir()))
    read_image(picture)
    decoders._end_all()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# ---- bombs: small files that ask for much


def png_header(width, height):
    """A PNG that says it is large, and holds next to nothing."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))]
    chunks += [(b"IDAT", zlib.compress(bytes(99))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def test_the_memory_of_a_decoder_is_held(tmp_path, fresh):
    """Colour of 11,000 px a side has 484 MB in Pillow, which do not fit into half a GiB."""
    (tmp_path / "large.png").write_bytes(png_header(11_000, 11_000))
    (tmp_path / "small.png").write_bytes(png_header(1000, 1000))
    with reading_limits(memory=0.5, seconds=100):
        with pytest.raises(ImageError, match=r"large\.png: takes more memory to read than it may"):
            read_image(tmp_path / "large.png")
        with pytest.raises(ImageError, match=r"small\.png: damaged or cut short"):
            read_image(tmp_path / "small.png")


# ---- the settings


def test_settings(monkeypatch):
    assert limits() == Limits(2.0, 20.0, False)
    monkeypatch.setenv("SDMAD_READ_MEMORY", "4.5")
    monkeypatch.setenv("SDMAD_READ_SECONDS", " 60 ")
    assert limits() == Limits(4.5, 60.0, False)
    with reading_limits(seconds=3):
        assert limits() == Limits(4.5, 3.0, False)
        with reading_limits(trusted=True):
            assert limits() == Limits(4.5, 3.0, True)
        assert limits() == Limits(4.5, 3.0, False)
    assert limits() == Limits(4.5, 60.0, False)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("SDMAD_READ_MEMORY", "2 GB", "expected a number, got '2 GB'"),
        ("SDMAD_READ_MEMORY", "0.1", r"needs 0\.5 GiB at least, got 0\.1"),
        ("SDMAD_READ_MEMORY", "inf", "at least, got inf"),
        ("SDMAD_READ_SECONDS", "0", "must be more than 0 seconds"),
        ("SDMAD_READ_SECONDS", "nan", "must be more than 0 seconds"),
    ],
)
def test_settings_refused(monkeypatch, picture, variable, value, message):
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match=rf"{variable}: .*{message}"):
        read_image(picture)
