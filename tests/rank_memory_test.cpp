// What a plan says that a rank holds, against closed forms.
#include "trainer/rank_memory.h"

#include <doctest/doctest.h>

#include "core/comm/slices.h"
#include "core/kernels/ops_device.h"
#include "core/model/head_files.h"
#include "rollout/device_steps.h"
#include "tests/testing.h"
#include "trainer/sharded_weights.h"

namespace vernier {
namespace {

using kernels::Precision;

// Every size is a multiple of 16, so there are no gaps. A step has 8 groups of 4 responses of 30
// tokens.
const char* const kJob = R"(
[run]
seed = 5
steps = 2
[model.new]
characters = "0123456789abcdefgh+=#.?~"
end_token = "."
hidden_size = 256
intermediate_size = 704
num_hidden_layers = 8
num_attention_heads = 8
num_key_value_heads = 4
head_dim = 32
[data]
task = "chain_sum"
[rollout]
num_generations = 4
prompts_per_step = 8
max_completion_length = 30
[[reward]]
type = "accuracy"
)";
constexpr int64_t kLayers = 8, kWidth = 256, kInner = 704, kHeads = 8, kRow = (8 + 2 * 4) * 32;
constexpr int64_t kLayer = kRow * kWidth + kHeads * 32 * kWidth + 3 * kInner * kWidth + 2 * kWidth;
constexpr int64_t kTable = 25 * kWidth;  // embeddings, and the head: the characters, and one more
constexpr int64_t kAll = kLayers * kLayer + kWidth + 2 * kTable;
constexpr int64_t kBase = 1 << 20, kMuch = int64_t{1} << 40;

std::unique_ptr<RunConfig> config_of(const std::string& keys = "") {
  ConfigFile file = ConfigFile::parse(cat(kJob, keys), "c.toml");
  return RunConfig::load(file);
}

PlanSettings settings_of(const RunConfig& config, const std::string& shard) {
  PlanSettings settings(config);
  settings.shard = shard;
  return settings;
}

int64_t bytes_of(const MemoryPlan& plan, const std::string& name, Phase phase = kLearning) {
  for (const MemoryKind& kind : plan.kinds)
    if (kind.name == name) return kind.bytes[phase];
  return 0;
}

}  // namespace

TEST_CASE("rank memory: what ranks share out") {
  const auto config = config_of();
  const PlannedJob job(*config, 0);
  CHECK(job.model().num_parameters() == kAll);
  constexpr int64_t kRanks = 4;
  const int64_t slice = Slices(kAll, kRanks).each();
  CHECK(slice == (kAll / Slices::kBlock / kRanks + 1) * Slices::kBlock);
  const RankPlace place{.drawing = kRanks, .training = kRanks};
  const auto plan = [&](const std::string& shard) {
    return rank_memory(job, settings_of(*config, shard), place, kBase, kMuch);
  };
  const MemoryPlan none = plan("none"), optimizer = plan("optimizer"), full = plan("full");
  for (const MemoryPlan* one : {&none, &optimizer}) {
    CHECK(bytes_of(*one, "weights") == 4 * kAll);
    CHECK(bytes_of(*one, "gradients") == 4 * kAll);
    CHECK(bytes_of(*one, "sum of the gradients") == 4 * slice);
    CHECK(bytes_of(*one, "sum of the gradients", kSampling) == 0);
    CHECK(bytes_of(*one, "units of the weights") == 0);
  }
  CHECK(bytes_of(none, "moments of AdamW") == 8 * kAll);
  CHECK(bytes_of(optimizer, "moments of AdamW") == 8 * slice);
  CHECK(none.peak() - optimizer.peak() == 8 * (kAll - slice));
  CHECK(bytes_of(full, "weights for drawing") == 4 * kAll);
  CHECK(bytes_of(full, "slice of the weights") == 4 * slice);
  CHECK(bytes_of(full, "gradients") == 0);
  CHECK(bytes_of(full, "moments of AdamW") == 8 * slice);
  CHECK(bytes_of(full, "sum of the gradients") == 4 * slice);
  // On the way back: a layer, the one before it, its gradient, and that of the one behind it, which
  // is the last and has the norm.
  CHECK(bytes_of(full, "units of the weights") == 4 * (4 * kLayer + kWidth));
  // Sent and received, 8 MB at most.
  CHECK(bytes_of(none, "on its way between ranks") == 2 * (int64_t{8} << 20));
  CHECK(bytes_of(full, "on its way between ranks") == 4 * (int64_t{8} << 20));

  // A rank that is alone shares nothing out, whatever is asked for.
  const MemoryPlan alone = rank_memory(job, settings_of(*config, "full"), {}, kBase, kMuch);
  CHECK(alone.peak() == plan_memory(job, settings_of(*config, "none"), kBase, kMuch).peak());
  CHECK(bytes_of(alone, "sum of the gradients") == 0);
}

