#include "core/model/adapters.h"

#include <algorithm>
#include <cmath>

#include "core/base/errors.h"
#include "core/base/json.h"
#include "core/base/rng.h"
#include "core/weights/weights.h"

namespace vernier {
namespace {

constexpr const char* kConfigFile = "adapter_config.json";
constexpr const char* kTensorsFile = "adapter_model.safetensors";
constexpr const char* kBaseHash = "base_xxh3";  // in the metadata of the tensors' file
constexpr std::string_view kWeight = ".weight";

// "model.layers.0.self_attn.q_proj" of "model.layers.0.self_attn.q_proj.weight".
std::string module_of(const NamedSlice& slice) {
  return slice.name.substr(0, slice.name.size() - kWeight.size());
}

bool is_target(const NamedSlice& slice, const std::vector<std::string>& targets) {
  if (slice.shape.size() != 2 || !slice.name.ends_with(kWeight)) return false;
  const std::string module = module_of(slice);
  const std::string last = module.substr(module.rfind('.') + 1);
  return std::find(targets.begin(), targets.end(), last) != targets.end();
}

// The fields that every version of PEFT knows; those that are not here have its defaults.
Json config_json(const LoraConfig& config, const std::string& base) {
  const auto whole = static_cast<int64_t>(config.alpha);
  const bool is_whole = static_cast<double>(whole) == config.alpha;
  return {{"peft_type", "LORA"},
          {"task_type", "CAUSAL_LM"},
          {"base_model_name_or_path", base},
          {"r", config.rank},
          {"lora_alpha", is_whole ? Json(whole) : Json(config.alpha)},
          {"target_modules", config.targets},
          {"use_rslora", config.rank_stabilized},
          {"bias", "none"},
          {"fan_in_fan_out", false},
          {"inference_mode", true},
          {"init_lora_weights", true},
          {"lora_dropout", 0.0},
          {"modules_to_save", nullptr}};
}

}  // namespace

const std::vector<std::string>& LoraConfig::modules() {
  static const std::vector<std::string> all = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                               "gate_proj", "up_proj", "down_proj"};
  return all;
}

double LoraConfig::scale() const {
  const auto r = static_cast<double>(rank);
  return alpha / (rank_stabilized ? std::sqrt(r) : r);
}

void LoraConfig::bind(Binder& config) {
  config.number("rank", rank, 0, 1 << 16,
                "of the adapters that are trained in place of the weights, in the warm start too "
                "(LoRA, arXiv:2106.09685); 0: the weights themselves are trained");
  config.number("alpha", alpha, 1e-6, 1e6, "an adapter counts alpha / rank times");
  config.texts("targets", targets, modules(), "matrices that have an adapter, by PEFT's names");
  config.flag("use_rslora", rank_stabilized,
              "an adapter counts alpha / sqrt(rank) times (arXiv:2312.03732)");
  if (targets.empty()) config.error("targets", "is empty; there is nothing to train");
}

Adapters::Adapters(Decoder& decoder, const LoraConfig& config, std::string base, uint64_t seed)
    : decoder_(decoder), config_(config), base_name_(std::move(base)) {
  const at::Tensor& weights = decoder.weights();
  base_hash_ = hash_bytes(weights.const_data_ptr(), weights.nbytes());
  find_matrices();
  allocate();
  initialize(seed);
  for (Matrix& matrix : matrices_)
    decoder_.parameters()[matrix.parameter].adapter = &matrix.adapter;
}

void Adapters::find_matrices() {
  for (const NamedSlice& slice : decoder_.slices()) {
    if (!is_target(slice, config_.targets)) continue;
    const int64_t most = *std::min_element(slice.shape.begin(), slice.shape.end());
    if (config_.rank > most)
      fail("trainer.lora.rank: ", config_.rank, " is above the ", most, " of ", slice.name, " [",
           slice.shape[0], ", ", slice.shape[1],
           "]; leave the matrix out of targets, or train it whole");
    if (matrices_.empty() || matrices_.back().parameter != slice.parameter)
      matrices_.push_back({.parameter = slice.parameter, .slices = {}, .adapter = {}, .base = {}});
    Matrix& matrix = matrices_.back();
    matrix.slices.push_back(&slice);
    matrix.base.emplace_back(decoder_.slice(slice).const_data_ptr<float>(), slice.numel());
  }
}

void Adapters::allocate() {
  constexpr int64_t kAlign = 16;  // elements: 64 bytes of fp32
  int64_t total = 0;
  const auto place = [&](int64_t count) {
    const int64_t at = total;
    total += kernels::round_up(count, kAlign);
    return at;
  };
  std::vector<int64_t> offsets;  // of A, then of the B of each part
  for (const Matrix& matrix : matrices_) {
    const int64_t parts = std::ssize(matrix.slices);
    offsets.push_back(place(parts * config_.rank * matrix.slices.front()->shape[1]));
    for (const NamedSlice* slice : matrix.slices)
      offsets.push_back(place(slice->shape[0] * config_.rank));
  }
  values_ = at::zeros({total}, at::kFloat);
  gradients_ = at::zeros({total}, at::kFloat);
  auto* values = values_.data_ptr<float>();
  auto* gradients = gradients_.data_ptr<float>();
  size_t next = 0;
  for (Matrix& matrix : matrices_) {
    const at::Tensor& whole = decoder_.parameters()[matrix.parameter].value;
    const int64_t columns = whole.size(1), a = offsets[next++];
    matrix.adapter = {.rows = whole.size(0),
                      .columns = columns,
                      .rank = config_.rank,
                      .scale = config_.scale(),
                      .a = values + a,
                      .d_a = gradients + a,
                      .parts = {}};
    for (const NamedSlice* slice : matrix.slices) {
      const int64_t part = std::ssize(matrix.adapter.parts), b = offsets[next++];
      add_tensor(*slice, "lora_A", {config_.rank, columns}, a + part * config_.rank * columns);
      add_tensor(*slice, "lora_B", {slice->shape[0], config_.rank}, b);
      matrix.adapter.parts.push_back({.first_row = slice->first_row,
                                      .rows = slice->shape[0],
                                      .b = values + b,
                                      .d_b = gradients + b});
    }
  }
}

