/*
 * The built-in methods, in the order of their names: src/methods/NAME.c. CMake reads this file too:
 * one a line.
 */
MC_METHOD(dare)
MC_METHOD(max_magnitude)
MC_METHOD(median)
MC_METHOD(slerp)
MC_METHOD(soup)
MC_METHOD(stock)
MC_METHOD(task)
MC_METHOD(ties)
MC_METHOD(trimmed_mean)