TEST_CASE("rank memory: a sum over rounds has a slice for each level of its tree") {
  const std::vector<std::string> overrides = {"run.deterministic=true"};
  ConfigFile file = ConfigFile::parse(kJob, "c.toml", overrides);
  const auto config = RunConfig::load(file);
  const PlannedJob job(*config, 0, true);
  for (const auto& [ranks, levels] : {std::pair<int64_t, int64_t>{8, 1}, {4, 2}, {2, 3}, {1, 4}}) {
    CAPTURE(ranks);
    const MemoryPlan plan = rank_memory(job, PlanSettings(*config),
                                        {.drawing = ranks, .training = ranks}, kBase, kMuch);
    CHECK(bytes_of(plan, "sum of the gradients") == 4 * levels * Slices(kAll, ranks).each());
  }
}

TEST_CASE("rank memory: who only trains has no engine, who only samples no gradient") {
  const auto config = config_of("[algo]\ntype = \"grpo\"\nbeta = 0.1\n");
  const PlannedJob job(*config, 0);
  PlanSettings settings = settings_of(*config, "full");
  settings.rollout_ranks = 1;
  PlannedRanks ranks{.count = 4, .base = kBase, .budget = kMuch};
  const std::vector<RankMemory> kinds = ranks_memory(job, settings, ranks);
  REQUIRE(kinds.size() == 2);
  const MemoryPlan &trains = kinds[0].memory, &draws = kinds[1].memory;
  CHECK(kinds[0].place.training == 3);
  CHECK(trains.has == std::array<bool, 4>{true, false, false, true});
  CHECK(draws.has == std::array<bool, 4>{true, false, true, false});
  const int64_t slice = Slices(kAll, 3).each();
  CHECK(bytes_of(trains, "weights") + bytes_of(trains, "weights for drawing") == 0);
  CHECK(bytes_of(trains, "slice of the weights") == 4 * slice);
  CHECK(bytes_of(trains, "key-value cache") == 0);
  CHECK(bytes_of(trains, "reference policy") >= 4 * slice);
  CHECK(bytes_of(trains, "reference policy") < 4 * kAll);
  CHECK(bytes_of(draws, "weights", kSampling) == 4 * kAll);
  CHECK(bytes_of(draws, "moments of AdamW", kSampling) == 0);
  CHECK(bytes_of(draws, "activations", kSampling) == 0);
  CHECK(bytes_of(draws, "key-value cache", kSampling) > 0);
  CHECK(bytes_of(draws, "reference policy", kSampling) == 4 * kAll);  // every rank keeps one
  CHECK(ranks_peak(job, settings, ranks) == std::max(trains.peak(), draws.peak()));
  ranks.ahead = true;
  CHECK(ranks_memory(job, settings, ranks)[1].memory.peak() == draws.peak() + 4 * kAll);
}

