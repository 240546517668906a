#include "trainer/plan.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/base/errors.h"
#include "core/base/pool.h"
#include "core/model/head_files.h"
#include "core/model/model.h"
#include "rollout/response_draw.h"
#include "trainer/run_prompts.h"

namespace vernier {

PlanSettings::PlanSettings(const RunConfig& config)
    : training(config.training),
      moments_in_bytes(config.moments_in_bytes),
      weights(config.rollout.weights),
      max_running(config.rollout.max_running),
      max_step_tokens(config.rollout.max_step_tokens),
      max_tokens(config.max_tokens_per_microbatch),
      shard(config.shard),
      rollout_ranks(config.rollout_ranks),
      kv_cache_gb(config.rollout.kv_cache_gb) {}

namespace {

int64_t bytes_of_files(const std::string& path) {
  if (!fs::is_directory(path)) return static_cast<int64_t>(fs::file_size(path));
  int64_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(path))
    if (entry.path().extension() == ".safetensors")
      bytes += static_cast<int64_t>(entry.file_size());
  return bytes;
}

ModelHead head_of(const RunConfig& config) {
  if (config.new_model) return read_head(*config.new_model);
  if (lacks_weights(config.model_path))
    return head_from_folder(config.model_path, config.max_length);
  return read_head(ModelSource(config.model_path), config.max_length, config.reach);
}

BatchSize size_of(const PackedBatch& batch) {
  BatchSize out{.rows = batch.tokens.size(), .head_rows = std::ssize(batch.rows)};
  for (int64_t s = 0; s < batch.tokens.segments(); ++s) {
    const int64_t seen = batch.tokens.tokens(s);
    out.keys += seen;
    out.longest = std::max(out.longest, seen);
  }
  return out;
}

}  // namespace

PlannedJob::PlannedJob(const RunConfig& config, double mean_length, bool for_cluster)
    : config_(config),
      plan_(config.chain.plan()),
      mean_length_(mean_length > 0 ? mean_length
                                   : static_cast<double>(config.rollout.max_completion_length)),
      threads_(kernel_pool().threads()) {
  if (mean_length_ > static_cast<double>(config.rollout.max_completion_length))
    fail("--mean-length: ", mean_length_,
         " is more than rollout.max_completion_length = ", config.rollout.max_completion_length);
  if (!for_cluster) check_alone();
  if (config.lora)
    fail(
        "[trainer.lora]: a plan knows full training alone; with adapters gradients and moments "
        "take far less than it would say");
  ModelHead head = head_of(config);
  tokenizer_ = head.tokenizer;
  model_ = std::make_unique<Decoder>(head.spec, true, at::kFloat, at::kMeta);
  if (!config.new_model) file_bytes_ = bytes_of_files(config.model_path);
  chat_format_ = choose_chat_format(config.chat_format, tokenizer_->chat_template(),
                                    config.new_model ? "model.new" : config.model_path);
  const DrawRules rules(config.rollout, *tokenizer_, head.spec);
  exit_tokens_ = std::ssize(tokenizer_->encode(plan_.exit_text));
  if (config.run.steps > 0 || config.run.eval_every > 0) read_rollouts();
  if (config.sft.steps > 0) read_demonstrations();
}

void PlannedJob::check_alone() const {
  const RunConfig& config = config_;
  if (config.run.deterministic || config.rollout_ranks > 0 || config.shard != "none" ||
      config.max_staleness > 0 || config.cluster.workers.on())
    fail(
        "plan: run.deterministic, rollout.mode, rollout.max_staleness, trainer.shard and "
        "cluster.workers: a plan knows one process that computes an update in one part; leave them "
        "out to see what that takes, or give --cluster for several ranks");
  if (config.run.device == "cuda")
    fail(
        "run.device = \"cuda\": a plan measures the speed of the CPU alone; --cluster, with "
        "device=a100, h100 or h200, takes that of a GPU from its data sheet");
}

