"""What the process that trials are forked from imports: all that takes seconds, and nothing that computes."""

from seedwise.base.machine import prepare_process

prepare_process()  # before torch

import seedwise.study.local_runner  # noqa: E402, F401
