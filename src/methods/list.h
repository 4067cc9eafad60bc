/*
 * The built-in methods, by family and name: src/methods/FAMILY/NAME.c. One per line, sorted: CMake
 * reads this file too.
 */
MC_METHOD(mergecraft, cabs)
MC_METHOD(mergecraft, cart)
MC_METHOD(mergecraft, consensus)
MC_METHOD(mergecraft, dare)
MC_METHOD(mergecraft, iso_c)
MC_METHOD(mergecraft, iso_cts)
MC_METHOD(mergecraft, magmax)
MC_METHOD(mergecraft, max_magnitude)
MC_METHOD(mergecraft, median)
MC_METHOD(mergecraft, slerp)
MC_METHOD(mergecraft, soup)
MC_METHOD(mergecraft, stock)
MC_METHOD(mergecraft, task)
MC_METHOD(mergecraft, ties)
MC_METHOD(mergecraft, trimmed_mean)
MC_METHOD(mergecraft, tsvm)
MC_METHOD(mergecraft, wudi)