PlannedDraw PlannedJob::draw_of(const std::vector<Prompt>& prompts, int64_t n) const {
  PlannedDraw out{
      .sequences = std::ssize(prompts) * n, .num_generations = n, .of_configuration = n};
  for (const Prompt& prompt : prompts) {
    const auto tokens = std::ssize(prompt.ids);
    out.longest_prompt = std::max<int64_t>(out.longest_prompt, tokens);
    out.mean_prompt += static_cast<double>(tokens) / static_cast<double>(prompts.size());
    const auto limit = static_cast<double>(completion_limit(prompt, config_.rollout));
    out.mean_length += std::min(limit, mean_length_) / static_cast<double>(prompts.size());
  }
  out.mean_drawn = out.mean_length;
  return out;
}

// With what goes on from the thinking of others, which the engine is opened for too.
PlannedDraw PlannedJob::draw_of_step(const std::vector<Prompt>& prompts) const {
  PlannedDraw out = draw_of(prompts, config_.rollout.num_generations);
  if (plan_.forced_share > 0)
    out.longest_prompt += std::ssize(tokenizer_->encode(plan_.forced_text));
  if (plan_.branches == SamplingPlan::Branches::none) return out;
  const bool exits = plan_.branches == SamplingPlan::Branches::exits;
  const auto size = static_cast<double>(group_size()), count = static_cast<double>(prompts.size());
  const double thoughts = exits ? 1 : static_cast<double>(out.num_generations);
  const double answers = exits ? size - 1 : size;
  const double thought = exits
                             ? out.mean_length
                             : std::min(out.mean_length, static_cast<double>(plan_.budgets.back()));
  out.mean_drawn = (thoughts * thought + answers * static_cast<double>(plan_.exit_tokens)) / size;
  out.num_generations = group_size();
  out.sequences = std::ssize(prompts) * group_size();
  out.longest_prompt += config_.rollout.max_completion_length + exit_tokens_;
  out.mean_length = 0;
  for (const Prompt& prompt : prompts)
    for (const int64_t length : lengths_of_group(prompt))
      out.mean_length += static_cast<double>(length) / (size * count);
  return out;
}

// Tokens of a group's responses: of those that go on from a thought what they keep of it, the text
// that closes it, and the longest answer.
std::vector<int64_t> PlannedJob::lengths_of_group(const Prompt& prompt) const {
  const auto limit = static_cast<double>(completion_limit(prompt, config_.rollout));
  const auto length = std::max<int64_t>(1, std::llround(std::min(limit, mean_length_)));
  const int64_t n = config_.rollout.num_generations, answer = exit_tokens_ + plan_.exit_tokens;
  if (plan_.branches == SamplingPlan::Branches::none)
    return std::vector<int64_t>(static_cast<size_t>(n), length);
  std::vector<int64_t> out;
  if (plan_.branches == SamplingPlan::Branches::exits) {  // at places that are drawn evenly
    for (int64_t k = 1; k < n; ++k) out.push_back(length * k / n + answer);
    out.push_back(length);
    return out;
  }
  for (int64_t thought = 0; thought < n; ++thought)
    for (const int64_t budget : plan_.budgets)
      out.insert(out.end(), static_cast<size_t>(plan_.siblings), std::min(length, budget) + answer);
  return out;
}

