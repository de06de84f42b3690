"""Imports everything slow for the process that trials are forked from, without computing anything."""

from seedwise.base.machine import prepare_process

prepare_process()  # before torch

import seedwise.study.local_runner  # noqa: E402, F401
