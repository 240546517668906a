// LoRA: PEFT's numbers and files, gradients beside those of full training, runs and their restart.
// tools/golden_lora.py makes the answers.
#include <doctest/doctest.h>

#include "core/model/adapters.h"
#include "core/weights/weights.h"
#include "rollout/rows.h"
#include "tests/testing.h"
#include "tests/tiny_model.h"
#include "trainer/adamw.h"
#include "trainer/credit.h"
#include "trainer/loop.h"
#include "trainer/packing.h"
#include "trainer/replay.h"
#include "trainer/run_config.h"

namespace vernier {
namespace {

using testing::golden;
using testing::TemporaryFolder;
using testing::tiny_model;
using testing::usage_error;
using testing::worst;

std::string case_path(const std::string& name) { return cat(VERNIER_TEST_CASES, "/", name); }

std::vector<float> numbers(const at::Tensor& tensor) {
  const at::Tensor whole = tensor.detach().contiguous();
  return {whole.const_data_ptr<float>(), whole.const_data_ptr<float>() + whole.numel()};
}

std::vector<float> tensor_of(const SafetensorsFile& file, const std::string& name) {
  const TensorInfo* tensor = file.find(name);
  REQUIRE(tensor != nullptr);
  std::vector<float> out(static_cast<size_t>(tensor->numel()));
  file.read(*tensor, out.data());
  return out;
}

// Sets what is trained, a tensor at a time.
void set_values(Decoder& decoder, const std::function<float(size_t tensor, int64_t place)>& value) {
  const auto& tensors = decoder.adapters()->tensors();
  for (size_t i = 0; i < tensors.size(); ++i) {
    auto* out = tensors[i].value.data_ptr<float>();
    for (int64_t k = 0; k < tensors[i].value.numel(); ++k) out[k] = value(i, k);
  }
  decoder.trained_weights_changed();
}

void set_random(Decoder& decoder, double spread) {
  const auto values = testing::normal<float>(decoder.trained_weights().numel(), 77, 0, spread);
  size_t next = 0;
  set_values(decoder, [&](size_t, int64_t) { return values[next++]; });
}

LoraConfig config_of(const Json& one) {
  return {.rank = one.at("rank").get<int64_t>(),
          .alpha = one.at("alpha").get<double>(),
          .targets = one.at("targets").get<std::vector<std::string>>(),
          .rank_stabilized = one.at("use_rslora").get<bool>()};
}

// The file that we write has PEFT's tensors, and of its settings all that are not its defaults.
void check_files(const Adapters& adapters, const fs::path& peft, const Json& defaults) {
  const TemporaryFolder folder;
  adapters.save(folder.path());
  const SafetensorsFile own(folder.path() / "adapter_model.safetensors"),
      theirs(peft / "adapter_model.safetensors");
  CHECK(own.metadata().at("format") == theirs.metadata().at("format"));
  CHECK(own.tensors().size() == theirs.tensors().size());
  for (const TensorInfo& want : theirs.tensors()) {
    CAPTURE(want.name);
    const TensorInfo* found = own.find(want.name);
    REQUIRE(found != nullptr);
    CHECK(found->shape == want.shape);
    CHECK(found->dtype == want.dtype);
    CHECK(tensor_of(own, want.name) == tensor_of(theirs, want.name));
  }
  const auto read = [](const fs::path& path) {
    Json out = Json::parse(read_file(path / "adapter_config.json"));
    auto& targets = out.at("target_modules");
    std::sort(targets.begin(), targets.end());
    out.erase("base_model_name_or_path");
    return out;
  };
  const Json config = read(folder.path()), wanted = read(peft);
  for (const auto& [key, value] : wanted.items()) {
    CAPTURE(key);
    CHECK((config.contains(key) ? config : defaults).at(key) == value);
  }
  for (const auto& [key, value] : config.items()) CHECK(wanted.contains(key));
}

TEST_CASE("an adapter computes, is trained and is stored as by PEFT") {
  const Json all = golden("lora/lora.json");
  std::vector<Group> groups;
  read_rollouts(
      case_path("step/rollouts.jsonl"), [&](Group&& group) { groups.push_back(std::move(group)); },
      true);
  for (const Json& one : all.at("cases")) {
    const auto name = one.at("name").get<std::string>();
    CAPTURE(name);
    const fs::path peft = case_path("lora/" + name);
    const Model model = load_model(case_path("step/model"));
    Decoder& decoder = *model.decoder;
    decoder.adapt(config_of(one), "a base", 1);
    const SafetensorsFile file(peft / "adapter_model.safetensors"),
        gradient(peft / "gradient.safetensors");
    std::vector<std::vector<float>> values;
    for (const AdapterTensor& tensor : decoder.adapters()->tensors())
      values.push_back(tensor_of(file, tensor.name));
    set_values(decoder, [&](size_t i, int64_t k) { return values[i][static_cast<size_t>(k)]; });

    std::vector<Sequence> sequences;
    for (const Group& group : groups)
      for (const Response& response : group.responses)
        sequences.push_back(sequence_of(response, &group.prompt.ids));
    sequences.resize(one.at("weights").size());
    const PackedBatch packed = pack(sequences, split_by_tokens(sequences, 1 << 20).front());
    double loss = 0;
    for (size_t i = 0; i < sequences.size(); ++i) {
      const PackedBatch own = pack(sequences, {i});
      const at::Tensor found = packed_logprobs(decoder, own, 0.8).logprob;
      const auto want = one.at("logprobs")[i].get<std::vector<double>>();
      CHECK(worst(numbers(found), want) < 1e-5);
      const auto weights = one.at("weights")[i].get<std::vector<float>>();
      const at::Tensor sum = (found * at::tensor(weights)).sum();
      loss += sum.item<double>();
      sum.backward();
    }
    CHECK(std::abs(loss - one.at("loss").get<double>()) < 1e-4);
    CHECK(decoder.adapters()->tensors().size() == gradient.tensors().size());
    for (const AdapterTensor& tensor : decoder.adapters()->tensors()) {
      CAPTURE(tensor.name);
      CHECK(worst(numbers(tensor.grad), tensor_of(gradient, tensor.name)) < 1e-5);
    }
    check_files(*decoder.adapters(), peft, all.at("defaults"));
  }
}

PackedTokens shared_prompts() {
  PackedTokens tokens;
  const auto segment = [](int64_t length, uint64_t seed) {
    Rng rng(seed, Stream::task);
    std::vector<int32_t> ids;
    for (int64_t t = 0; t < length; ++t) ids.push_back(static_cast<int32_t>(rng.next_below(24)));
    return ids;
  };
  tokens.add(segment(9, 1));
  for (const int64_t length : {1, 31, 33}) tokens.add(segment(length, 2), 0);
  tokens.add(segment(40, 3));
  return tokens;
}

// The gradient of a loss over packed tokens with shared prompts.
void go_back(Decoder& decoder) {
  const PackedTokens tokens = shared_prompts();
  std::vector<int32_t> targets(tokens.ids.begin() + 1, tokens.ids.end());
  targets.push_back(3);
  const at::Tensor hidden = decoder.hidden(tokens);
  const ops::TokenLogprobs found = decoder.logprobs(hidden, targets, 0.9);
  const auto weights = testing::normal<float>(tokens.size(), 8);
  ((found.logprob + 0.1 * found.entropy) * at::tensor(weights)).sum().backward();
}

TEST_CASE("gradients of adapters in a decoder are those that full training has, projected") {
  for (const kernels::Precision precision : {kernels::Precision::fp32, kernels::Precision::bf16})
    for (const bool recompute : {false, true})
      for (const int64_t rank : {1, 3, 8}) {
        CAPTURE(recompute);
        CAPTURE(rank);
        const Model model = tiny_model(false), full = tiny_model(true);
        Decoder& decoder = *model.decoder;
        decoder.adapt({.rank = rank, .alpha = 5}, "tiny", 1);
        set_random(decoder, 0.1);
        full.decoder->weights().copy_(decoder.weights());
        full.decoder->weights_changed();
        decoder.training =
            full.decoder->training = {.precision = precision, .recompute = recompute};
        go_back(decoder);
        go_back(*full.decoder);
        for (size_t i = 0; i < decoder.parameters().size(); ++i) {
          const Parameter& own = decoder.parameters()[i];
          CHECK(!own.grad.defined());  // no gradient of a whole weight
          if (own.adapter == nullptr) continue;
          CAPTURE(own.name);
          kernels::MatrixAdapter<float> wanted = *own.adapter;
          std::vector<float> d_a(static_cast<size_t>(wanted.stacked() * wanted.columns));
          std::vector<std::vector<float>> d_b(wanted.parts.size());
          wanted.d_a = d_a.data();
          for (size_t p = 0; p < d_b.size(); ++p) {
            d_b[p].resize(static_cast<size_t>(wanted.parts[p].rows * rank));
            wanted.parts[p].d_b = d_b[p].data();
          }
          kernels::ref::adapter_gradient(
              wanted, full.decoder->parameters()[i].grad.const_data_ptr<float>());
          const double bound = precision == kernels::Precision::fp32 ? 1e-5 : 0.02;
          const auto same = [&](const float* found, const std::vector<float>& want) {
            CHECK(worst(std::vector<float>(found, found + want.size()), want, 0.1) < bound);
          };
          same(own.adapter->d_a, d_a);
          for (size_t p = 0; p < d_b.size(); ++p) same(own.adapter->parts[p].d_b, d_b[p]);
        }
        CHECK(decoder.adapters()->tensors().size() == 2 * 2 * 7);
      }
}

TEST_CASE("adapters begin as PEFT's: A uniform in 1/sqrt(in), B zero, the model as it was") {
  const Model model = tiny_model(false), some = tiny_model(false);
  const std::vector<float> before = numbers(model.decoder->weights());
  model.decoder->adapt({.rank = 8}, "tiny", 4);
  some.decoder->adapt({.rank = 8, .targets = {"v_proj", "down_proj"}}, "tiny", 4);
  CHECK(numbers(model.decoder->weights()) == before);
  std::map<std::string, std::vector<float>> values;
  for (const AdapterTensor& tensor : model.decoder->adapters()->tensors()) {
    CAPTURE(tensor.name);
    const std::vector<float> own = values[tensor.name] = numbers(tensor.value);
    const double bound = 1 / std::sqrt(static_cast<double>(tensor.value.size(1)));
    double largest = 0, sum = 0;
    for (const float value : own) {
      largest = std::max(largest, std::abs(double{value}));
      sum += value;
    }
    if (tensor.name.ends_with("lora_B.weight")) {
      CHECK(largest == 0);
      continue;
    }
    CHECK(largest <= bound);
    CHECK(largest > 0.95 * bound);
    CHECK(std::abs(sum / static_cast<double>(own.size())) < 0.2 * bound);
  }
  CHECK(some.decoder->adapters()->tensors().size() == 2 * 2 * 2);
  for (const AdapterTensor& tensor : some.decoder->adapters()->tensors())
    CHECK(numbers(tensor.value) == values.at(tensor.name));
}

TEST_CASE("weights are merged anew after an update, and the base comes back bit for bit") {
  for (const bool bytes : {false, true}) {
    const Model model = tiny_model(false);
    Decoder& decoder = *model.decoder;
    const std::vector<float> base = numbers(decoder.weights());
    decoder.adapt({.rank = 3}, "tiny", 4);
    OptimizerState state(decoder, bytes);
    CHECK(state.moment1.numel() == decoder.trained_weights().numel());
    CHECK(2 * state.moment1.numel() < decoder.weights().numel());
    for (int step = 0; step < 20; ++step) {
      decoder.gradients().uniform_(-1, 1);
      CHECK(apply_update(decoder, state, {.weight_decay = 0.1}, 1e-2).applied);
    }
    const std::vector<float> merged = numbers(decoder.weights());
    std::vector<float> wanted = base;
    for (const Parameter& parameter : decoder.parameters())
      if (parameter.adapter != nullptr)
        kernels::ref::merge_adapter(*parameter.adapter,
                                    wanted.data() + parameter.value.storage_offset());
    CHECK(worst(merged, base) > 0.01);
    CHECK(worst(merged, wanted) < 1e-6);
    {
      const int64_t version = decoder.version();
      const WithoutAdapters without(decoder);
      CHECK(decoder.version() > version);
      CHECK(numbers(decoder.weights()) == base);
    }
    CHECK(numbers(decoder.weights()) == merged);
  }
}

TEST_CASE("the reference policy of adapters is what they lie on") {
  const Model model = tiny_model(false), base = tiny_model(false);
  model.decoder->adapt({.rank = 4}, "tiny", 1);
  set_random(*model.decoder, 0.2);
  std::vector<Group> groups(1);
  groups[0].prompt.ids = {1, 2, 3};
  groups[0].responses.resize(2);
  for (Response& response : groups[0].responses) {
    response.ids = {4, 9, 11, 5};
    response.num_tokens = response.raw_num_tokens = 4;
    response.reward = 1;
  }
  const auto logprobs = [&](Decoder& decoder, bool reference) {
    Update update = make_update(groups, 0, 1, 20);
    fill_logprobs(decoder, update, 1.0, 1 << 20, reference);
    return reference ? update.samples[0].reference : update.samples[0].old;
  };
  const std::vector<float> policy = logprobs(*model.decoder, false);
  CHECK(logprobs(*model.decoder, true) == logprobs(*base.decoder, false));
  CHECK(logprobs(*model.decoder, true) != policy);
  CHECK(logprobs(*model.decoder, false) == policy);
}

TEST_CASE("what does not fit an adapter is refused by name") {
  const Model model = tiny_model(false);
  CHECK(usage_error([&] { model.decoder->adapt({.rank = 17}, "tiny", 1); })
            .find("trainer.lora.rank: 17 is above the 16 of model.layers.0.self_attn.k_proj.weight "
                  "[16, 32]") == 0);
  const auto problem = [](const std::string& keys, const std::string& model_keys = "path = \"m\"") {
    return usage_error([&] {
      ConfigFile file = ConfigFile::parse(
          cat("[data]\ntask = \"chain_sum\"\n[[reward]]\ntype = \"accuracy\"\n[model]\n",
              model_keys, "\n[trainer.lora]\n", keys),
          "c.toml");
      RunConfig::load(file);
    });
  };
  const std::string fresh = "[model.new]\ncharacters = \"01.\"\nend_token = \".\"";
  CHECK(problem("rank = 4").empty());
  CHECK(problem("rank = 4", fresh).find("trainer.lora: [model.new] has random weights") !=
        std::string::npos);
  CHECK(problem("rank = 0", fresh).empty());
  CHECK(problem("targets = []").find("trainer.lora.targets: is empty") != std::string::npos);
  CHECK(problem("targets = [\"lm_head\"]").find("\"lm_head\" in the list is not q_proj") !=
        std::string::npos);
  CHECK(problem("alpha = 0").find("trainer.lora.alpha") != std::string::npos);
}

// A job over a model that lies in a folder.
const char* const kJob = R"(
[run]
seed = 5
steps = 2
threads = 1
[data]
task = "chain_sum"
[rollout]
num_generations = 4
prompts_per_step = 4
max_completion_length = 16
[[reward]]
type = "overlong"
cache = 1
[algo]
type = "grpo"
beta = 0.1
[trainer]
learning_rate = 1e-2
samples_per_update = 8
)";

class Job {
 public:
  Job() {
    const Model model = tiny_model(false, 3, 256);
    fs::create_directories(path("base"));
    save_model(*model.decoder, *model.tokenizer, path("base"));
    write_file(path("c.toml"), cat(kJob, "[trainer.lora]\nrank = 3\n[model]\npath = \"",
                                   path("base").string(), "\"\n"));
  }

