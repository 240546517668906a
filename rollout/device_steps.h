// The steps of the engine on a GPU.
#pragma once

#include <memory>

#include "rollout/step_runner.h"

namespace vernier {

/// MakeStepRunner for a decoder that lies on a GPU. A step is recorded once for each batch and
/// launched as one graph; everything that a step needs from the host is copied from pinned memory
/// in the order of the same stream, and what was drawn is copied back the same way: the host waits
/// for nothing but the event behind a step. DeviceError where the build has no CUDA.
std::unique_ptr<StepRunner> make_device_steps(Decoder& decoder, const StepLimits& limits);

/// Bytes of a page of its cache, and of all that it takes beside cache and weights.
int64_t device_page_bytes(const ModelSpec& spec, kernels::WeightFormat weights);
int64_t device_step_bytes(const ModelSpec& spec, const StepLimits& limits);

/// Throws UsageError on a model that the engine cannot draw with on a GPU.
void check_device_draw(const ModelSpec& spec);

}  // namespace vernier
