#include "rollout/engine.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <span>
#include <unordered_map>

#include "core/base/errors.h"
#include "core/base/pool.h"
#include "core/base/rng.h"
#include "rewards/verify/judge.h"

namespace vernier {
namespace {

// In the order of WeightFormat.
constexpr std::array<const char*, 3> kFormats = {"fp32", "bf16", "int8"};

// A response that is being drawn.
struct Running {
  size_t group = 0;
  int64_t limit = 0;  // tokens
  Response response;
  Rng rng;
  Endings::State ending;
  std::vector<int32_t> seen;  // ids of prompt and response in rising order, each once; where wanted
};

std::vector<int32_t> distinct(std::vector<int32_t> ids) {
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

void insert(std::vector<int32_t>& sorted, int32_t id) {
  const auto place = std::lower_bound(sorted.begin(), sorted.end(), id);
  if (place == sorted.end() || *place != id) sorted.insert(place, id);
}

}  // namespace

// The responses to the prompts of one call.
class Engine::Batch {
 public:
  Batch(Engine& engine, std::vector<Prompt> prompts, const RolloutConfig& config, DrawKey key,
        int64_t weight_version, const std::function<void(Group&&)>& done)
      : decoder_(engine.decoder_),
        tokenizer_(engine.tokenizer_),
        cache_(*engine.cache_),
        scheduler_(*engine.scheduler_),
        config_(config),
        weight_version_(weight_version),
        done_(done),
        banned_(tokenizer_.pad_id().value_or(-1)),
        penalizes_(config.sampling.repetition_penalty != 1.0),
        records_sampled_(config.records("sampled")),
        records_plain_(config.records("plain")),
        tags_(config, tokenizer_),
        endings_(config.ending, tags_.start, tags_.end, tokenizer_) {
    if (tokenizer_.ends(banned_)) banned_ = -1;  // some models pad with their end token
    for (Prompt& prompt : prompts) {
      const int64_t limit = prompt.max_completion_length.value_or(config.max_completion_length);
      const int64_t first = scheduler_.add(prompt.ids, config.num_generations, limit);
      for (int64_t i = 0; i < config.num_generations; ++i) {
        Running& one =
            running_
                .emplace(first + i, Running{.group = groups_.size(),
                                            .limit = limit,
                                            .response = {},
                                            .rng = Rng(key.seed, Stream::sampling, key.step,
                                                       static_cast<uint64_t>(prompt.index),
                                                       static_cast<uint64_t>(i)),
                                            .ending = endings_.begin(prompt.ids),
                                            .seen = {}})
                .first->second;
        one.response.sample = i;
        if (penalizes_) one.seen = distinct(prompt.ids);
      }
      Group group;
      group.id = std::ssize(groups_);
      group.step = static_cast<int64_t>(key.step);
      group.prompt = std::move(prompt);
      group.responses.resize(static_cast<size_t>(config.num_generations));
      groups_.push_back(std::move(group));
      left_.push_back(config.num_generations);
    }
  }

  // What is left when an exception ends the call must not run in the next.
  ~Batch() {
    for (const auto& [sequence, one] : running_) scheduler_.remove(sequence);
  }
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  EngineStats run(const std::atomic<bool>* stop) {
    while (!running_.empty()) {
      if (stop != nullptr && stop->load(std::memory_order_relaxed)) throw Interrupted();
      step();
    }
    return stats_;
  }

 private:
  void step() {
    const StepPlan plan = scheduler_.plan();
    for (const auto& [from, to, tokens] : plan.copies) cache_.copy(from, to, tokens);
    CachedTokens pass;
    std::vector<int64_t> drawing, rows;
    for (const StepPlan::Span& span : plan.spans) {
      const std::span<const int32_t> tokens = scheduler_.tokens(span.sequence);
      pass.add(tokens.subspan(static_cast<size_t>(span.first), static_cast<size_t>(span.count)),
               span.first, scheduler_.pages(span.sequence));
      if (!span.draws) continue;
      drawing.push_back(span.sequence);
      rows.push_back(std::ssize(pass.ids) - 1);
    }
    const at::Tensor hidden = decoder_.cached(pass, cache_, config_.weights);
    for (size_t first = 0; first < rows.size(); first += kRowsOfLogits)
      draw(hidden, std::span(drawing).subspan(first), std::span(rows).subspan(first));
  }

