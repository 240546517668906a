// Products with weights, by cuBLASLt. A row-major y = x W^T is, by columns, y^T = W x^T: what the
// library calls A is our W, its B is our x.
#include <cublasLt.h>

#include <array>
#include <map>
#include <tuple>
#include <type_traits>

#include "core/kernels/cuda/launch.cuh"
#include "core/kernels/device.h"
#include "core/kernels/device_runtime.h"

namespace vernier::kernels::device {
namespace {

constexpr int64_t kWorkspace = int64_t{32} << 20;  // what NVIDIA advises for Hopper
constexpr uint32_t kAlignment = 16;                // bytes; weights begin at multiples of 32

void check(cublasStatus_t status, const std::string& what) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw DeviceError(cat(what, ": cuBLAS: ", cublasLtGetStatusString(status)));
}

template <class T>
constexpr cudaDataType_t type_of() {
  return std::is_same_v<T, float> ? CUDA_R_32F : CUDA_R_16BF;
}

/// What a product is known by.
struct Shape {
  cudaDataType_t in, out;
  bool bias;
  int64_t rows, inner, columns;

  auto operator<=>(const Shape&) const = default;
};

// The largest row count of the class: 64, 256, 1024 and so on.
int64_t class_of(int64_t rows) {
  int64_t most = 64;
  while (most < rows) most *= 4;
  return most;
}

template <class Handle, cublasStatus_t (*destroy)(Handle)>
struct Owned {
  Handle handle = nullptr;
  Owned() = default;
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  ~Owned() { destroy(handle); }
};
using Description = Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using Layout = Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using Preference = Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

template <class Value>
void set(const Description& to, cublasLtMatmulDescAttributes_t what, const Value& value) {
  check(cublasLtMatmulDescSetAttribute(to.handle, what, &value, sizeof(value)),
        "describing a product");
}
template <class Value>
void set(const Preference& to, cublasLtMatmulPreferenceAttributes_t what, const Value& value) {
  check(cublasLtMatmulPreferenceSetAttribute(to.handle, what, &value, sizeof(value)),
        "choosing a product's algorithm");
}

/// A product as the library wants to hear of it.
struct Product {
  Description description;
  Layout w, x, y;
  cublasLtMatmulAlgo_t algorithm{};

  explicit Product(const Shape& shape) {
    check(cublasLtMatmulDescCreate(&description.handle, CUBLAS_COMPUTE_32F, CUDA_R_32F),
          "describing a product");
    set(description, CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
    set(description, CUBLASLT_MATMUL_DESC_EPILOGUE,
        shape.bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT);
    const auto layout = [](Layout& to, cudaDataType_t type, int64_t lines, int64_t columns) {
      check(cublasLtMatrixLayoutCreate(&to.handle, type, static_cast<uint64_t>(lines),
                                       static_cast<uint64_t>(columns), lines),
            "describing a matrix");
    };
    layout(w, shape.in, shape.inner, shape.columns);
    layout(x, shape.in, shape.inner, shape.rows);
    layout(y, shape.out, shape.columns, shape.rows);
  }
};

bool sums_in_one_piece(const cublasLtMatmulAlgo_t& algorithm) {
  int32_t pieces = 0;
  size_t written = 0;
  check(cublasLtMatmulAlgoConfigGetAttribute(&algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &pieces,
                                             sizeof(pieces), &written),
        "reading a product's algorithm");
  return pieces <= 1;
}

// The library's best guess among the algorithms that are allowed. False where it has none.
bool choose(cublasLtHandle_t handle, const Product& product, cublasLtMatmulAlgo_t& algorithm) {
  Preference preference;
  check(cublasLtMatmulPreferenceCreate(&preference.handle), "choosing a product's algorithm");
  set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<uint64_t>(kWorkspace));
  set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
      static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_NONE));
  for (const auto side :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
    set(preference, side, kAlignment);
  std::array<cublasLtMatmulHeuristicResult_t, 16> found{};
  int count = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      handle, product.description.handle, product.w.handle, product.x.handle, product.y.handle,
      product.y.handle, preference.handle, static_cast<int>(found.size()), found.data(), &count);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED) return false;
  check(status, "choosing a product's algorithm");
  for (int i = 0; i < count; ++i) {
    const auto& one = found[static_cast<size_t>(i)];
    if (one.state != CUBLAS_STATUS_SUCCESS || !sums_in_one_piece(one.algo)) continue;
    algorithm = one.algo;
    return true;
  }
  return false;
}

bool serves(cublasLtHandle_t handle, const Product& product,
            const cublasLtMatmulAlgo_t& algorithm) {
  cublasLtMatmulHeuristicResult_t result{};
  return cublasLtMatmulAlgoCheck(handle, product.description.handle, product.w.handle,
                                 product.x.handle, product.y.handle, product.y.handle, &algorithm,
                                 &result) == CUBLAS_STATUS_SUCCESS &&
         result.workspaceSize <= static_cast<size_t>(kWorkspace);
}

}  // namespace

struct Linear::Plans {
  Owned<cublasLtHandle_t, cublasLtDestroy> handle;
  Memory workspace{Memory::Kind::gpu, kWorkspace};
  std::map<Shape, Product> products;

  Plans() { check(cublasLtCreate(&handle.handle), "starting cuBLAS"); }

  Product& of(const Shape& shape, const std::string& name) {
    const auto found = products.find(shape);
    if (found != products.end()) return found->second;
    const auto [place, added] = products.try_emplace(shape, shape);
    Product& product = place->second;
    Shape widest = shape;
    widest.rows = class_of(shape.rows);
    const bool shared = choose(handle.handle, Product(widest), product.algorithm) &&
                        serves(handle.handle, product, product.algorithm);
    if (!shared && !choose(handle.handle, product, product.algorithm)) {
      products.erase(place);
      throw DeviceError(cat(name, ": cuBLAS has no algorithm without split-K for this product"));
    }
    return product;
  }
};

Linear::Linear() : plans_(std::make_unique<Plans>()) {}
Linear::~Linear() = default;

template <class T, class Y>
void Linear::operator()(const T* x, const T* w, const Y* bias, Y* y, int64_t rows, int64_t inner,
                        int64_t columns, cudaStream_t stream) {
  if (rows == 0) return;
  const std::string name = shape_text("linear", {rows, inner, columns});
  Product& product = plans_->of({.in = type_of<T>(),
                                 .out = type_of<Y>(),
                                 .bias = bias != nullptr,
                                 .rows = rows,
                                 .inner = inner,
                                 .columns = columns},
                                name);
  if (bias != nullptr) set(product.description, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
  const float one = 1, none = 0;
  check(cublasLtMatmul(plans_->handle.handle, product.description.handle, &one, w, product.w.handle,
                       x, product.x.handle, &none, y, product.y.handle, y, product.y.handle,
                       &product.algorithm, plans_->workspace.as<void>(),
                       static_cast<size_t>(kWorkspace), stream),
        name);
}

template void Linear::operator()(const float*, const float*, const float*, float*, int64_t, int64_t,
                                 int64_t, cudaStream_t);
template void Linear::operator()(const Bf16*, const Bf16*, const Bf16*, Bf16*, int64_t, int64_t,
                                 int64_t, cudaStream_t);
template void Linear::operator()(const Bf16*, const Bf16*, const float*, float*, int64_t, int64_t,
                                 int64_t, cudaStream_t);

}  // namespace vernier::kernels::device
