// Kernels that take a row each, on the CPU and on a GPU, against the references, by one test body;
// and the forward pass on a GPU. Without a GPU they say that they were not run.
#include "core/kernels/device.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include "core/model/model.h"
#include "tests/device_arrays.h"
#include "tests/testing.h"
#include "tests/tiny_model.h"

namespace vernier {
namespace {

using kernels::AttentionShape;
using kernels::QkNorm;
using testing::as_floats;
using testing::as_type;
using testing::exact_in;
using testing::have_gpu;
using testing::normal;
using testing::OnDevice;
using testing::tolerance;
using testing::worst;

using Floats = std::vector<float>;

constexpr int64_t kRows[] = {1, 3, 257};
constexpr int64_t kWidths[] = {1, 31, 33, 257, 5000};

// The kernels that the CPU has too, from host memory to host memory.
struct OnCpu {
  using Number = float;

  static Floats rms_norm(const Floats& x, const Floats& w, int64_t rows, float eps) {
    Floats y(x.size()), inverse(static_cast<size_t>(rows));
    kernels::rms_norm(x.data(), w.data(), y.data(), inverse.data(), rows, std::ssize(w), eps);
    return y;
  }
  static Floats swiglu(const Floats& gate_up, int64_t rows) {
    Floats y(gate_up.size() / 2);
    kernels::swiglu(gate_up.data(), y.data(), rows, std::ssize(y) / rows);
    return y;
  }
  static Floats qk_norm(const Floats& qkv, const Floats& q, const Floats& k,
                        const AttentionShape& shape, QkNorm kind, float eps) {
    const int64_t rows = std::ssize(qkv) / shape.row();
    Floats out(qkv.size()), inverse(static_cast<size_t>(rows * kernels::qk_norms(shape, kind)));
    kernels::qk_norm(qkv.data(), q.data(), k.data(), out.data(), inverse.data(), shape, kind, rows,
                     eps);
    return out;
  }
};

template <class T>
struct OnGpu {
  using Number = T;

