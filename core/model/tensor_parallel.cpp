#include "core/model/tensor_parallel.h"

#include <ATen/ATen.h>

#include "core/base/errors.h"

namespace vernier {

std::string part_problem(const ModelSpec& spec, int64_t size) {
  struct Size {
    const char* name;
    int64_t value;
  };
  for (const auto& [name, value] : {Size{"num_attention_heads", spec.num_attention_heads},
                                    Size{"num_key_value_heads", spec.num_key_value_heads},
                                    Size{"intermediate_size", spec.intermediate_size}})
    if (value % size != 0)
      return cat("the model's ", name, " = ", value, " is not a multiple of ", size);
  if (size > 1 && spec.qk_norm == kernels::QkNorm::all)
    return "the model normalizes queries and keys over all heads, of which a part has some";
  if (size > 1 && spec.positions == Positions::alibi)
    return "the slopes of ALiBi go by the number of heads, of which a part has some";
  return "";
}

ModelSpec part_of(const ModelSpec& spec, int64_t size) {
  const std::string problem = part_problem(spec, size);
  ensure(problem.empty(), problem);
  ModelSpec out = spec;
  out.num_attention_heads /= size;
  out.num_key_value_heads /= size;
  out.intermediate_size /= size;
  return out;
}

void take_part(const TensorPart& part, Decoder& whole, int64_t unit, const at::Tensor& values,
               Decoder& decoder) {
  const at::NoGradGuard no_grad;
  const int64_t begin = whole.units()[static_cast<size_t>(unit)].begin;
  const std::span<const NamedSlice> from = whole.slices_of(unit), to = decoder.slices_of(unit);
  ensure(from.size() == to.size(), "a part of the same model");
  for (size_t i = 0; i < from.size(); ++i) {
    const std::vector<int64_t>&shape = from[i].shape, &own = to[i].shape;
    const int64_t width = shape.size() == 2 ? shape[1] : 1;
    const int64_t place = whole.parameters()[from[i].parameter].value.storage_offset() - begin;
    at::Tensor source =
        values.narrow(0, place + from[i].first_row * width, from[i].numel()).view(shape);
    for (size_t d = 0; d < shape.size(); ++d)
      if (shape[d] != own[d])
        source = source.narrow(static_cast<int64_t>(d), part.rank * own[d], own[d]);
    at::Tensor target = decoder.slice(to[i]);
    // What is added to the sum of the parts is added by one of them.
    const bool of_sum =
        to[i].name.ends_with("o_proj.bias") || to[i].name.ends_with("down_proj.bias");
    if (of_sum && part.rank > 0)
      target.zero_();
    else
      target.copy_(source);
  }
}

}  // namespace vernier
