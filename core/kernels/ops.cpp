#include "core/kernels/ops.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/base/errors.h"
#include "core/base/pulse.h"
#include "core/kernels/autograd_parts.h"

namespace vernier {
namespace {

bool is_double(const at::Tensor& x) { return x.scalar_type() == at::kDouble; }

at::Tensor to_tensor(const std::vector<int32_t>& values) {
  return at::tensor(at::IntArrayRef(std::vector<int64_t>(values.begin(), values.end())), at::kInt);
}

const kernels::PackedMatrix& forward_pack(Parameter& weight) {
  if (!weight.forward_packed)
    kernels::pack_transposed(weight.value.const_data_ptr<float>(), weight.value.size(0),
                             weight.value.size(1), weight.forward);
  weight.forward_packed = true;
  return weight.forward;
}

// Runs `body` with T{} of the tensor's type; the one dispatch over types.
template <class Body>
void by_type(const at::Tensor& x, const Body& body) {
  if (is_double(x)) return body(double{});
  ensure(x.scalar_type() == at::kFloat, "an fp32 or fp64 tensor");
  body(float{});
}

struct Embedding : Function<Embedding> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor&, const at::Tensor& ids,
                            int64_t table) {
    ctx->saved_data["table"] = table;
    ctx->save_for_backward({ids});
    return at_address<Parameter>(ctx, "table").value.detach().index_select(0, ids);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto& table = at_address<Parameter>(ctx, "table");
    const at::Tensor ids = ctx->get_saved_variables()[0], dy = grads[0].contiguous();
    if (table.grad.defined()) {
      table.bring_gradient();
      by_type(dy, [&](auto zero) {
        using T = decltype(zero);
        const int64_t width = dy.size(1);
        const auto* row = ids.const_data_ptr<int32_t>();
        const T* from = dy.const_data_ptr<T>();
        T* to = table.grad.data_ptr<T>();
        for (int64_t t = 0; t < dy.size(0); ++t)
          for (int64_t i = 0; i < width; ++i) to[row[t] * width + i] += from[t * width + i];
      });
      table.gradient_done();
    }
    return {at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

struct RmsNorm : Function<RmsNorm> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor&,
                            int64_t weight, double eps) {
    ctx->saved_data["weight"] = weight;
    const at::Tensor& value = at_address<Parameter>(ctx, "weight").value;
    at::Tensor y = at::empty_like(x), inverse = at::empty({x.size(0)}, x.options());
    by_type(x, [&](auto zero) {
      using T = decltype(zero);
      if constexpr (std::is_same_v<T, float>)
        kernels::rms_norm(x.const_data_ptr<T>(), value.const_data_ptr<T>(), y.data_ptr<T>(),
                          inverse.data_ptr<T>(), x.size(0), x.size(1), static_cast<float>(eps));
      else
        kernels::ref::rms_norm(x.const_data_ptr<T>(), value.const_data_ptr<T>(), y.data_ptr<T>(),
                               inverse.data_ptr<T>(), x.size(0), x.size(1), eps);
    });
    ctx->save_for_backward({x, inverse});
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor& x = saved[0];
    const at::Tensor dy = grads[0].contiguous();
    auto& weight = at_address<Parameter>(ctx, "weight");
    weight.bring();
    weight.bring_gradient();
    at::Tensor dx = at::empty_like(x);
    at::Tensor dw = weight.grad.defined() ? weight.grad : at::zeros_like(weight.value);
    by_type(x, [&](auto zero) {
      using T = decltype(zero);
      const auto run = [&](auto kernel) {
        kernel(dy.const_data_ptr<T>(), x.const_data_ptr<T>(), weight.value.const_data_ptr<T>(),
               saved[1].const_data_ptr<T>(), dx.data_ptr<T>(), dw.data_ptr<T>(), x.size(0),
               x.size(1));
      };
      if constexpr (std::is_same_v<T, float>)
        run(kernels::rms_norm_backward);
      else
        run(kernels::ref::rms_norm_backward<T>);
    });
    return {dx, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

// Null where there is no such weight.
const float* numbers_of(const Parameter* weight) {
  return weight == nullptr ? nullptr : weight->value.const_data_ptr<float>();
}

// Vectors and, by `matrix`, matrices.
template <class To, class Vector, class Matrix>
To each_of(const LayerParameters& from, const Vector& vector, const Matrix& matrix) {
  return {vector(from.attention_norm), vector(from.qkv_bias),    vector(from.q_norm),
          vector(from.k_norm),         vector(from.output_bias), vector(from.mlp_norm),
          vector(from.gate_up_bias),   vector(from.down_bias),   matrix(from.qkv),
          matrix(from.output),         matrix(from.gate_up),     matrix(from.down)};
}

template <class T>
kernels::LayerParts<T*, T*> gradients_of(const LayerParameters& weights) {
  const auto gradient = [](const Parameter* one) {
    return one != nullptr && one->grad.defined() ? one->grad.data_ptr<T>() : nullptr;
  };
  return each_of<kernels::LayerParts<T*, T*>>(weights, gradient, gradient);
}

kernels::LayerAdapters adapters_of(const LayerParameters& weights) {
  return {.qkv = weights.qkv->adapter,
          .output = weights.output->adapter,
          .gate_up = weights.gate_up->adapter,
          .down = weights.down->adapter};
}

// An array of x's size in memory that comes back to the pool: fresh memory costs more than what is
// written to it.
at::Tensor room_like(const at::Tensor& x, TrainingMemory& memory) {
  const auto buffer = memory.rows.take(static_cast<size_t>(x.numel()) * sizeof(float));
  return at::from_blob(
      buffer->as<float>(), x.sizes(), [buffer](void*) {}, at::kFloat);
}

// What the backward pass of a layer finds again.
struct LayerCall {
  const LayerParameters* weights;
  const kernels::LayerShape* shape;
  std::shared_ptr<const LayerPass> pass;
  TrainingMemory* memory;
  at::Tensor x;                  // fp32
  std::shared_ptr<Buffer> kept;  // fp32: the activations, where they are not computed again
  std::shared_ptr<kernels::ref::LayerState<double>> reference;  // fp64

  kernels::LayerSaved share(Buffer& buffer) const {
    return kernels::share_saved(*shape, pass->tokens.size(), pass->precision,
                                buffer.as<std::byte>());
  }
  std::shared_ptr<Buffer> take_saved() const {
    return memory->saved.take(
        static_cast<size_t>(kernels::saved_bytes(*shape, pass->tokens.size(), pass->precision)));
  }

  void forward(const float* in, float* y, const kernels::LayerSaved* saved) const {
    weights->qkv->bring();
    const auto matrix = [this](Parameter* one) {
      return &ops::packed(*one, kernels::format_of(pass->precision));
    };
    kernels::layer_forward(*shape, each_of<kernels::LayerWeights>(*weights, numbers_of, matrix),
                           pass->rows(), pass->precision, in, y, saved, memory->layer);
  }

  void backward(float* d) const {
    weights->qkv->bring();
    weights->qkv->bring_gradient();
    std::shared_ptr<Buffer> buffer = kept;
    const auto* in = x.const_data_ptr<float>();
    if (pass->recompute) {
      buffer = take_saved();
      const kernels::LayerSaved saved = share(*buffer);
      at::Tensor unused = room_like(x, *memory);  // the output again
      forward(in, unused.data_ptr<float>(), &saved);
    }
    auto plain = memory->plain.begin();
    const auto pack = [&](const Parameter* from) {
      kernels::PackedMatrix& to = *plain++;
      kernels::pack_plain(numbers_of(from), from->value.size(0), from->value.size(1), to,
                          kernels::format_of(pass->precision));
      return &to;
    };
    const auto all = each_of<kernels::LayerWeights>(*weights, numbers_of, pack);
    kernels::layer_backward(*shape, all, pass->rows(), pass->precision, in, share(*buffer), d,
                            gradients_of<float>(*weights), memory->layer, adapters_of(*weights));
    weights->qkv->gradient_done();
  }
};

struct LayerFunction : Function<LayerFunction> {
  // `call` is owned by the graph: it goes with `keeper`, an empty tensor.
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& keeper,
                            int64_t call) {
    pulse::beat();
    ctx->saved_data["call"] = call;
    ctx->save_for_backward({keeper});
    auto& layer = at_address<LayerCall>(ctx, "call");
    if (is_double(x)) {
      at::Tensor y = x.detach().clone();
      kernels::ref::layer_forward(*layer.shape, values_of(*layer.weights), layer.pass->rows(),
                                  y.data_ptr<double>(), *layer.reference);
      return y;
    }
    at::Tensor y = room_like(x, *layer.memory);
    layer.x = x.detach();
    if (!layer.pass->recompute) layer.kept = layer.take_saved();
    const auto saved = layer.kept != nullptr ? layer.share(*layer.kept) : kernels::LayerSaved();
    layer.forward(x.const_data_ptr<float>(), y.data_ptr<float>(),
                  layer.kept != nullptr ? &saved : nullptr);
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    pulse::beat();
    const auto keeper = ctx->get_saved_variables();
    const auto& layer = at_address<LayerCall>(ctx, "call");
    at::Tensor d = is_double(grads[0]) ? at::empty_like(grads[0], at::MemoryFormat::Contiguous)
                                       : room_like(grads[0], *layer.memory);
    d.copy_(grads[0]);
    if (is_double(d))
      kernels::ref::layer_backward(*layer.shape, values_of(*layer.weights), layer.pass->rows(),
                                   *layer.reference, d.data_ptr<double>(),
                                   gradients_of<double>(*layer.weights));
    else
      layer.backward(d.data_ptr<float>());
    return {d, at::Tensor(), at::Tensor()};
  }

 private:
  static kernels::LayerParts<const double*, const double*> values_of(
      const LayerParameters& weights) {
    const auto value = [](const Parameter* one) -> const double* {
      return one == nullptr ? nullptr : one->value.const_data_ptr<double>();
    };
    return each_of<kernels::LayerParts<const double*, const double*>>(weights, value, value);
  }
};

// What the head's backward pass finds again.
struct HeadCall {
  Parameter* head;
  double temperature;
  kernels::Precision precision;
  kernels::HeadScratch* scratch;
  at::Tensor square_mass;  // [T], undefined where it is not asked for

  template <class T>
  T* squares() const {
    return square_mass.defined() ? square_mass.data_ptr<T>() : nullptr;
  }
  kernels::HeadRows rows(const at::Tensor& hidden, const at::Tensor& targets) const {
    return {.hidden = hidden.const_data_ptr<float>(),
            .targets = targets.const_data_ptr<int32_t>(),
            .rows = hidden.size(0),
            .width = hidden.size(1),
            .vocabulary = head->value.size(0),
            .temperature = temperature,
            .precision = precision};
  }
  const kernels::PackedMatrix* packed() const {
    const auto format = kernels::format_of(precision);
    if (format == kernels::WeightFormat::fp32)
      return head->forward_packed ? &head->forward : nullptr;
    return head->rounded_packed && head->rounded.format == format ? &head->rounded : nullptr;
  }
};

struct Head : Function<Head> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& hidden, const at::Tensor&,
                               const at::Tensor& targets, const at::Tensor& keeper, int64_t call) {
    pulse::beat();
    at::Tensor logprob = at::empty({hidden.size(0)}, hidden.options());
    at::Tensor entropy = at::empty_like(logprob), log_sum = at::empty_like(logprob);
    ctx->saved_data["call"] = call;
    const auto& head = at_address<HeadCall>(ctx, "call");
    const at::Tensor& value = head.head->value;
    if (is_double(hidden)) {
      kernels::ref::head_forward(hidden.const_data_ptr<double>(), value.const_data_ptr<double>(),
                                 targets.const_data_ptr<int32_t>(), head.temperature,
                                 log_sum.data_ptr<double>(), logprob.data_ptr<double>(),
                                 entropy.data_ptr<double>(), head.squares<double>(), hidden.size(0),
                                 value.size(1), value.size(0));
    } else {
      kernels::head_forward(head.rows(hidden, targets), value.const_data_ptr<float>(),
                            head.packed(), log_sum.data_ptr<float>(), logprob.data_ptr<float>(),
                            entropy.data_ptr<float>(), head.squares<float>(), *head.scratch);
    }
    ctx->save_for_backward({hidden, targets, log_sum, entropy, keeper});
    return {logprob, entropy};
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    pulse::beat();
    const auto saved = ctx->get_saved_variables();
    const auto& head = at_address<HeadCall>(ctx, "call");
    const at::Tensor &hidden = saved[0], &targets = saved[1], &value = head.head->value;
    head.head->bring();
    head.head->bring_gradient();
    const auto whole = [&](const at::Tensor& grad) {
      return grad.defined() ? grad.contiguous() : at::zeros({hidden.size(0)}, hidden.options());
    };
    const at::Tensor d_logprob = whole(grads[0]), d_entropy = whole(grads[1]);
    at::Tensor d_hidden = at::empty_like(hidden);
    const auto gradient = [&](auto zero) {
      const at::Tensor& grad = head.head->grad;
      return grad.defined() ? grad.data_ptr<decltype(zero)>() : nullptr;
    };
    if (is_double(hidden))
      kernels::ref::head_backward(
          hidden.const_data_ptr<double>(), value.const_data_ptr<double>(),
          targets.const_data_ptr<int32_t>(), head.temperature, saved[2].const_data_ptr<double>(),
          saved[3].const_data_ptr<double>(), d_logprob.const_data_ptr<double>(),
          d_entropy.const_data_ptr<double>(), d_hidden.data_ptr<double>(), gradient(double{}),
          hidden.size(0), value.size(1), value.size(0));
    else
      kernels::head_backward(head.rows(hidden, targets), value.const_data_ptr<float>(),
                             saved[2].const_data_ptr<float>(), saved[3].const_data_ptr<float>(),
                             d_logprob.const_data_ptr<float>(), d_entropy.const_data_ptr<float>(),
                             d_hidden.data_ptr<float>(), gradient(float{}), *head.scratch);
    head.head->gradient_done();
    return {d_hidden, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

void RopeTable::reserve(int64_t count) {
  const int64_t held = cosine.defined() ? cosine.size(0) : 0;
  if (count <= held) return;
  const at::NoGradGuard no_grad;
  const at::Tensor positions = at::arange(std::max(count, 2 * held), at::kFloat);
  const at::Tensor angles = positions.unsqueeze(1) * inverse_frequency;
  cosine = at::cos(angles) * scale;
  sine = at::sin(angles) * scale;
}

void RopeTable::place(LayerPass& pass) const {
  const at::NoGradGuard no_grad;
  std::vector<float>& positions = pass.tokens.rope_positions;
  ensure(std::ssize(positions) == pass.tokens.size(), "a place for each token");
  const at::Tensor angles =
      at::from_blob(positions.data(), {pass.tokens.size(), 1}, at::kFloat) * inverse_frequency;
  pass.cosine = at::cos(angles) * scale;
  pass.sine = at::sin(angles) * scale;
  std::iota(pass.tokens.positions.begin(), pass.tokens.positions.end(), 0);
}

void PackedTokens::add(const std::vector<int32_t>& segment, int32_t before) {
  ensure(before < segments() && (before < 0 || prefix[static_cast<size_t>(before)] < 0),
         "a prefix that begins a sequence");
  const int64_t first = before < 0 ? 0 : tokens(before);
  ids.insert(ids.end(), segment.begin(), segment.end());
  for (int64_t i = 0; i < std::ssize(segment); ++i)
    positions.push_back(static_cast<int32_t>(first + i));
  starts.push_back(static_cast<int32_t>(ids.size()));
  prefix.push_back(before);
}

int64_t PackedTokens::tokens(int64_t s) const {
  const auto place = static_cast<size_t>(s);
  const int64_t own = starts[place + 1] - starts[place];
  return prefix[place] < 0 ? own : own + tokens(prefix[place]);
}

kernels::LayerRows LayerPass::rows() const {
  return {.rows = tokens.size(),
          .segments = {tokens.starts.data(), tokens.segments(), tokens.prefix.data()},
          .positions = tokens.positions.data(),
          .cosine = cosine.const_data_ptr<float>(),
          .sine = sine.const_data_ptr<float>()};
}

namespace ops {

const kernels::PackedMatrix& packed(Parameter& weight, kernels::WeightFormat format) {
  if (format == kernels::WeightFormat::fp32) return forward_pack(weight);
  if (!weight.rounded_packed || weight.rounded.format != format)
    kernels::pack_transposed(weight.value.const_data_ptr<float>(), weight.value.size(0),
                             weight.value.size(1), weight.rounded, format);
  weight.rounded_packed = true;
  return weight.rounded;
}

void check_ids(const std::vector<int32_t>& ids, const Parameter& table) {
  const int64_t rows = table.value.size(0);
  for (const int32_t id : ids)
    if (id < 0 || id >= rows) fail("token id ", id, " is outside the model's vocabulary of ", rows);
}

at::Tensor embedding(const std::vector<int32_t>& ids, Parameter& table) {
  check_ids(ids, table);
  table.bring();
  return Embedding::apply(root_of(table.value), to_tensor(ids), address(&table));
}

at::Tensor rms_norm(const at::Tensor& x, Parameter& weight, double eps) {
  ensure(x.is_contiguous() && x.size(1) == weight.value.size(0), "a dense [T, D] input");
  weight.bring();
  return RmsNorm::apply(x, root_of(weight.value), address(&weight), eps);
}

at::Tensor layer(const at::Tensor& x, const LayerParameters& weights,
                 const kernels::LayerShape& shape, const std::shared_ptr<const LayerPass>& pass,
                 TrainingMemory& memory) {
  ensure(x.is_contiguous() && x.size(0) == pass->tokens.size() && x.size(1) == shape.width,
         "a dense [T, D] input");
  const auto call = std::make_shared<LayerCall>();
  *call = {&weights, &shape, pass, &memory, at::Tensor(), nullptr, nullptr};
  if (is_double(x)) call->reference = std::make_shared<kernels::ref::LayerState<double>>();
  if (!is_double(x) && !(at::GradMode::is_enabled() && x.requires_grad())) {
    at::Tensor y = room_like(x, memory);
    call->forward(x.const_data_ptr<float>(), y.data_ptr<float>(), nullptr);
    return y;
  }
  return LayerFunction::apply(x, keeper_of(call), address(call.get()));
}

TokenLogprobs token_logprobs(const at::Tensor& hidden, Parameter& head,
                             const std::vector<int32_t>& targets, double temperature,
                             kernels::Precision precision, TrainingMemory* memory,
                             bool square_mass) {
  ensure(hidden.is_contiguous() && hidden.size(0) == static_cast<int64_t>(targets.size()),
         "a target for every row");
  for (const int32_t id : targets) ensure(id >= 0 && id < head.value.size(0), "a known target id");
  head.bring();
  struct Own {
    HeadCall call;
    kernels::HeadScratch scratch;
  };
  const auto own = std::make_shared<Own>();
  own->call = {&head, temperature, precision, memory != nullptr ? &memory->head : &own->scratch,
               square_mass ? at::empty({hidden.size(0)}, hidden.options()) : at::Tensor()};
  const auto both = Head::apply(hidden, root_of(head.value), to_tensor(targets), keeper_of(own),
                                address(&own->call));
  return {both[0], both[1], own->call.square_mass};
}

}  // namespace ops
}  // namespace vernier
