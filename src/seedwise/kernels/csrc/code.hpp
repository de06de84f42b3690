// What every kernel returns: `Code` in kernels/launch.py is the same, and says what each means.

#pragma once

enum Code : int { DONE = 0, NO_MEMORY = 1, NO_KERNEL = 2, NO_ACTIVATION = 3 };
