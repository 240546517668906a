#include "rollout/engine.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "core/base/errors.h"
#include "core/base/pool.h"
#include "core/base/rng.h"
#include "rewards/verify/judge.h"

namespace vernier {
namespace {

// A prompt whose responses are not all admitted yet, with what they share.
struct Shared {
  KvCache cache;
  at::Tensor logits;  // [1, V], after the last token of the prompt
};

struct Running {
  int64_t group = 0;
  Response response;
  KvCache cache;
  Rng rng;
};

class Batch {
 public:
  Batch(Decoder& decoder, const Tokenizer& tokenizer, std::vector<Prompt> prompts,
        const RolloutConfig& config, DrawKey key, int64_t weight_version)
      : decoder_(decoder),
        tokenizer_(tokenizer),
        config_(config),
        key_(key),
        weight_version_(weight_version),
        banned_(tokenizer.pad_id().value_or(-1)),
        tags_(config, tokenizer) {
    if (tokenizer.ends(banned_)) banned_ = -1;  // some models pad with their end token
    for (size_t g = 0; g < prompts.size(); ++g) {
      check_fits(prompts[g], cat("prompt ", prompts[g].id), config, decoder.spec());
      Group group;
      group.id = static_cast<int64_t>(g);
      group.step = static_cast<int64_t>(key.step);
      group.prompt = std::move(prompts[g]);
      group.responses.resize(static_cast<size_t>(config.num_generations));
      groups_.push_back(std::move(group));
      left_.push_back(config.num_generations);
    }
  }

  EngineStats run(const std::atomic<bool>* stop, const std::function<void(Group&&)>& done) {
    while (next_group_ < groups_.size() || !running_.empty()) {
      if (stop != nullptr && stop->load(std::memory_order_relaxed)) throw Interrupted();
      admit(done);
      if (!running_.empty()) step(done);
    }
    return stats_;
  }

 private:
  // Fills the free places, prompt by prompt. The first token of a response comes from the prompt's
  // own logits.
  void admit(const std::function<void(Group&&)>& done) {
    std::vector<Running> fresh;
    while (next_group_ < groups_.size() &&
           static_cast<int64_t>(running_.size() + fresh.size()) < config_.max_running) {
      Group& group = groups_[next_group_];
      if (shared_ == nullptr) shared_ = prefill(group.prompt);
      const auto sample = static_cast<uint64_t>(next_sample_);
      Running one{.group = static_cast<int64_t>(next_group_),
                  .response = {},
                  .cache = KvCache(decoder_.spec(), static_cast<int64_t>(group.prompt.ids.size()) +
                                                        config_.max_completion_length),
                  .rng = Rng(key_.seed, Stream::sampling, key_.step,
                             static_cast<uint64_t>(group.prompt.index), sample)};
      one.response.sample = next_sample_;
      one.cache.copy_from(shared_->cache);
      draw(one, shared_->logits.const_data_ptr<float>());
      fresh.push_back(std::move(one));
      if (++next_sample_ == config_.num_generations) {
        next_sample_ = 0;
        ++next_group_;
        shared_.reset();
      }
    }
    for (Running& one : fresh) {
      if (ended(one))
        finish(one, done);
      else
        running_.push_back(std::move(one));
    }
  }

  std::unique_ptr<Shared> prefill(const Prompt& prompt) {
    auto shared = std::make_unique<Shared>(
        Shared{KvCache(decoder_.spec(), static_cast<int64_t>(prompt.ids.size())), at::Tensor()});
    PackedTokens tokens;
    tokens.add(prompt.ids);
    const at::Tensor hidden = decoder_.prefill(tokens, {&shared->cache});
    shared->logits = decoder_.logits(hidden.narrow(0, tokens.size() - 1, 1));
    return shared;
  }

  void step(const std::function<void(Group&&)>& done) {
    std::vector<int32_t> ids;
    std::vector<KvCache*> caches;
    for (Running& one : running_) {
      ids.push_back(one.response.ids.back());
      caches.push_back(&one.cache);
    }
    const at::Tensor logits = decoder_.logits(decoder_.decode(ids, caches));  // [B, V]
    const int64_t vocabulary = logits.size(1);
    kernel_pool().run(static_cast<int64_t>(running_.size()), [&](int64_t b) {
      draw(running_[static_cast<size_t>(b)], logits.const_data_ptr<float>() + b * vocabulary);
    });
    for (Running& one : running_)
      if (ended(one)) finish(one, done);
    std::erase_if(running_, [](const Running& one) { return one.response.ids.empty(); });
  }