  static Floats rms_norm(const Floats& x, const Floats& w, int64_t rows, float eps) {
    OnDevice<float> gx(x);
    OnDevice<T> gw(as_type<T>(w)), y(std::ssize(x));
    kernels::device::rms_norm(gx.data(), gw.data(), y.data(), rows, std::ssize(w), eps, nullptr);
    return as_floats(y.host());
  }
  static Floats swiglu(const Floats& gate_up, int64_t rows) {
    OnDevice<T> in(as_type<T>(gate_up)), out(std::ssize(gate_up) / 2);
    kernels::device::swiglu(in.data(), out.data(), rows, std::ssize(gate_up) / 2 / rows, nullptr);
    return as_floats(out.host());
  }
  static Floats qk_norm(const Floats& qkv, const Floats& q, const Floats& k,
                        const AttentionShape& shape, QkNorm kind, float eps) {
    OnDevice<T> x(as_type<T>(qkv)), gq(as_type<T>(q)), gk(as_type<T>(k));
    kernels::device::qk_norm(x.data(), gq.data(), gk.data(), shape, kind,
                             std::ssize(qkv) / shape.row(), eps, nullptr);
    return as_floats(x.host());
  }
};

template <class Kernels>
void check_rows() {
  using T = Kernels::Number;
  for (const int64_t rows : kRows)
    for (const int64_t width : kWidths) {
      CAPTURE(rows);
      CAPTURE(width);
      const Floats x = exact_in<T>(normal(rows * width, 1)), w = exact_in<T>(normal(width, 2)),
                   pair = exact_in<T>(normal(rows * 2 * width, 3, 0, 4));
      Floats want(x.size()), inverse(static_cast<size_t>(rows));
      kernels::ref::rms_norm(x.data(), w.data(), want.data(), inverse.data(), rows, width, 1e-5);
      CHECK(worst(Kernels::rms_norm(x, w, rows, 1e-5f), want, 1) < tolerance<T>());
      kernels::ref::swiglu(pair.data(), want.data(), rows, width);
      CHECK(worst(Kernels::swiglu(pair, rows), want, 1) < tolerance<T>());
    }
}

template <class Kernels>
void check_qk_norm() {
  using T = Kernels::Number;
  for (const QkNorm kind : {QkNorm::head, QkNorm::all})
    for (const int64_t size : {2, 30, 64, 128})
      for (const int64_t rows : {1, 31, 33}) {
        CAPTURE(size);
        CAPTURE(rows);
        const AttentionShape shape{.heads = 6, .kv_heads = 2, .head_size = size};
        const bool all = kind == QkNorm::all;
        const Floats qkv = exact_in<T>(normal(rows * shape.row(), 4)),
                     q = exact_in<T>(normal(size * (all ? shape.heads : 1), 5)),
                     k = exact_in<T>(normal(size * (all ? shape.kv_heads : 1), 6));
        Floats want(qkv.size()),
            inverse(static_cast<size_t>(rows * kernels::qk_norms(shape, kind)));
        kernels::ref::qk_norm(qkv.data(), q.data(), k.data(), want.data(), inverse.data(), shape,
                              kind, rows, 1e-6);
        CHECK(worst(Kernels::qk_norm(qkv, q, k, shape, kind, 1e-6f), want, 1) < tolerance<T>());
      }
}

// The two kernels around the residual stream, which the CPU has in pieces.
template <class T>
void check_stream() {
  for (const int64_t rows : kRows)
    for (const int64_t width : kWidths) {
      CAPTURE(rows);
      CAPTURE(width);
      const Floats x = normal(rows * width, 1), delta = exact_in<T>(normal(rows * width, 2)),
                   w = exact_in<T>(normal(width, 3));
      Floats sum = x, normed(x.size()), inverse(static_cast<size_t>(rows));
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += delta[i];
      kernels::ref::rms_norm(sum.data(), w.data(), normed.data(), inverse.data(), rows, width,
                             1e-5);
      OnDevice<float> stream(x);
      OnDevice<T> gdelta(as_type<T>(delta)), gw(as_type<T>(w)), y(rows * width);
      kernels::device::add_rms_norm(stream.data(), gdelta.data(), gw.data(), y.data(), rows, width,
                                    1e-5f, nullptr);
      CHECK(worst(stream.host(), sum, 1) < 1e-6);
      CHECK(worst(as_floats(y.host()), normed, 1) < tolerance<T>());
      kernels::device::add_rms_norm<T>(stream.data(), nullptr, gw.data(), y.data(), rows, width,
                                       1e-5f, nullptr);
      CHECK(worst(stream.host(), sum, 1) < 1e-6);
      CHECK(worst(as_floats(y.host()), normed, 1) < tolerance<T>());

      kernels::ref::rms_norm(delta.data(), w.data(), normed.data(), inverse.data(), rows, width,
                             1e-5);
      for (size_t i = 0; i < sum.size(); ++i) sum[i] = x[i] + normed[i];
      stream = OnDevice<float>(x);
      kernels::device::rms_norm_add(stream.data(), gdelta.data(), gw.data(), y.data(), rows, width,
                                    1e-5f, nullptr);
      CHECK(worst(stream.host(), sum, 1) < 1e-5);
      CHECK(worst(as_floats(y.host()), sum, 1) < tolerance<T>());
    }
}

template <class T>
void check_embedding() {
  constexpr int64_t kVocabulary = 33, kWidth = 257;
  const Floats table = exact_in<T>(normal(kVocabulary * kWidth, 1));
  const std::vector<int32_t> ids = {32, 0, 7, 7};
  Floats want;
  for (const int32_t id : ids)
    want.insert(want.end(), table.begin() + id * kWidth, table.begin() + (id + 1) * kWidth);
  OnDevice<T> gtable(as_type<T>(table));
  OnDevice<int32_t> gids(ids);
  OnDevice<float> out(std::ssize(want));
  kernels::device::embedding(gtable.data(), gids.data(), out.data(), std::ssize(ids), kWidth,
                             nullptr);
  CHECK(out.host() == want);
}

TEST_CASE("kernels of a row match their references on the CPU") {
  check_rows<OnCpu>();
  check_qk_norm<OnCpu>();
}

TEST_CASE_TEMPLATE("kernels of a row match their references on a GPU" * doctest::skip(!have_gpu()),
                   T, float, testing::Bf16) {
  check_rows<OnGpu<T>>();
  check_qk_norm<OnGpu<T>>();
  check_stream<T>();
  check_embedding<T>();
}

TEST_CASE("a build without CUDA says so" * doctest::skip(kernels::device::built())) {
  CHECK_THROWS_AS(kernels::device::swiglu<float>(nullptr, nullptr, 1, 1, nullptr), DeviceError);
  const ModelSpec spec = testing::tiny_model(false).decoder->spec();
  CHECK(testing::usage_error([&] {
          Decoder(spec, false, at::kFloat, at::kCUDA);
        }).find("cuda preset") != std::string::npos);
}

}  // namespace
}  // namespace vernier