TEST_CASE("rank memory: a GPU holds weights in fp32 and bf16, and keeps what it has taken") {
  const auto config = config_of("[trainer]\nprecision = \"bf16\"\n");
  const PlannedJob job(*config, 0);
  PlanSettings settings = settings_of(*config, "none");
  settings.weights = kernels::bf16_format();
  settings.training.recompute = true;
  settings.kv_cache_gb = 1;
  constexpr int64_t kRanks = 2;
  RankPlace place{.drawing = kRanks, .training = kRanks, .gpu = true};
  const MemoryPlan none = rank_memory(job, settings, place, kGpuBase, kMuch);
  CHECK(none.of(kSampling) == none.of(kLearning));
  CHECK_FALSE(none.releases_activations);
  CHECK(bytes_of(none, "context and libraries") == kGpuBase);
  CHECK(bytes_of(none, "weights") == 4 * kAll);
  CHECK(bytes_of(none, "weights in bf16") == 2 * kAll);
  CHECK(bytes_of(none, "packed weights") == 0);
  // Half of the 8 groups, 16 responses of 30 tokens, in one micro-batch.
  const BatchSize batch = job.largest(1 << 20, kRanks);
  CHECK(batch.head_rows == 16 * 30);
  CHECK(batch.keys == batch.rows + 4 * (batch.rows - 16 * 29));  // prompts again for responses
  const int64_t t = batch.rows;
  const int64_t kept = 4 * t * kWidth + 2 * t * (kRow + kHeads * 32 + 2 * kInner) + 4 * t * kHeads;
  CHECK(bytes_of(none, "activations") == (kLayers + 1) * 4 * t * kWidth + kept);
  CHECK(bytes_of(none, "hidden states") == 2 * 4 * t * kWidth + 4 * 480 * kWidth);
  settings.training.recompute = false;
  CHECK(bytes_of(rank_memory(job, settings, place, kGpuBase, kMuch), "activations") ==
        (kLayers + 1) * 4 * t * kWidth + kLayers * kept);
  // Keys and values of a page, in bf16; as many pages as may be used, which is less than a GB.
  const int64_t page = 2 * kLayers * 2 * 4 * 32 * kernels::kKeyBlock;
  CHECK(device_page_bytes(job.model().spec(), settings.weights) == page);
  CHECK(bytes_of(none, "key-value cache") == page * none.cache_pages_wanted);
  settings.kv_cache_gb = 5.5e-9 * static_cast<double>(page);
  CHECK(rank_memory(job, settings, place, kGpuBase, kMuch).cache_pages == 5);

  // Cut, a copy of the gathered unit is rounded, and the engine still has all weights in both.
  settings.shard = "full";
  const MemoryPlan full = rank_memory(job, settings, place, kGpuBase, kMuch);
  CHECK(bytes_of(full, "weights in bf16") == 2 * kAll);
  CHECK(bytes_of(full, "units of the weights") == 4 * (4 * kLayer + kWidth) + 2 * kLayer);
  place.draws = false;
  CHECK(bytes_of(rank_memory(job, settings, place, kGpuBase, kMuch), "weights in bf16") == 0);
}

TEST_CASE("rank memory: units that are gathered, of a head of its own and a tied one") {
  ModelSpec own;
  own.vocab_size = 4096;
  own.hidden_size = 64;
  own.intermediate_size = 128;
  own.num_hidden_layers = 2;
  own.num_attention_heads = 4;
  own.num_key_value_heads = 2;
  own.head_dim = 16;
  own.max_position_embeddings = 64;
  ModelSpec tied = own;
  tied.tie_word_embeddings = true;
  const int64_t table = 4096 * 64, layer = (4 + 2 * 2) * 16 * 64 + 64 * 64 + 3 * 128 * 64 + 2 * 64;
  const Decoder apart(own, true, at::kFloat, at::kMeta), same(tied, true, at::kFloat, at::kMeta);
  // The head with its gradient; on a GPU rounded as well.
  CHECK(ShardedWeights::most_bytes(apart, false, true) == 8 * table);
  CHECK(ShardedWeights::most_bytes(apart, true, true) == 10 * table);
  CHECK(ShardedWeights::most_bytes(apart, true, false) == 6 * table + 4 * layer);
  // The gradient of the table waits for that of the embeddings, beside the last layer, the one
  // before it, and the gradient of the last.
  CHECK(ShardedWeights::most_bytes(same, false, true) ==
        std::max(8 * table, 4 * (table + 3 * layer + 2 * 64)));
}

