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

TEST_CASE("the forward pass on a GPU equals that on the CPU" * doctest::skip(!have_gpu())) {
  const at::NoGradGuard no_grad;
  NewModel config;
  config.characters = "0123456789abc.";
  config.end_token = ".";
  config.spec.num_key_value_heads = 2;
  config.spec.head_dim = 16;
  const Model cpu = new_model(config, 3, false), gpu = new_model(config, 3, false);
  gpu.decoder->to_gpu();
  PackedTokens tokens;
  tokens.add({1, 2, 3, 4, 5, 6, 7});
  tokens.add({3});
  const std::vector<int32_t> targets = {2, 3, 4, 5, 6, 7, 1, 9};
  const auto on_cpu =
      ops::token_logprobs(cpu.decoder->hidden(tokens), cpu.decoder->head(), targets, 0.8);
  const auto on_gpu =
      ops::token_logprobs(gpu.decoder->hidden(tokens), gpu.decoder->head(), targets, 0.8);
  CHECK(worst(to_host(on_gpu.logprob), to_host(on_cpu.logprob), 1) < 1e-4);
  CHECK(worst(to_host(on_gpu.entropy), to_host(on_cpu.entropy), 1) < 1e-4);
}

TEST_CASE("a build without CUDA says so" * doctest::skip(kernels::device::built())) {
  CHECK_THROWS_AS(kernels::device::swiglu(nullptr, nullptr, 1, 1, nullptr), DeviceError);
  const Model model = testing::tiny_model(false);
  CHECK(testing::usage_error([&] { model.decoder->to_gpu(); }).find("cuda preset") !=
        std::string::npos);
}

}  // namespace
}  // namespace vernier