  fs::path path(const std::string& name) const { return folder_.path() / name; }

  void run(const std::string& name, const std::vector<std::string>& overrides = {}) const {
    train({.config_paths = {path("c.toml").string()},
           .overrides = overrides,
           .run_dir = path(name).string()});
  }

  std::string file(const std::string& name) const { return read_file(path(name)); }

  std::vector<double> metric(const std::string& run, const std::string& key) const {
    std::vector<double> out;
    LineReader reader((path(run) / "metrics.jsonl").string());
    for (std::string line; reader.next(line);) {
      const Json row = Json::parse(line);
      if (row.contains(key)) out.push_back(row.at(key).get<double>());
    }
    return out;
  }

 private:
  TemporaryFolder folder_;
};

TEST_CASE("a run of adapters goes on from a checkpoint as if nothing had happened") {
  const std::vector<std::vector<std::string>> settings = {
      {},
      {"trainer.optimizer=adamw_8bit", "trainer.precision=bf16"},
      {"sft.steps=3", "sft.batch_sequences=4"}};
  for (const std::vector<std::string>& keys : settings) {
    const Job job;
    std::vector<std::string> longer = keys;
    longer.push_back("run.steps=4");
    job.run("whole", longer);
    job.run("parts", keys);
    job.run("parts", longer);
    for (const std::string name : {"model.safetensors", "adapter/adapter_model.safetensors",
                                   "trainer/optimizer.safetensors"}) {
      CAPTURE(name);
      CHECK(job.file("parts/checkpoint-4/" + name) == job.file("whole/checkpoint-4/" + name));
      CHECK(job.file("parts/checkpoint-2/" + name) != job.file("whole/checkpoint-4/" + name));
    }
    CHECK(job.metric("parts", "kl") == job.metric("whole", "kl"));
    CHECK(job.metric("whole", "kl").back() > 0);
    const bool warm = !keys.empty() && keys[0].starts_with("sft");  // trains adapters too
    CHECK((job.file("base/model.safetensors") !=
           job.file("whole/checkpoint-0/model.safetensors")) == warm);
  }
}

TEST_CASE("the engine draws with the merged weights: its log-probabilities are the trainer's") {
  const Job job;
  job.run("fp32");
  std::vector<std::string> runs = {"fp32"};
  if (kernels::bf16_format() == kernels::WeightFormat::bf16_pairs) {  // elsewhere rows stay fp32
    job.run("bf16", {"trainer.precision=bf16", "rollout.weights=bf16"});
    runs.push_back("bf16");
  }
  for (const std::string& run : runs) {
    CAPTURE(run);
    const auto gaps = job.metric(run, "sampling/sampling_logp_difference/max");
    CHECK(gaps.size() == 2);
    for (const double gap : gaps) CHECK(gap == 0);
  }
}

TEST_CASE("a checkpoint of adapters is refused where it was trained otherwise") {
  const Job job;
  job.run("run");
  const auto again = [&](const std::string& key) {
    return usage_error([&] { job.run("run", {"run.steps=3", key}); });
  };
  CHECK(again("trainer.lora.rank=2").find("r is 3, [trainer.lora] says 2") != std::string::npos);
  CHECK(again("trainer.lora.alpha=2").find("lora_alpha is 32") != std::string::npos);
  CHECK(again("trainer.lora.rank=0").find("has an adapter, and [trainer.lora] is not given") !=
        std::string::npos);
  job.run("full", {"trainer.lora.rank=0"});
  CHECK(!fs::exists(job.path("full/checkpoint-2/adapter")));
  CHECK(usage_error([&] {
          job.run("full", {"run.steps=3"});
        }).find("has no adapter, and [trainer.lora] is given") != std::string::npos);
  const Model other = tiny_model(false, 8);
  save_model(*other.decoder, *other.tokenizer, job.path("base"));
  CHECK(again("run.seed=5").find("was trained over other weights than those of") !=
        std::string::npos);
}

TEST_CASE("replay saves the gradient of adapters under their names") {
  const Job job;
  job.run("run", {"log.rollouts.every=1", "log.rollouts.token_fields=true"});
  replay({.config_paths = {job.path("c.toml").string()},
          .overrides = {},
          .rollouts = {job.path("run/rollouts").string()},
          .run_dir = job.path("again").string(),
          .model = "",
          .save_gradients = job.path("g.safetensors").string()});
  CHECK(job.file("again/checkpoint-2/model.safetensors") ==
        job.file("run/checkpoint-2/model.safetensors"));
  const SafetensorsFile gradient(job.path("g.safetensors"));
  CHECK(gradient.tensors().size() == 2 * 2 * 7);
  const std::string module = "base_model.model.model.layers.1.mlp.down_proj.";
  CHECK(gradient.find(module + "lora_A.weight")->shape == std::vector<int64_t>{3, 48});
  // Of the first update: B is zero, and with it the gradient of A.
  double b = 0;
  for (const float value : tensor_of(gradient, module + "lora_A.weight")) CHECK(value == 0);
  for (const float value : tensor_of(gradient, module + "lora_B.weight")) b += std::abs(value);
  CHECK(b > 0);
}

}  // namespace
}  // namespace vernier