void Adapters::add_tensor(const NamedSlice& slice, const char* kind, std::vector<int64_t> shape,
                          int64_t offset) {
  const std::vector<int64_t> strides = {shape[1], 1};
  tensors_.push_back({.name = cat("base_model.model.", module_of(slice), ".", kind, ".weight"),
                      .value = values_.as_strided(shape, strides, offset),
                      .grad = gradients_.as_strided(shape, strides, offset)});
}

// Kaiming's uniform with a = sqrt(5), as PEFT and torch's Linear: +-1/sqrt(in). The numbers of a
// matrix do not depend on what else is a target.
void Adapters::initialize(uint64_t seed) {
  size_t next = 0;
  for (const Matrix& matrix : matrices_)
    for (const NamedSlice* slice : matrix.slices) {
      const at::Tensor& a = tensors_[next].value;
      next += 2;
      const auto index = static_cast<uint64_t>(slice - decoder_.slices().data());
      Rng rng(seed, Stream::adapter, index);
      const double bound = 1.0 / std::sqrt(static_cast<double>(a.size(1)));
      auto* out = a.data_ptr<float>();
      for (int64_t i = 0; i < a.numel(); ++i)
        out[i] = static_cast<float>(bound * (2 * rng.next_uniform() - 1));
    }
}

int64_t Adapters::num_parameters() const {
  int64_t count = 0;
  for (const AdapterTensor& tensor : tensors_) count += tensor.value.numel();
  return count;
}

int64_t Adapters::base_bytes() const {
  int64_t bytes = 0;
  for (const Matrix& matrix : matrices_)
    for (const kernels::FixedNumbers& part : matrix.base) bytes += part.bytes();
  return bytes;
}

// Calls body(matrix, its numbers) with W0 in each matrix.
template <class Body>
void Adapters::rewrite(const Body& body) {
  for (const Matrix& matrix : matrices_) {
    Parameter& parameter = decoder_.parameters()[matrix.parameter];
    for (size_t p = 0; p < matrix.base.size(); ++p)
      matrix.base[p].copy_to(decoder_.slice(*matrix.slices[p]).data_ptr<float>());
    body(matrix, parameter.value.data_ptr<float>());
    parameter.changed();
  }
}

void Adapters::merge() {
  rewrite([this](const Matrix& matrix, float* w) {
    kernels::merge_adapter(matrix.adapter, w, scratch_);
  });
}

void Adapters::restore_base() {
  rewrite([](const Matrix&, float*) {});
}

void Adapters::write(const fs::path& path, at::Tensor AdapterTensor::*which,
                     const std::map<std::string, std::string>& metadata) const {
  std::vector<SafetensorsWriter::Planned> plan;
  for (const AdapterTensor& tensor : tensors_)
    plan.push_back({.name = tensor.name, .shape = tensor.value.sizes().vec(), .dtype = DType::f32});
  SafetensorsWriter writer(path, plan, metadata);
  for (const AdapterTensor& tensor : tensors_)
    writer.write((tensor.*which).const_data_ptr<float>());
  writer.commit();
}

void Adapters::save(const fs::path& folder) const {
  write_file(folder / kConfigFile, config_json(config_, base_name_).dump(2) + "\n");
  write(folder / kTensorsFile, &AdapterTensor::value, {{"format", "pt"}, {kBaseHash, base_hash_}});
}

void Adapters::save_gradient(const fs::path& path) const { write(path, &AdapterTensor::grad, {}); }

void Adapters::load(const fs::path& folder) {
  const std::string path = (folder / kConfigFile).string();
  const Json stored = parse_json(read_file(path), path), own = config_json(config_, base_name_);
  for (const char* key : {"r", "lora_alpha", "target_modules", "use_rslora"})
    if (!stored.contains(key) || stored.at(key) != own.at(key))
      fail(path, ": ", key, " is ", dump_json(stored.value(key, Json())), ", [trainer.lora] says ",
           dump_json(own.at(key)), ": the adapter was trained with other settings");
  const SafetensorsFile file(folder / kTensorsFile);
  const auto hash = file.metadata().find(kBaseHash);
  if (hash == file.metadata().end() || hash->second != base_hash_)
    fail(file.path(), ": was trained over other weights than those of ", base_name_,
         "; set model.path to the model that the run began with");
  for (const AdapterTensor& tensor : tensors_) {
    const TensorInfo* found = file.find(tensor.name);
    if (found == nullptr || found->shape != tensor.value.sizes().vec())
      fail(file.path(), ": tensor '", tensor.name, "' does not fit this model");
    file.read(*found, tensor.value.data_ptr<float>());
  }
}

}  // namespace vernier
