/* The built-in methods, in the order of their names: src/methods/NAME.c. CMake reads this file too: one a line. */
MC_METHOD(median)
