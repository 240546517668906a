#include "trainer/plan.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/base/errors.h"
#include "core/base/pool.h"
#include "core/model/model.h"
#include "rollout/response_draw.h"
#include "trainer/adamw.h"
#include "trainer/run_prompts.h"

namespace vernier {

PlanSettings::PlanSettings(const RunConfig& config)
    : training(config.training),
      moments_in_bytes(config.moments_in_bytes),
      weights(config.rollout.weights),
      max_running(config.rollout.max_running),
      max_step_tokens(config.rollout.max_step_tokens),
      max_tokens(config.max_tokens_per_microbatch) {}

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
  return read_head(ModelSource(config.model_path), config.max_length, config.reach);
}

// A batch, and the tokens that the budget counts in it: those that run and each response's last.
BatchSize size_of(const PackedBatch& batch) {
  return {.rows = batch.tokens.size(), .head_rows = std::ssize(batch.rows)};
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
        "out to see what that takes, or give --cluster for the time of several ranks");
  if (config.run.device == "cuda")
    fail(
        "run.device = \"cuda\": a plan knows the memory and the speed of the CPU alone; --cluster "
        "takes a GPU's speed from its data sheet");
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

BatchSize PlannedJob::largest(int64_t max_tokens) const {
  const auto batches = split_by_tokens(sequences_, max_tokens);
  BatchSize out;
  double full = 1;
  for (const auto& which : batches) {
    const BatchSize size = size_of(pack(sequences_, which));
    if (size.rows <= out.rows) continue;
    out = size;
    full = static_cast<double>(max_tokens) / static_cast<double>(size.rows + std::ssize(which));
  }
  if (batches.size() < 2 || full < 1) return out;
  const auto filled = [&](int64_t rows) {
    return static_cast<int64_t>(static_cast<double>(rows) * full);
  };
  return {.rows = filled(out.rows), .head_rows = filled(out.head_rows)};
}