  void draw(Running& one, const float* logits) {
    thread_local std::vector<int32_t> scratch;
    const double uniform = one.rng.uniform(one.response.ids.size());
    const Drawn drawn = kernels::sample_token(logits, decoder_.spec().vocab_size, config_.sampling,
                                              banned_, uniform, scratch);
    if (std::isnan(drawn.logprob))
      fail_run("the model's logits are not finite at token ", one.response.ids.size() + 1,
               " of a response to prompt ", groups_[static_cast<size_t>(one.group)].prompt.id,
               "; nothing can be drawn from them");
    one.response.ids.push_back(drawn.id);
    one.response.logprobs.push_back(drawn.logprob);
  }

  bool ended(const Running& one) const {
    return tokenizer_.ends(one.response.ids.back()) ||
           static_cast<int64_t>(one.response.ids.size()) >= config_.max_completion_length;
  }

  void finish(Running& one, const std::function<void(Group&&)>& done) {
    Response& response = one.response;
    stats_.new_tokens += static_cast<int64_t>(response.ids.size());
    response.finish_reason =
        tokenizer_.ends(response.ids.back()) ? FinishReason::stop : FinishReason::length;
    response.num_tokens = response.raw_num_tokens = static_cast<int32_t>(response.ids.size());
    response.text = tokenizer_.decode(response.ids);
    response.versions = {{weight_version_, response.num_tokens}};
    Group& group = groups_[static_cast<size_t>(one.group)];
    set_spans(response, group.prompt.ids, tags_);
    set_first_correct(response, group.prompt, tokenizer_);
    const auto place = static_cast<size_t>(response.sample);
    group.responses[place] = std::move(response);
    response.ids.clear();  // marks the row as done
    if (--left_[static_cast<size_t>(one.group)] == 0) done(std::move(group));
  }

  Decoder& decoder_;
  const Tokenizer& tokenizer_;
  const RolloutConfig& config_;
  DrawKey key_;
  int64_t weight_version_;
  int32_t banned_;
  ThinkTags tags_;
  std::vector<Group> groups_;
  std::vector<int64_t> left_;  // responses of each group that have not ended
  std::vector<Running> running_;
  std::unique_ptr<Shared> shared_;
  size_t next_group_ = 0;
  int64_t next_sample_ = 0;
  EngineStats stats_;
};

}  // namespace

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
  config.number("max_running", max_running, 1, 1 << 20, "responses that are decoded together");
  config.text("think_start", think_start,
              "tag that opens the thinking, one token; empty: the response starts inside it");
  config.text("think_end", think_end, "tag that ends the thinking, one token; empty: no thinking");
  config.only_if("think_start", !think_end.empty(), "think_end = \"\"");
}

EngineStats Engine::generate(std::vector<Prompt> prompts, const RolloutConfig& config, DrawKey key,
                             int64_t weight_version, const std::atomic<bool>* stop,
                             const std::function<void(Group&&)>& done) {
  Batch batch(decoder_, tokenizer_, std::move(prompts), config, key, weight_version);
  return batch.run(stop, done);
}

void check_fits(const Prompt& prompt, const std::string& where, const RolloutConfig& config,
                const ModelSpec& spec) {
  const auto length = static_cast<int64_t>(prompt.ids.size());
  if (length + config.max_completion_length > spec.longest())
    fail(where, ": its ", length,
         " tokens and max_completion_length = ", config.max_completion_length,
         " do not fit the model's ", spec.longest(), " positions");
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
  bool open = tags.start < 0;
  for (const int32_t id : prompt_ids) open = id == tags.start || (open && id != tags.end);
  if (tags.start < 0) open = true;
  const int32_t begin = open ? 0 : place_of(tags.start) + 1;
  if (begin > size) return;  // the response never starts to think
  const int32_t end = place_of(tags.end);
  response.think = {begin, std::max(begin, end)};
  response.answer_span = {std::min(end + 1, size), size};
}

}  // namespace vernier
