"""Cases of test_bad_input.py: what disks, processes, clocks, networks and names do wrong."""

from bad_commands import STOPPED_AGAIN, after, moved, not_utf8, on, option, recipe, resume, small_disk, train
from bad_input import (
    Case,
    clock_runs_backwards,
    cut,
    decoded_digits,
    flip,
    from_the_future,
    full_disk,
    locked,
    own_cache,
    photos,
    read_only,
    unreachable_hub,
    with_image,
)
from command_line import LEAN

SURROUNDINGS = [
    Case("output: a file", lambda p: train("digits", "-o", p.file("run", "mine").name), r"^run: .*a file stands where"),
    Case(
        "output: below a file", lambda p: train("digits", "-o", p.file("f", "").name + "/x"), r"^f/x: .*a file stands w"
    ),
    Case(
        "output: others' files",
        lambda p: train("digits", "-o", p.file("o/mine", "").parent),
        r"holds other files \(min",
    ),
    Case(
        "output: a kernel's folder", lambda p: train("digits", "-o", "/proc/nowhere/run"), r"^/proc/no.* another folder"
    ),
    Case(
        "read-only: a run", lambda p: train("digits", "-o", read_only(p) / "run"), r"/disk/run: .*choose another folder"
    ),
    Case(
        "read-only: a recipe",
        lambda p: ["recipes", "cp", "lite", read_only(p) / "x.yaml"],
        r"/disk/x\.yaml: can't be w",
    ),
    Case("read-only: a picture", lambda p: ["augment", "digits", "-o", read_only(p) / "x.png"], r"/disk/x\.png: "),
    Case(
        "read-only: a stopped run",
        lambda p: ["resume", read_only(p, lambda folder: p.stopped("disk/run")) / "run"],
        r"/disk/run/.*(read-only|no permission)",
    ),
    Case(
        "read-only: the cache",
        lambda p: p.patch.setenv("SEEDWISE_CACHE", str(read_only(p))) or train(photos(p)),
        r"/disk/.*images cannot be kept there .*SEEDWISE_CACHE to a folder that can be written",
    ),
    Case("full disk: a run", after(full_disk, *train("digits", "-o", "a/b/run")), r"^a/b/run/.*the disk is full; free"),
    Case(
        "full disk: a real one", small_disk, r"^disk/run.*the disk is full; free some space", ("disk/run", "disk/run/*")
    ),
    Case(
        "full disk: the cache",
        lambda p: (own_cache(p), full_disk(p)) and train(photos(p)),
        r"images cannot be kept there \(No space left on device\): free some space",
        ("cache", "cache/*"),
    ),
    Case(
        "full disk: a picture",
        after(lambda p: (decoded_digits(), full_disk(p)), "augment", "digits", "-o", "grid.png"),
        r"^grid\.png: .*the disk is full; free",
    ),
    Case(
        "full disk: a recipe",
        after(full_disk, "recipes", "cp", "lite", "x.yaml"),
        r"^x\.yaml: .*the disk is full; free",
    ),
    Case(
        "two processes: resume",
        after(lambda p: locked(p, p.stopped()), "resume", "run"),
        r"^run: another process is wr",
    ),
    Case(
        "two processes: finished",
        after(lambda p: locked(p, p.finished()), "resume", "run"),
        r"^run: another process is",
    ),
    Case(
        "two processes: train", after(lambda p: locked(p, p.stopped()), "train", *LEAN, "-o", "run"), r"another process"
    ),
    Case(
        "two processes: new",
        after(lambda p: locked(p, p.root / "run"), "train", *LEAN, "-o", "run"),
        r"another process",
    ),
    Case(
        "two processes: a study",
        after(lambda p: locked(p, p.root / "run"), *train("digits", "--seeds", "3,", "-o", "run")),
        r"^run: another process is writing this folder; wait for it, or stop it",
    ),
    Case(
        "clock: backwards, a typo",
        after(lambda p: clock_runs_backwards(p.patch), *option("data.limit=3")(None)),  # type: ignore[arg-type]
        "raise",
    ),
    Case(
        "clock: files of the future",
        resume(lambda run: (flip(run / "checkpoint.json"), from_the_future(run))),
        r"run/checkpoint.*damaged",
        STOPPED_AGAIN,
    ),
    Case(
        "network: the hub",
        after(unreachable_hub, "train", "digits", "-m", "timm:test_efficientnet", "--weights", "hub"),
        r"can't be had: .*check the network and HF_ENDPOINT, or give --weights none",
        ("hub", "hub/*"),
    ),
    Case(
        "network: a download",
        after(
            lambda p: (own_cache(p), p.patch.setenv("SEEDWISE_MIRRORS", "http://127.0.0.1:9/")),
            *train("cifar10", "-s", "data.download=true"),
        ),
        r"^cifar10: cannot be downloaded \(127\.0\.0\.1: .*\): try again later",
        ("cache", "cache/*"),
    ),
]

NAMES = [
    Case("name: bytes, of data", lambda p: train(not_utf8(b"caf\xe9")), r"^caf\\udce9: no such data"),
    Case(
        "name: bytes, of data that exists",
        on(moved(photos, not_utf8(b"caf\xe9"))),
        r"caf\\xe9: a path of data must be U",
    ),
    Case(
        "name: bytes, of a recipe",
        lambda p: train("digits", "-r", not_utf8(b"\xff.yaml")),
        r"^\\udcff\.yaml: no such re",
    ),
    Case("name: bytes, of a run", lambda p: ["resume", not_utf8(b"r\xff")], r"^r\\udcff: no such folder; give a run's"),
    Case(
        "name: bytes, of a broken image", on(with_image, b"x", not_utf8(b"\xff.png")), r"/\\xff\.png: not a readable im"
    ),
    Case("name: long, of data", lambda p: train("d" * 5000), r"^d{5000}: no such data"),
    Case(
        "name: long, of a run", lambda p: train("digits", "-o", "r" * 300), r"^r{300}.*: .*name.* too long; .*shorter"
    ),
    Case("name: long path of a run", lambda p: train("digits", "-o", "r/" * 4000), r"too long; .*shorter"),
    Case("name: long, to resume", lambda p: ["resume", "r" * 300], r"^r{300}.*too long; .*shorter"),
    Case("name: long, of a picture", lambda p: ["augment", "digits", "-o", "g" * 300 + ".png"], r"too long; .*shorter"),
    Case(
        "name: long, of weights",
        lambda p: train("digits", "--weights", "w" * 300),
        r"w{300}: can't be read \(File name",
    ),
    Case(
        "name: spaces and quotes, data", on(with_image, b"x", root='it\'s "my" d'), r"it's \"my\" d/b/9\.jpg: not a re"
    ),
    Case(
        "name: spaces and quotes, recipe", recipe("sed: 1\n", 'it\'s "my" r.yaml'), r"^it's \"my\" r\.yaml:1:1: sed: un"
    ),
    Case(
        "name: spaces and quotes, run",
        resume(cut, name="record.json", folder='it\'s "my" run'),
        r"^it's \"my\" run/record\.json:\d+:\d+: damaged",
    ),
    Case(
        "name: a line break, of data",
        on(moved(photos, "a\nb")),
        r"a\\nb: a path of data must be UTF-8 text in one line",
    ),
    Case("name: a line break, of a run", lambda p: ["resume", "a\nb"], r"^a\\nb: no such folder"),
]