TEST_CASE("rank memory: the head holds a chunk of the logits, not all of them") {
  namespace gpu = ops::device;
  const auto more = [](int64_t vocabulary) {
    return gpu::head_bytes(4096, 64, vocabulary, Precision::bf16, true);
  };
  CHECK(more(150'000) == more(8192));
  // 2,048 rows by 8,192 words in fp32 and their gradient in bf16; of a row its hidden state in bf16
  // and the gradient of it, four numbers, five sums, two gradients.
  CHECK(more(8192) == 2048 * 8192 * 6 + 4096 * (64 * (2 + 4) + 4 * (4 + 5 + 2)));
}

TEST_CASE("rank memory: what to change") {
  const auto config = config_of("[trainer]\nprecision = \"bf16\"\n");
  const PlannedJob job(*config, 0);
  PlanSettings settings = settings_of(*config, "none");
  settings.weights = kernels::bf16_format();
  settings.kv_cache_gb = 1;
  PlannedRanks ranks{.count = 4, .gpu = true, .base = kGpuBase, .budget = kMuch};
  const int64_t needed = ranks_peak(job, settings, ranks);
  ranks.budget = needed - 1;
  for (const PlanChange& change : smaller_rank_settings(job, settings, ranks)) {
    CAPTURE(change.keys);
    CHECK(ranks_peak(job, change.settings, ranks) < needed);
  }
  std::vector<PlanChange> enough = enough_for_ranks(job, settings, ranks);
  REQUIRE(enough.size() == 1);
  CHECK(enough.front().keys == "trainer.shard=optimizer");
  CHECK(enough.front().settings.shard == "optimizer");
  // Where no change alone saves enough, each is laid over those before it.
  ranks.budget = needed;
  for (const PlanChange& change : smaller_rank_settings(job, settings, ranks))
    ranks.budget = std::min(ranks.budget, ranks_peak(job, change.settings, ranks) - 1);
  enough = enough_for_ranks(job, settings, ranks);
  REQUIRE(enough.size() > 1);
  CHECK(ranks_peak(job, enough.back().settings, ranks) <= ranks.budget);
  ranks.budget = 1;
  enough = enough_for_ranks(job, settings, ranks);
  CHECK((enough.empty() || ranks_peak(job, enough.back().settings, ranks) > 1));
}

TEST_CASE("rank memory: the head of a model that waits for its weights") {
  const fs::path whole = fs::path(VERNIER_TEST_CASES) / "step/model";
  const testing::TemporaryFolder folder;
  CHECK_FALSE(lacks_weights(whole));
  CHECK_FALSE(lacks_weights(folder.path()));
  for (const char* name : {"config.json", "tokenizer.json", "tokenizer_config.json"})
    fs::copy(whole / name, folder.path() / name);
  CHECK(lacks_weights(folder.path()));
  const ModelHead found = head_from_folder(folder.path(), 0);
  const ModelHead wanted = read_head(ModelSource(whole.string()), 0);
  CHECK(found.spec.hidden_size == wanted.spec.hidden_size);
  CHECK(found.spec.vocab_size == wanted.spec.vocab_size);
  CHECK(found.tokenizer->size() == wanted.tokenizer->size());
  fs::remove(folder.path() / "tokenizer.json");
  CHECK(testing::usage_error([&] { head_from_folder(folder.path(), 0); }).find("tokenizer.json") !=
        std::string::npos);
}

}  // namespace vernier
