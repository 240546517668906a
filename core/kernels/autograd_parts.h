// What the functions with gradients share: how objects travel through an autograd graph.
#pragma once

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <memory>
#include <utility>

namespace vernier {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// Parameters and layouts travel through the autograd context as addresses: they outlive the graph.
inline int64_t address(const void* object) { return reinterpret_cast<int64_t>(object); }
template <class T>
T& at_address(const AutogradContext* ctx, const char* key) {
  return *reinterpret_cast<T*>(ctx->saved_data.at(key).toInt());
}

// Where the graph of something computed with a weight begins. A leaf, which the graph holds: the
// weight itself has to be free to go.
inline at::Tensor root_of(const at::Tensor& weight) {
  return at::empty({0}, weight.options()).requires_grad_(weight.requires_grad());
}

// An empty tensor that holds on to an object for as long as a graph holds on to it.
inline at::Tensor keeper_of(std::shared_ptr<void> object) {
  static char nothing = 0;
  return at::from_blob(
      &nothing, {0}, [object = std::move(object)](void*) {}, at::kByte);
}

}  // namespace vernier
