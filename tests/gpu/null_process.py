"""Answers questions on the null driver, which it was started with: JSON in on stdin, JSON out on the last line."""

import importlib
import json
import os
import sys
import tempfile
import traceback
from typing import IO, Any

from seedwise.base.machine import prepare_process

prepare_process()  # before torch

import null_counts  # noqa: E402

import seedwise.cli  # noqa: E402
import seedwise.study.preload  # noqa: E402, F401 -- imports all that is slow, and touches no device


def answer(question: dict[str, Any], out: IO[str], err: IO[str], told: IO[str]) -> None:
    """Answer in this process, a fork, which ends here."""
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    os.environ.update(question["environment"])
    sys.path += [place for place in question["path"] if place not in sys.path]
    found: dict[str, Any] = {"result": None, "error": None}
    try:
        function = getattr(importlib.import_module(question["module"]), question["function"])
        null_counts.reset()
        found["result"] = function(*question["arguments"])
    except BaseException:
        found["error"] = traceback.format_exc()
    json.dump(found | {"counts": null_counts.counts(), "waits": null_counts.waits()}, told)
    for stream in (told, sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)


def main() -> None:
    answers = []
    for question in json.load(sys.stdin):
        with (
            tempfile.TemporaryFile("w+") as out,
            tempfile.TemporaryFile("w+") as err,
            tempfile.TemporaryFile("w+") as told,
        ):
            pid = os.fork()
            if not pid:
                answer(question, out, err, told)
            _, status = os.waitpid(pid, 0)
            for file in (out, err, told):
                file.seek(0)
            died = {"result": None, "error": f"the process ended with status {status}\n", "counts": {}, "waits": {}}
            text = told.read()
            answers.append((json.loads(text) if text else died) | {"out": out.read(), "err": err.read()})
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