BatchSize PlannedJob::largest_demonstrations(int64_t max_tokens) const {
  std::vector<Sequence> sequences;
  for (const auto& [prompt, response] : demonstrations_)
    sequences.push_back({&prompt, response.data(), std::ssize(response)});
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

namespace {

// The pages of a cache that serves some draws, and those that are written.
struct CachePages {
  int64_t wanted = 0, written = 0, in_use = 0;
};

CachePages pages_of(const PlannedJob& job, const PlanSettings& settings,
                    const std::vector<std::optional<PlannedDraw>>& draws) {
  CachePages out;
  for (const auto& draw : draws) {
    if (!draw) continue;
    RolloutConfig config = job.config().rollout;
    config.max_running = settings.max_running;
    config.num_generations = draw->of_configuration;
    const int64_t wanted = Engine::pages_wanted(
        config, std::min(settings.max_running, draw->sequences), draw->longest_prompt);
    config.num_generations = draw->num_generations;
    const int64_t written = Engine::pages_written(
        config, draw->sequences, std::llround(draw->mean_prompt), draw->mean_length);
    out.wanted = std::max(out.wanted, wanted);
    out.written = std::max(out.written, std::min(wanted, written));
  }
  if (const auto& draw = job.rollout()) {
    RolloutConfig config = job.config().rollout;
    config.max_running = settings.max_running;
    config.num_generations = draw->num_generations;
    out.in_use = Engine::pages_written(config, std::min(settings.max_running, draw->sequences),
                                       std::llround(draw->mean_prompt), draw->mean_length);
  }
  return out;
}

// Fills a MemoryPlan, kind by kind.
class MemorySum {
 public:
  MemorySum(const PlannedJob& job, const PlanSettings& settings, int64_t base, int64_t budget)
      : job_(job), settings_(settings), base_(base), budget_(budget) {
    const RunConfig& config = job.config();
    learns_ = config.run.steps > 0;
    warms_ = config.sft.steps > 0;
    plan_.has = {true, warms_, learns_ || config.run.eval_every > 0, learns_};
  }

  MemoryPlan run() {
    add_model();
    add_reference();
    add_packed();
    add_passes();
    add_sampling();
    return std::move(plan_);
  }

 private:
  void add(const std::string& name, int64_t loading, int64_t warm, int64_t sampling,
           int64_t learning) {
    if (loading + warm + sampling + learning == 0) return;
    plan_.kinds.push_back({name, {loading, warm, sampling, learning}});
    for (size_t phase = 0; phase < plan_.has.size(); ++phase)
      if (!plan_.has[phase]) plan_.kinds.back().bytes[phase] = 0;
  }
  // Once there, it stays.
  void add_from(const std::string& name, bool before_sampling, int64_t bytes) {
    add(name, 0, bytes, before_sampling ? bytes : 0, bytes);
  }

  // With the gaps between them. The decoder only gives them to be written.
  int64_t weight_count() const { return const_cast<Decoder&>(job_.model()).weights().numel(); }

  void add_model() {
    const int64_t count = weight_count(), weights = 4 * count;
    const int64_t moments = OptimizerState::bytes(count, settings_.moments_in_bytes);
    add("process and libraries", base_, base_, base_, base_);
    add("weights", weights, weights, weights, weights);
    // The files are closed before the moments come.
    add("files of the model", std::max<int64_t>(0, job_.file_bytes() - moments), 0, 0, 0);
    add_from("gradients", warms_ || learns_, weights);
    add("moments of AdamW", moments, moments, moments, moments);
  }

  void add_reference() {
    if (!learns_ || !job_.config().needs_reference()) return;
    const bool draws = job_.reference().has_value();
    const bool reads = job_.config().algorithm->reference_kl() > 0;
    const auto drawn_with = draws ? std::optional(settings_.weights) : std::nullopt;
    const auto read_with = reads ? std::optional(settings_.training.precision) : std::nullopt;
    int64_t all = 4 * weight_count() + packed_bytes(job_.model(), drawn_with, read_with);
    if (reads) {
      const PassMemory pass = forward_pass(job_.model(), job_.largest(settings_.max_tokens),
                                           settings_.training, /*threads=*/0);
      all += pass.kept + pass.scratch + pass.head;
    }
    add("reference policy", 0, 0, all, all);
  }

  void add_packed() {
    const kernels::Precision precision = settings_.training.precision;
    const int64_t warm = packed_bytes(job_.model(), std::nullopt, precision);
    const bool draws = plan_.has[kSampling];
    const int64_t all =
        packed_bytes(job_.model(), draws ? std::optional(settings_.weights) : std::nullopt,
                     warms_ || learns_ ? std::optional(precision) : std::nullopt);
    add("packed weights", 0, warm, all, all);
    add_from("a layer packed for gradients", warms_ || learns_,
             backward_packed_bytes(job_.model(), precision));
  }

  void add_passes() {
    if (!warms_ && !learns_) return;
    const BatchSize warm = job_.largest_demonstrations(settings_.max_tokens);
    const BatchSize rl = job_.largest(settings_.max_tokens);
    const BatchSize both{.rows = std::max(warm.rows, rl.rows),
                         .head_rows = std::max(warm.head_rows, rl.head_rows)};
    const auto pass = [&](const BatchSize& batch) {
      return training_pass(job_.model(), batch, settings_.training, job_.threads());
    };
    const PassMemory first = pass(warm), all = pass(both);
    kept_ = all.kept;
    add("activations", 0, first.kept, all.kept, all.kept);
    add("hidden states", 0, first.hidden, 0, all.hidden);
    add("arrays of a layer", 0, first.scratch, all.scratch, all.scratch);
    add("arrays of the head", 0, first.head, all.head, all.head);
  }

  void add_sampling() {
    if (!plan_.has[kSampling]) return;
    const ModelSpec& spec = job_.model().spec();
    const int64_t page = KvCache::page_bytes(spec), rows = settings_.max_step_tokens;
    const CachePages pages = pages_of(job_, settings_, {job_.rollout(), job_.evaluation()});
    const double gb = job_.config().rollout.kv_cache_gb;
    const double limit =
        gb > 0 ? gb * 1e9 : std::max(0.0, static_cast<double>(budget_ - plan_.of(kLoading)) / 2);
    plan_.cache_pages_wanted = pages.wanted;
    plan_.cache_pages_in_use = pages.in_use;
    plan_.cache_pages = std::min(pages.wanted, static_cast<int64_t>(limit) / page);
    const int64_t cache = page * std::min(plan_.cache_pages, pages.written);
    add("key-value cache", 0, 0, cache, cache);
    const int64_t arrays =
        Decoder::pass_bytes(spec, rows) + Engine::draw_bytes(spec, settings_.max_running);
    add("arrays of sampling", 0, 0, arrays, arrays);
    if (job_.reference()) {  // an engine of its own
      const CachePages own = pages_of(job_, settings_, {job_.reference()});
      const int64_t most = std::min({own.wanted, own.written, static_cast<int64_t>(limit) / page});
      add("sampling of the reference", 0, 0, page * most + arrays, page * most + arrays);
    }
    // The rule of Learner::update().
    plan_.releases_activations = budget_ - plan_.of(kLearning) < kept_;
    if (!plan_.releases_activations) return;
    for (MemoryKind& kind : plan_.kinds)
      if (kind.name == "activations") kind.bytes[kSampling] = 0;
  }

  const PlannedJob& job_;
  const PlanSettings& settings_;
  int64_t base_, budget_, kept_ = 0;
  bool learns_ = false, warms_ = false;
  MemoryPlan plan_;
};

}  // namespace

MemoryPlan plan_memory(const PlannedJob& job, const PlanSettings& settings, int64_t base,
                       int64_t budget) {
  return MemorySum(job, settings, base, budget).run();
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

std::vector<PlanChange> smaller_settings(const PlannedJob& job, const PlanSettings& settings,
                                         int64_t base, int64_t budget) {
  std::vector<PlanChange> out;
  const auto add = [&](const std::string& keys, const auto& change) {
    out.push_back({keys, settings});
    change(out.back().settings);
  };
  const auto peak = [&](const PlanSettings& with) {
    return plan_memory(job, with, base, budget).peak();
  };
  // Halves a number until the job fits, or it cannot become smaller.
  const auto halve = [&](const std::string& key, int64_t PlanSettings::*field, int64_t most,
                         int64_t least) {
    if (most == 0) return;  // the job has none of it
    PlanSettings with = settings;
    with.*field = std::min(with.*field, most);
    while (with.*field / 2 >= least && peak(with) > budget) with.*field /= 2;
    if (with.*field < settings.*field) out.push_back({cat(key, "=", with.*field), with});
  };
  const bool bf16 = settings.training.precision == kernels::Precision::bf16;
  const WeightFormat same = bf16 ? kernels::bf16_format() : WeightFormat::fp32;
  if (settings.weights != same)  // the packed weights of training, and no others
    add(cat("rollout.weights=", bf16 ? "bf16" : "fp32"),
        [&](PlanSettings& with) { with.weights = same; });
  if (!bf16)
    add("trainer.precision=bf16 rollout.weights=bf16", [&](PlanSettings& with) {
      with.training.precision = kernels::Precision::bf16;
      with.weights = kernels::bf16_format();
    });
  if (!settings.moments_in_bytes)
    add("trainer.optimizer=adamw_8bit", [&](PlanSettings& with) { with.moments_in_bytes = true; });
  if (!settings.training.recompute)
    add("trainer.activation_checkpointing=true",
        [&](PlanSettings& with) { with.training.recompute = true; });
  halve("trainer.max_tokens_per_microbatch", &PlanSettings::max_tokens, job.update_tokens(),
        job.longest_sequence());
  int64_t sequences = 0;
  for (const auto& draw : {job.rollout(), job.evaluation(), job.reference()})
    if (draw) sequences = std::max(sequences, draw->sequences);
  halve("rollout.max_running", &PlanSettings::max_running, sequences, 1);
  std::erase_if(out,
                [&](const PlanChange& change) { return peak(change.settings) >= peak(settings); });
  return out;
}

}  // namespace vernier
