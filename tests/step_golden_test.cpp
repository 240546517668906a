// One optimizer step on stored rollouts is that of PyTorch, whatever the packing.
// tools/golden_step.py makes the answers, from the same model and rows.
#include <doctest/doctest.h>

#include "core/weights/weights.h"
#include "rollout/rows.h"
#include "tests/testing.h"
#include "trainer/credit.h"
#include "trainer/packing.h"
#include "trainer/replay.h"
#include "trainer/step.h"

namespace vernier {
namespace {

using testing::golden;
using testing::TemporaryFolder;

using Tensors = std::map<std::string, std::vector<float>>;  // under the names of a checkpoint

std::string stored(const std::string& name) { return cat(VERNIER_TEST_CASES, "/step/", name); }

Tensors tensors_of(const fs::path& path) {
  const SafetensorsFile file(path);
  Tensors out;
  for (const TensorInfo& tensor : file.tensors()) {
    std::vector<float>& values = out[tensor.name];
    values.resize(static_cast<size_t>(tensor.numel()));
    file.read(tensor, values.data());
  }
  return out;
}

Tensors tensors_of(Decoder& decoder, bool gradient) {
  Tensors out;
  for (const NamedSlice& slice : decoder.slices()) {
    const Parameter& parameter = decoder.parameters()[slice.parameter];
    const at::Tensor& all = gradient ? parameter.grad : parameter.value;
    const float* first =
        all.const_data_ptr<float>() + (slice.rows > 0 ? slice.first_row * all.size(1) : 0);
    out[slice.name].assign(first, first + slice.numel());
  }
  return out;
}

// Largest ||found - want|| / ||want|| of a tensor. NaN, or other tensors, fail every bound.
double worst_norm(const Tensors& found, const Tensors& want) {
  double largest = found.size() == want.size() ? 0 : INFINITY;
  for (const auto& [name, wanted] : want) {
    const auto same = found.find(name);
    if (same == found.end() || same->second.size() != wanted.size()) return INFINITY;
    double gap = 0, norm = 0;
    for (size_t i = 0; i < wanted.size(); ++i) {
      gap += std::pow(double{same->second[i]} - wanted[i], 2);
      norm += std::pow(double{wanted[i]}, 2);
    }
    const double ratio = std::sqrt(gap / norm);
    if (!(ratio <= largest)) largest = ratio;  // NaN stays
  }
  return largest;
}

void check_step(const Json& one, const Tensors& gradient, const Tensors& weights) {
  const fs::path folder = stored(one.at("name").get<std::string>());
  CHECK(worst_norm(gradient, tensors_of(folder / "gradient.safetensors")) <= 1e-5);
  const Tensors want = tensors_of(folder / "weights.safetensors");
  CHECK(worst_norm(weights, want) <= 1e-6);
  CHECK(worst_norm(tensors_of(stored("model/model.safetensors")), want) > 3e-6);  // they moved
}

void check_numbers(const Json& one, double loss, double grad_norm) {
  CHECK(std::abs(loss - one.at("loss").get<double>()) < 2e-6);
  CHECK(grad_norm == doctest::Approx(one.at("grad_norm").get<double>()).epsilon(1e-5));
}

std::vector<Group> stored_groups() {
  std::vector<Group> groups;
  read_rollouts(
      stored("rollouts.jsonl"), [&](Group&& group) { groups.push_back(std::move(group)); }, true);
  return groups;
}

// A budget that splits the samples of an update into `count` micro-batches.
int64_t budget_for(const Update& update, size_t count) {
  std::vector<Sequence> sequences;
  int64_t all = 0;
  for (const Sample& sample : update.samples) {
    sequences.push_back(sequence_of(*sample.response, sample.prompt_ids));
    all += sequences.back().tokens();
  }
  for (int64_t budget = all; budget > 0; --budget)
    if (split_by_tokens(sequences, budget).size() == count) return budget;
  FAIL("no budget gives " << count << " micro-batches");
  return 0;
}

std::string toml(const Json& object) {
  std::string out;
  for (const auto& [key, value] : object.items()) out += cat(key, " = ", dump_json(value), "\n");
  return out;
}

std::string job(const Json& all, const Json& one, int64_t max_tokens) {
  return cat(
      "[run]\nsteps = 1\nthreads = 1\n[model]\n", toml({{"path", stored("model")}}),
      "[data]\ntask = \"chain_sum\"\n[rollout]\n",
      toml({{"temperature", all.at("temperature")},
            {"max_completion_length", all.at("max_completion_length")}}),
      "[[reward]]\ntype = \"accuracy\"\n[algo]\n", toml(one.at("algo")), "[trainer]\n",
      toml(all.at("optimizer")),
      toml({{"old_logprobs", one.at("old_logprobs")}, {"max_tokens_per_microbatch", max_tokens}}));
}

std::unique_ptr<Algorithm> algorithm_of(const Json& one, int64_t max_completion_length) {
  Json keys = one.at("algo");
  const auto name = keys.at("type").get<std::string>();
  keys.erase("type");
  ConfigFile file = ConfigFile::parse(toml(keys), "golden");
  std::unique_ptr<Algorithm> out;
  file.bind([&](Binder& root) {
    out = AlgorithmRegistry::all().at(name).make(root, {8, max_completion_length});
  });
  return out;
}

OptimizerConfig optimizer_of(const Json& all) {
  OptimizerConfig out;
  ConfigFile file = ConfigFile::parse(toml(all.at("optimizer")), "golden");
  file.bind([&](Binder& root) { out.bind(root); });
  return out;
}

TEST_CASE("a step of vernier replay is PyTorch's, in one micro-batch and in several") {
  const Json all = golden("step/step.json");
  const std::vector<Group> groups = stored_groups();
  const Update update = make_update(groups, 0, groups.size(), 24);
  for (const Json& one : all.at("cases"))
    for (const size_t count : {1, 3, 8}) {
      CAPTURE(one.at("name"));
      CAPTURE(count);
      const TemporaryFolder folder;
      const fs::path config = folder.path() / "c.toml", gradient = folder.path() / "g.safetensors",
                     run = folder.path() / "run";
      write_file(config, job(all, one, budget_for(update, count)));
      replay({.config_paths = {config.string()},
              .overrides = {},
              .rollouts = {stored("rollouts.jsonl")},
              .run_dir = run.string(),
              .model = "",
              .save_gradients = gradient.string()});
      const Json row = Json::parse(read_file(run / "metrics.jsonl"));
      CHECK(row.at("microbatches") == count);
      CHECK(row.at("samples/trained") == update.samples.size());
      check_numbers(one, row.at("loss").get<double>(), row.at("grad_norm").get<double>());
      check_step(one, tensors_of(gradient), tensors_of(run / "checkpoint-1/model.safetensors"));
    }
}

TEST_CASE("responses with a prompt of their own take PyTorch's step too") {
  const Json all = golden("step/step.json");
  const auto limit = all.at("max_completion_length").get<int64_t>();
  const auto temperature = all.at("temperature").get<double>();
  const OptimizerConfig optimizer = optimizer_of(all);
  std::vector<Group> groups = stored_groups();
  for (const Json& one : all.at("cases"))
    for (const size_t count : {1, 3, 8}) {
      CAPTURE(one.at("name"));
      CAPTURE(count);
      const Model model = load_model(stored("model"), {.trained = true});
      const std::unique_ptr<Algorithm> algorithm = algorithm_of(one, limit);
      Metrics metrics;
      assign_credit(*algorithm, groups, {}, metrics);
      Update update = make_update(groups, 0, groups.size(), limit);
      std::vector<std::vector<int32_t>> prompts;  // equal, but not the same
      for (const Sample& sample : update.samples) prompts.push_back(*sample.prompt_ids);
      for (size_t i = 0; i < prompts.size(); ++i) {
        update.samples[i].prompt_ids = &prompts[i];
        if (one.at("old_logprobs") == "rollout")
          update.samples[i].old = update.samples[i].response->logprobs;
      }
      OptimizerState state(*model.decoder);
      Tensors gradient;
      optimizer_step(*model.decoder, state, *algorithm, update, temperature,
                     budget_for(update, count), optimizer, optimizer.learning_rate, nullptr,
                     metrics, [&](Decoder& decoder) { gradient = tensors_of(decoder, true); });
      CHECK(metrics.get("microbatches") == count);
      check_numbers(one, metrics.get("loss"), metrics.get("grad_norm"));
      check_step(one, gradient, tensors_of(*model.decoder, false));
    }
}

}  // namespace
}  // namespace vernier