  // Logits are made for some rows at a time: all of a large batch would be a table of gigabytes.
  void draw(const at::Tensor& hidden, std::span<const int64_t> drawing,
            std::span<const int64_t> rows) {
    const size_t count = std::min(rows.size(), kRowsOfLogits);
    const at::Tensor index = at::tensor(at::IntArrayRef(rows.data(), count));
    const at::Tensor logits = decoder_.logits(hidden.index_select(0, index), config_.weights);
    const int64_t vocabulary = logits.size(1);
    std::vector<Running*> ones;
    for (const int64_t sequence : drawing.first(count)) ones.push_back(&running_.at(sequence));
    kernel_pool().run(static_cast<int64_t>(count), [&](int64_t b) {
      draw(*ones[static_cast<size_t>(b)], logits.const_data_ptr<float>() + b * vocabulary);
    });
    for (size_t b = 0; b < count; ++b) {
      scheduler_.append(drawing[b], std::span(&ones[b]->response.ids.back(), 1));
      if (!ended(*ones[b])) continue;
      scheduler_.remove(drawing[b]);
      finish(*ones[b]);
      running_.erase(drawing[b]);
    }
  }

  void draw(Running& one, const float* logits) {
    Response& response = one.response;
    const int64_t vocabulary = decoder_.spec().vocab_size;
    const double temperature = config_.sampling.temperature;
    const int32_t forced = endings_.forced(one.ending);
    const Drawn drawn = forced >= 0 ? force(response, forced, logits) : sample(one, logits);
    if (std::isnan(drawn.logprob))
      fail_run("the model's logits are not finite at token ", response.ids.size() + 1,
               " of a response to prompt ", groups_[one.group].prompt.id,
               "; nothing can be drawn from them");
    response.ids.push_back(drawn.id);
    response.logprobs.push_back(drawn.logprob);
    if (records_sampled_) response.sampled_logprobs.push_back(drawn.sampled);
    if (records_plain_)
      response.plain_logprobs.push_back(
          temperature == 0 || temperature == 1
              ? drawn.logprob
              : kernels::token_logprob(logits, vocabulary, drawn.id, 1.0));
    if (penalizes_) insert(one.seen, drawn.id);
  }

  Drawn sample(const Running& one, const float* logits) const {
    thread_local std::vector<int32_t> scratch;
    return kernels::sample_token(logits, decoder_.spec().vocab_size, config_.sampling, banned_,
                                 one.rng.uniform(one.response.ids.size()), scratch, one.seen);
  }

  // The end of the thinking, with the log-probability that the model gives it.
  Drawn force(Response& response, int32_t id, const float* logits) const {
    response.forced.push_back(static_cast<int32_t>(response.ids.size()));
    response.flags.emplace_back(kThinkingBudgetFlag);
    return {.id = id,
            .logprob = kernels::token_logprob(logits, decoder_.spec().vocab_size, id,
                                              config_.sampling.temperature)};
  }

  // Takes in the newest token. The model's own end goes before every other.
  bool ended(Running& one) {
    Response& response = one.response;
    const bool own = tokenizer_.ends(response.ids.back());
    const std::optional<Endings::End> end = endings_.add(one.ending, response.ids);
    const bool full = std::ssize(response.ids) >= one.limit;
    if (own && (full || !config_.ignore_eos)) {
      response.finish_reason = FinishReason::stop;
      return true;
    }
    response.finish_reason = end ? end->reason : FinishReason::length;
    if (end && !end->flag.empty()) response.flags.push_back(end->flag);
    return end || full;
  }

  void finish(Running& one) {
    Response& response = one.response;
    stats_.new_tokens += static_cast<int64_t>(response.ids.size());
    response.num_tokens = response.raw_num_tokens = static_cast<int32_t>(response.ids.size());
    response.text = tokenizer_.decode(response.ids);
    response.versions = {{weight_version_, response.num_tokens}};
    Group& group = groups_[one.group];
    set_spans(response, group.prompt.ids, tags_);
    set_first_correct(response, group.prompt, tokenizer_);
    const auto place = static_cast<size_t>(response.sample);
    group.responses[place] = std::move(response);
    if (--left_[one.group] == 0) done_(std::move(group));
  }

  static constexpr size_t kRowsOfLogits = 64;