void PlannedJob::read_rollouts() {
  const RunPrompts sources = open_prompts(config_, chat_format_, *tokenizer_, model_->spec());
  const auto rendered = [&](const PromptSource& source, int64_t count) {
    std::vector<Prompt> prompts = source.take(0, count);
    for (Prompt& prompt : prompts) render_prompt(prompt, config_.data, chat_format_, *tokenizer_);
    return prompts;
  };
  if (config_.run.eval_every > 0) {
    const int64_t count = std::min(sources.evaluation->size(), config_.data.eval_prompts);
    evaluation_ = draw_of(rendered(*sources.evaluation, count), config_.eval.n);
  }
  if (config_.run.steps == 0) return;
  const int64_t target = config_.rollout.prompts_per_step;
  const int64_t first = config_.filter.next_batch(target, 0, 0, {});
  prompts_ = rendered(*sources.training, first);
  rollout_ = draw_of_step(prompts_);
  std::vector<Prompt> unknown;
  for (const Prompt& prompt : prompts_)
    if (config_.chain.lacks_reference(prompt)) unknown.push_back(prompt);
  if (!unknown.empty()) reference_ = draw_of(unknown, plan_.reference_generations);
  const int64_t groups = config_.samples_per_update == 0
                             ? target
                             : std::min(target, config_.samples_per_update / group_size());
  prompts_.resize(static_cast<size_t>(std::min<int64_t>(groups, std::ssize(prompts_))));
  response_.assign(static_cast<size_t>(longest_response(plan_, config_.rollout, *tokenizer_)), 0);
  for (const Prompt& prompt : prompts_) {
    update_tokens_ += std::ssize(prompt.ids);
    for (const int64_t length : lengths_of_group(prompt)) {
      sequences_.push_back({&prompt.ids, response_.data(), length});
      longest_sequence_ = std::max(longest_sequence_, sequences_.back().tokens());
      update_tokens_ += length;
    }
  }
}

// The batch whose demonstrations are the longest of a bucket.
void PlannedJob::read_demonstrations() {
  const SftConfig& sft = config_.sft;
  for (int64_t i = 0; i < sft.batch_sequences * sft.bucket_batches; ++i) {
    const Demonstration one =
        config_.data.demonstrate(static_cast<uint64_t>(config_.run.seed), i, 0);
    Prompt prompt;
    prompt.text = one.prompt;
    render_prompt(prompt, config_.data, chat_format_, *tokenizer_);
    demonstrations_.emplace_back(std::move(prompt.ids), tokenizer_->encode(one.response));
  }
  const auto tokens = [](const auto& one) { return one.first.size() + one.second.size(); };
  std::sort(demonstrations_.begin(), demonstrations_.end(),
            [&](const auto& a, const auto& b) { return tokens(a) > tokens(b); });
  demonstrations_.resize(static_cast<size_t>(sft.batch_sequences));
  int64_t all = 0;
  for (const auto& one : demonstrations_) all += static_cast<int64_t>(tokens(one));
  update_tokens_ = std::max(update_tokens_, all);
  longest_sequence_ =
      std::max(longest_sequence_, static_cast<int64_t>(tokens(demonstrations_.front())));
}

int64_t PlannedJob::updates() const { return std::llround(std::ceil(share_of_first_update())); }

double PlannedJob::share_of_first_update() const {
  if (config_.samples_per_update == 0) return 1;
  const int64_t samples = config_.rollout.prompts_per_step * group_size();
  return std::max(1.0,
                  static_cast<double>(samples) / static_cast<double>(config_.samples_per_update));
}

std::vector<PackedBatch> PlannedJob::microbatches(int64_t max_tokens) const {
  std::vector<PackedBatch> out;
  for (const auto& which : split_by_tokens(sequences_, max_tokens))
    out.push_back(pack(sequences_, which));
  return out;
}

PackedBatch PlannedJob::some_tokens(int64_t tokens) const {
  std::vector<Sequence> cut = sequences_;
  for (Sequence& one : cut)
    one.length = std::clamp<int64_t>(tokens - std::ssize(*one.prompt), 1, one.length);
  return pack(cut, split_by_tokens(cut, tokens).front());
}

