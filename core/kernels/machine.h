// What this machine could do at most, measured: the bounds that speeds are told as shares of.
#pragma once

#include "core/kernels/kernels.h"

namespace vernier::kernels {

/// GB a second that all threads read from memory together: best of several passes over 256 MB.
double read_gb_per_s();

/// GFLOP a second that all threads multiply and add together in products of this format, without
/// touching memory: best of several passes. A few hundredths of a second.
double peak_gflops(WeightFormat format);

}  // namespace vernier::kernels
