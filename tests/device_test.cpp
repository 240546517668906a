// GPU kernels and the forward pass on a GPU, against the references. Without a GPU they say that
// they were not run.
#include "core/kernels/device.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include "core/model/model.h"
#include "tests/testing.h"
#include "tests/tiny_model.h"

namespace vernier {
namespace {

using testing::normal;
using testing::worst;

bool have_gpu() { return kernels::device::built() && at::globalContext().hasCUDA(); }

std::vector<float> to_host(const at::Tensor& tensor) {
  const at::Tensor host = tensor.cpu().contiguous();
  return {host.const_data_ptr<float>(), host.const_data_ptr<float>() + host.numel()};
}

at::Tensor to_gpu(const std::vector<float>& values) { return at::tensor(values).to(at::kCUDA); }

TEST_CASE("GPU kernels match their references" * doctest::skip(!have_gpu())) {
  for (const int64_t rows : {1, 3, 257})
    for (const int64_t width : {1, 31, 33, 257, 5000}) {
      CAPTURE(rows);
      CAPTURE(width);
      const auto x = normal(rows * width, 1), w = normal(width, 2),
                 pair = normal(rows * 2 * width, 3, 0, 4);
      std::vector<float> want(x.size()), inverse(rows);
      at::Tensor y = at::empty({rows * width}, at::TensorOptions(at::kCUDA));
      const at::Tensor gx = to_gpu(x), gw = to_gpu(w), gpair = to_gpu(pair);
      kernels::ref::rms_norm(x.data(), w.data(), want.data(), inverse.data(), rows, width, 1e-5);
      kernels::device::rms_norm(gx.const_data_ptr<float>(), gw.const_data_ptr<float>(),
                                y.data_ptr<float>(), rows, width, 1e-5f, nullptr);
      CHECK(worst(to_host(y), want, 1) < 1e-5);
      kernels::ref::swiglu(pair.data(), want.data(), rows, width);
      kernels::device::swiglu(gpair.const_data_ptr<float>(), y.data_ptr<float>(), rows, width,
                              nullptr);
      CHECK(worst(to_host(y), want, 1) < 1e-5);
      std::vector<int32_t> targets;
      for (int64_t t = 0; t < rows; ++t) targets.push_back(static_cast<int32_t>(t * 7 % width));
      std::vector<float> log_sum(rows), logprob(rows), entropy(rows);
      kernels::ref::log_softmax(x.data(), targets.data(), 1.25, log_sum.data(), logprob.data(),
                                entropy.data(), rows, width);
      at::Tensor a = at::empty({rows}, at::TensorOptions(at::kCUDA)), b = at::empty_like(a);
      const at::Tensor ids = at::tensor(std::vector<int64_t>(targets.begin(), targets.end()))
                                 .to(at::kInt)
                                 .to(at::kCUDA);
      kernels::device::log_softmax(gx.const_data_ptr<float>(), ids.const_data_ptr<int32_t>(), 1.25f,
                                   a.data_ptr<float>(), b.data_ptr<float>(), rows, width, nullptr);
      CHECK(worst(to_host(a), logprob, 1) < 1e-5);
      CHECK(worst(to_host(b), entropy, 1) < 1e-4);
    }
}

TEST_CASE("a build without CUDA says so" * doctest::skip(kernels::device::built())) {
  CHECK_THROWS_AS(kernels::device::swiglu(nullptr, nullptr, 1, 1, nullptr), DeviceError);
  const ModelSpec spec = testing::tiny_model(false).decoder->spec();
  CHECK(testing::usage_error([&] {
          Decoder(spec, false, at::kFloat, at::kCUDA);
        }).find("cuda preset") != std::string::npos);
}

}  // namespace
}  // namespace vernier