// Whole groups, those with the most tokens; with run.deterministic samples by their order.
std::vector<Sequence> PlannedJob::part_of_update(int64_t parts) const {
  if (parts == 1 || sequences_.empty()) return sequences_;
  const auto share = [&](int64_t all) { return (all + parts - 1) / parts; };
  const auto of_group = static_cast<int64_t>(sequences_.size() / prompts_.size());
  std::vector<size_t> groups(prompts_.size());
  std::iota(groups.begin(), groups.end(), size_t{0});
  const auto tokens = [&](size_t group) {
    int64_t sum = std::ssize(prompts_[group].ids);
    for (int64_t i = 0; i < of_group; ++i)
      sum += sequences_[group * static_cast<size_t>(of_group) + static_cast<size_t>(i)].length;
    return sum;
  };
  std::stable_sort(groups.begin(), groups.end(),
                   [&](size_t a, size_t b) { return tokens(a) > tokens(b); });
  int64_t left = share(std::ssize(groups)) * of_group;
  if (config_.run.deterministic) left = share(std::ssize(sequences_));
  std::vector<Sequence> out;
  for (const size_t group : groups)
    for (int64_t i = 0; i < of_group && left > 0; ++i, --left)
      out.push_back(sequences_[group * static_cast<size_t>(of_group) + static_cast<size_t>(i)]);
  return out;
}

BatchSize PlannedJob::largest(int64_t max_tokens, int64_t parts) const {
  const std::vector<Sequence> sequences = part_of_update(parts);
  const auto batches = split_by_tokens(sequences, max_tokens);
  BatchSize out;
  double full = 1;
  for (const auto& which : batches) {
    const BatchSize size = size_of(pack(sequences, which));
    if (size.rows <= out.rows) continue;
    out = size;
    // The budget counts tokens that run and each response's last.
    full = static_cast<double>(max_tokens) / static_cast<double>(size.rows + std::ssize(which));
  }
  if (batches.size() < 2 || full < 1) return out;
  const auto filled = [&](int64_t rows) {
    return static_cast<int64_t>(static_cast<double>(rows) * full);
  };
  return {.rows = filled(out.rows),
          .head_rows = filled(out.head_rows),
          .keys = filled(out.keys),
          .longest = out.longest};
}

BatchSize PlannedJob::largest_demonstrations(int64_t max_tokens, int64_t parts) const {
  std::vector<Sequence> sequences;
  const int64_t share = (std::ssize(demonstrations_) + parts - 1) / parts;  // the longest first
  for (int64_t i = 0; i < share; ++i) {
    const auto& [prompt, response] = demonstrations_[static_cast<size_t>(i)];
    sequences.push_back({&prompt, response.data(), std::ssize(response)});
  }
  BatchSize out;
  for (const auto& which : split_by_tokens(sequences, max_tokens)) {
    const BatchSize size = size_of(pack(sequences, which));
    if (size.rows > out.rows) out = size;
  }
  return out;
}

double MemoryPlan::cache_room() const {
  if (cache_pages >= cache_pages_in_use) return 1;
  return static_cast<double>(cache_pages) / static_cast<double>(cache_pages_in_use);
}

int64_t MemoryPlan::of(Phase phase) const {
  int64_t sum = 0;
  for (const MemoryKind& kind : kinds) sum += kind.bytes[phase];
  return has[phase] ? sum : 0;
}

int64_t MemoryPlan::peak() const {
  return std::max({of(kLoading), of(kWarmStart), of(kSampling), of(kLearning)});
}

std::optional<int64_t> largest_microbatch(const PlannedJob& job, const PlanSettings& settings,
                                          int64_t base, int64_t budget) {
  const auto fits = [&](int64_t tokens) {
    PlanSettings with = settings;
    with.max_tokens = tokens;
    return plan_memory(job, with, base, budget).peak() <= budget;
  };
  int64_t low = job.longest_sequence(), high = job.update_tokens();
  if (high == 0 || !fits(low)) return std::nullopt;
  if (fits(high)) return high;
  while (high - low > std::max<int64_t>(64, low / 64)) {
    const int64_t middle = std::midpoint(low, high);
    (fits(middle) ? low : high) = middle;
  }
  return low;
}

}  // namespace vernier