  Decoder& decoder_;
  const Tokenizer& tokenizer_;
  KvCache& cache_;
  Scheduler& scheduler_;
  const RolloutConfig& config_;
  int64_t weight_version_;
  const std::function<void(Group&&)>& done_;
  int32_t banned_;
  bool penalizes_, records_sampled_, records_plain_;
  ThinkTags tags_;
  Endings endings_;
  std::vector<Group> groups_;
  std::vector<int64_t> left_;                     // responses of each group that have not ended
  std::unordered_map<int64_t, Running> running_;  // by the scheduler's number
  EngineStats stats_;
};

void RolloutConfig::bind(Binder& config) {
  config.number("num_generations", num_generations, 1, 4096, "responses a prompt");
  config.number("prompts_per_step", prompts_per_step, 1, 1000000, "prompts a step");
  config.number("max_completion_length", max_completion_length, 1, 1 << 24,
                "tokens of a response, end token included");
  config.number("temperature", sampling.temperature, 0.0, 100.0,
                "divides the logits; 0 takes the most probable token");
  if (const std::string problem = temperature_problem(sampling.temperature); !problem.empty())
    config.error("temperature", problem);
  config.number("top_k", sampling.top_k, 0, 1 << 24, "keep the k most probable tokens; 0: all");
  config.number("top_p", sampling.top_p, 1e-6, 1.0, "keep the fewest tokens with this probability");
  config.number("min_p", sampling.min_p, 0.0, 1.0,
                "keep tokens of at least this share of the top token's probability");
  config.number("repetition_penalty", sampling.repetition_penalty, 0.01, 100.0,
                "divides positive and multiplies negative logits of the ids that prompt and "
                "response have, before logit_bias and temperature; 1: none");
  config.by_id("logit_bias", sampling.logit_bias, -100.0, 100.0,
               "is added to the logits of token ids, before the temperature");
  config.texts("record_logprobs", record_logprobs, {"sampled", "plain"},
               "log-probabilities that rows have besides those under logits / temperature: of the "
               "distribution that was drawn from, and of the model at temperature 1");
  config.number("max_running", max_running, 1, 1 << 20, "responses that are decoded together");
  config.number("max_step_tokens", max_step_tokens, 1, 1 << 24,
                "tokens of one forward pass; a longer prompt comes in chunks");
  if (max_step_tokens < max_running)
    config.error("max_step_tokens", cat(max_step_tokens, " is less than max_running = ",
                                        max_running, ": every response takes one token a pass"));
  config.number("kv_cache_gb", kv_cache_gb, 0.0, 1e6,
                "most memory of the key-value cache in GB; 0: half of what the machine has free");
  std::string format = kFormats[static_cast<size_t>(weights)];
  config.choice("weights", format, {kFormats.begin(), kFormats.end()},
                "format of the weights that responses are drawn with");
  weights = static_cast<WeightFormat>(std::ranges::find(kFormats, format) - kFormats.begin());
  config.text("think_start", think_start,
              "tag that opens the thinking, one token; empty: the response starts inside it");
  config.text("think_end", think_end, "tag that ends the thinking, one token; empty: no thinking");
  config.only_if("think_start", !think_end.empty(), "think_end = \"\"");
  ending.bind(config, max_completion_length, think_end);
}

bool RolloutConfig::records(const std::string& kind) const {
  return std::find(record_logprobs.begin(), record_logprobs.end(), kind) != record_logprobs.end();
}

Engine::Engine(Decoder& decoder, const Tokenizer& tokenizer)
    : decoder_(decoder), tokenizer_(tokenizer) {}
Engine::~Engine() = default;

// A cache with room for this call: the one that is there, or a new one.
void Engine::prepare(const std::vector<Prompt>& prompts, const RolloutConfig& config) {
  constexpr int64_t kTokens = kernels::kKeyBlock;
  const auto pages_of = [](int64_t tokens) { return (tokens + kTokens - 1) / kTokens; };
  check_ids(config, decoder_.spec());
  int64_t longest = 0;
  for (const Prompt& prompt : prompts) {
    check_fits(prompt, cat("prompt ", prompt.id), config, decoder_.spec());
    longest = std::max<int64_t>(longest, std::ssize(prompt.ids));
  }
  const int64_t running =
      std::min(config.max_running, std::ssize(prompts) * config.num_generations);
  // Everyone who runs at full length, with the page that a copy takes, and prompts for those to
  // come.
  const int64_t wanted = running * (pages_of(longest + config.max_completion_length) + 1) +
                         pages_of(longest) * (1 + running / config.num_generations);
  const double limit = config.kv_cache_gb > 0 ? config.kv_cache_gb * 1e9
                                              : static_cast<double>(available_memory()) / 2;
  const int64_t page_bytes = KvCache::page_bytes(decoder_.spec());
  const auto most = std::max<int64_t>(1, static_cast<int64_t>(limit) / page_bytes);
  const SchedulerLimits limits = {.max_running = config.max_running,
                                  .max_step_tokens = config.max_step_tokens,
                                  .pages = std::min(wanted, most),
                                  .page_tokens = kTokens};
  const bool kept = scheduler_ != nullptr && limits_.max_running == limits.max_running &&
                    limits_.max_step_tokens == limits.max_step_tokens &&
                    limits_.pages >= limits.pages && limits_.pages <= most;
  if (!kept) {
    scheduler_.reset();
    cache_.reset();  // before the new one takes its memory
    cache_ = std::make_unique<KvCache>(decoder_.spec(), limits.pages);
    scheduler_ = std::make_unique<Scheduler>(limits);
    limits_ = limits;
  } else if (version_ != decoder_.version()) {
    scheduler_->forget_prefixes();
  }
  version_ = decoder_.version();
}

EngineStats Engine::generate(std::vector<Prompt> prompts, const RolloutConfig& config, DrawKey key,
                             int64_t weight_version, const std::atomic<bool>* stop,
                             const std::function<void(Group&&)>& done) {
  if (prompts.empty()) return {};
  prepare(prompts, config);
  const SchedulerStats before = scheduler_->stats();
  Batch batch(*this, std::move(prompts), config, key, weight_version, done);
  EngineStats stats = batch.run(stop);
  stats.scheduler = scheduler_->stats() - before;
  return stats;
}

void check_fits(const Prompt& prompt, const std::string& where, const RolloutConfig& config,
                const ModelSpec& spec) {
  const auto length = static_cast<int64_t>(prompt.ids.size());
  const int64_t limit = prompt.max_completion_length.value_or(config.max_completion_length);
  if (limit > config.max_completion_length)
    fail(where, ": its max_completion_length: ", limit, " is outside the allowed range, 1 to ",
         config.max_completion_length, " (the configured max_completion_length)");
  if (length + limit > spec.longest())
    fail(where, ": its ", length, " tokens and max_completion_length = ", limit,
         " do not fit the model's ", spec.longest(), " positions");
}

void check_ids(const RolloutConfig& config, const ModelSpec& spec) {
  const auto check = [&](std::string_view key, int64_t id) {
    if (id >= spec.vocab_size)
      fail("rollout.", key, ": token id ", id, " is outside the model's vocabulary, 0 to ",
           spec.vocab_size - 1);
  };
  for (const auto& [id, bias] : config.sampling.logit_bias) check("logit_bias", id);
  for (const int64_t id : config.ending.stop_token_ids) check("stop_token_ids", id);
}

std::string temperature_problem(double temperature) {
  if (temperature == 0 || temperature >= 1e-3) return "";
  return cat(temperature, " is neither 0 (the most probable token) nor at least 0.001");
}

ThinkTags::ThinkTags(const RolloutConfig& config, const Tokenizer& tokenizer) {
  const auto id_of = [&](const std::string& tag, std::string_view key) {
    if (tag.empty()) return -1;
    const std::optional<int32_t> id = tokenizer.id_of(tag);
    if (!id) fail("rollout.", key, ": '", tag, "' is not one token of this model's tokenizer");
    return *id;
  };
  start = id_of(config.think_start, "think_start");
  end = id_of(config.think_end, "think_end");
}

void set_first_correct(Response& response, const Prompt& prompt, const Tokenizer& tokenizer) {
  response.first_correct.reset();
  if (!has_rule(prompt)) return;
  const std::optional<size_t> bytes = first_correct(prompt.verify, response.text, prompt.answer);
  if (!bytes) return;
  // The fewest tokens whose text holds these bytes: texts of prefixes grow.
  const std::span<const int32_t> ids = response.ids;
  size_t too_few = 0, enough = ids.size();
  while (enough - too_few > 1) {
    const size_t middle = (too_few + enough) / 2;
    (tokenizer.decode(ids.first(middle)).size() < *bytes ? too_few : enough) = middle;
  }
  response.first_correct = static_cast<int32_t>(enough);
}

void set_spans(Response& response, const std::vector<int32_t>& prompt_ids, const ThinkTags& tags) {
  const auto size = static_cast<int32_t>(response.ids.size());
  const auto place_of = [&](int32_t id) {
    const auto found = std::find(response.ids.begin(), response.ids.end(), id);
    return static_cast<int32_t>(found - response.ids.begin());
  };
  response.think = {};
  response.answer_span = {0, size};
  if (tags.end < 0) return;
  const bool open = thinking_is_open(prompt_ids, tags.start, tags.end);
  const int32_t begin = open ? 0 : place_of(tags.start) + 1;
  if (begin > size) return;  // the response never starts to think
  const int32_t end = place_of(tags.end);
  response.think = {begin, std::max(begin, end)};
  response.answer_span = {std::min(end + 1, size), size};
}

}  // namespace vernier
