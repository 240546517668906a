#include "rollout/group_draw.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <map>
#include <memory>
#include <numbers>
#include <span>

#include "core/base/errors.h"
#include "core/base/rng.h"
#include "rollout/spans.h"

namespace vernier {
namespace {

using Branches = SamplingPlan::Branches;

// Sample numbers of what goes on from a thought begin here, past those of any group.
constexpr uint64_t kBranchSamples = uint64_t{1} << 20;

// What a response goes on from.
struct Beginning {
  std::vector<int32_t> ids;
  std::vector<float> logprobs, sampled, plain;
  std::vector<int32_t> forced, assumed;

  void add_forced(std::span<const int32_t> more) {
    for (const int32_t id : more) {
      forced.push_back(static_cast<int32_t>(ids.size()));
      ids.push_back(id);
    }
    for (auto* values : {&logprobs, &sampled, &plain}) values->resize(ids.size(), 0.0F);
  }
};

// The first `tokens` tokens of a response.
Beginning beginning_of(const Response& response, int64_t tokens) {
  const auto cut = [&](const std::vector<float>& values) {
    std::vector<float> out(values.begin(), values.begin() + std::min(tokens, std::ssize(values)));
    out.resize(static_cast<size_t>(tokens), 0.0F);
    return out;
  };
  Beginning out;
  out.ids.assign(response.ids.begin(), response.ids.begin() + tokens);
  out.logprobs = cut(response.logprobs);
  out.sampled = cut(response.sampled_logprobs);
  out.plain = cut(response.plain_logprobs);
  for (const int32_t place : response.forced)
    if (place < tokens) out.forced.push_back(place);
  return out;
}

// Of a group, that begin with the forced text.
int64_t forced_responses(const SamplingPlan& plan, int64_t num_generations) {
  return std::llround(static_cast<double>(num_generations) * plan.forced_share);
}

// Where a share would silently become none, or all.
std::string forced_problem(const SamplingPlan& plan, int64_t num_generations) {
  const int64_t forced = forced_responses(plan, num_generations);
  const bool mixed = plan.forced_share > 0 && plan.forced_share < 1;
  if (!mixed || (forced > 0 && forced < num_generations)) return "";
  return cat("rollout.num_generations: ", num_generations,
             " and the rewards' forced_share = ", plan.forced_share, " make ", forced,
             " responses that begin with the forced text; at least one has to, and one not: take "
             "more responses, or a share that is nearer to 0.5");
}

template <class T>
void put_before(std::vector<T>& values, const std::vector<T>& first) {
  values.insert(values.begin(), first.begin(), first.end());
}

class Drawer {
 public:
  Drawer(const GroupDraw& draw, const std::function<void(Group&&)>& done)
      : draw_(draw), done_(done), tags_(draw.config, draw.tokenizer) {
    const std::string problem = plan_problem(draw.plan, draw.config);
    if (!problem.empty()) fail(problem);
    if (branches() == Branches::none && draw.plan.forced_share > 0) {
      forced_ids_ = draw.tokenizer.encode(draw.plan.forced_text);
      num_forced_ = forced_responses(draw.plan, draw.config.num_generations);
    }
    if (branches() != Branches::none) exit_ids_ = draw.tokenizer.encode(draw.plan.exit_text);
  }

  void run(std::vector<Prompt> prompts) {
    int64_t longest = 0;
    for (const Prompt& prompt : prompts) longest = std::max(longest, std::ssize(prompt.ids));
    const auto count = std::ssize(prompts);
    const int64_t most = draw_.plan.group_size(draw_.config.num_generations);
    if (branches() != Branches::none)
      longest += draw_.config.max_completion_length + std::ssize(exit_ids_);
    const int64_t open_at_most = draw_.share.most_open(count * most, draw_.config.max_running);
    draw_.engine.open(draw_.config, open_at_most + (draw_.share.next ? most : 0),
                      longest + std::ssize(forced_ids_));
    int64_t next = 0;
    // Of a group in parts only those are open that are drawn now: it counts as a whole.
    const auto take = [&] {
      while (next < count && std::ssize(open_) * most < open_at_most) {
        const int64_t place = draw_.share.next ? draw_.share.next() : next;
        next = place + 1;
        if (place < count)
          begin(draw_.first_id + place, std::move(prompts[static_cast<size_t>(place)]));
      }
    };
    try {
      // What follows from the tokens of a pass follows on all that draw the same.
      const Engine& engine = draw_.engine;
      draw_.share.check(draw_.stop, engine.drawn());
      for (take(); !waiting_.empty() || !engine.idle(); take()) {
        for (; !waiting_.empty(); waiting_.pop_front())
          tickets_.push_back(draw_.engine.submit(std::move(waiting_.front())));
        draw_.engine.step();
        const bool over = waiting_.empty() && engine.idle();
        draw_.share.check(over ? nullptr : draw_.stop, engine.drawn());
      }
    } catch (...) {
      for (const int64_t ticket : tickets_) draw_.engine.cancel(ticket);
      throw;
    }
  }

 private:
  // A group in the making, by its parts: requests that are drawn for it, in the group's order.
  struct Open {
    Prompt prompt;
    std::map<int64_t, std::vector<Response>> parts;
    int64_t parts_left = 0;
  };

  Branches branches() const { return draw_.plan.branches; }

  // Made once for all requests that are drawn alike.
  std::shared_ptr<const DrawRules> rules(int64_t num_generations, bool stops_thinking = false) {
    std::shared_ptr<const DrawRules>& known = rules_[{num_generations, stops_thinking}];
    if (known != nullptr) return known;
    RolloutConfig config = draw_.config;
    config.num_generations = num_generations;
    if (stops_thinking) config.ending.stop_token_ids.push_back(tags_.end);
    known = std::make_shared<const DrawRules>(config, draw_.tokenizer, draw_.spec);
    return known;
  }

  void begin(int64_t id, Prompt prompt) {
    check_fits(prompt, cat("prompt ", prompt.id), draw_.config, draw_.spec);
    Open& open = open_[id];
    open.prompt = std::move(prompt);
    if (branches() == Branches::exits) return begin_exits(id);
    if (branches() == Branches::budgets) return begin_budgets(id);
    if (num_forced_ > 0) return begin_forced(id);
    ask(id, open.prompt, rules(draw_.config.num_generations), 0, [this, id](Group&& group) {
      open_.erase(id);
      done_(std::move(group));
    });
    if (!draw_.share.follows) waiting_.back().ended = draw_.ended;
  }

  void ask(int64_t id, Prompt prompt, std::shared_ptr<const DrawRules> how, uint64_t first_sample,
           std::function<void(Group&&)> done) {
    DrawKey key = draw_.key;
    key.first_sample = first_sample;
    waiting_.push_back({.prompt = std::move(prompt),
                        .rules = std::move(how),
                        .key = key,
                        .weight_version = draw_.weight_version,
                        .group_id = id,
                        .grown = {},
                        .ended = {},
                        .done = std::move(done)});
  }

  // `count` responses of up to `limit` tokens that go on from `start`, as part `part` of group
  // `id`.
  void ask_on(int64_t id, int64_t part, Beginning start, int64_t limit, int64_t count,
              uint64_t first_sample, const Branch& branch) {
    Prompt prompt = open_.at(id).prompt;
    prompt.ids.insert(prompt.ids.end(), start.ids.begin(), start.ids.end());
    prompt.max_completion_length = limit;
    ask(id, std::move(prompt), rules(count), first_sample,
        [this, id, part, branch, start = std::move(start)](Group&& drawn) {
          for (Response& response : drawn.responses) {
            join(response, start, open_.at(id).prompt);
            response.branch = branch;
            if (branch.thought < 0) response.flags.emplace_back(kForcedTextFlag);
          }
          add_part(id, part, std::move(drawn.responses));
        });
  }

  void join(Response& response, const Beginning& start, const Prompt& prompt) const {
    const auto shift = static_cast<int32_t>(start.ids.size());
    put_before(response.ids, start.ids);
    put_before(response.logprobs, start.logprobs);
    if (draw_.config.records("sampled")) put_before(response.sampled_logprobs, start.sampled);
    if (draw_.config.records("plain")) put_before(response.plain_logprobs, start.plain);
    for (int32_t& place : response.forced) place += shift;
    put_before(response.forced, start.forced);
    response.assumed = start.assumed;
    response.num_tokens = response.raw_num_tokens = static_cast<int32_t>(response.ids.size());
    response.versions = {{draw_.weight_version, response.num_tokens}};
    response.text = draw_.tokenizer.decode(response.ids);
    set_spans(response, prompt.ids, tags_);
    set_first_correct(response, prompt, draw_.tokenizer);
  }

  void add_part(int64_t id, int64_t part, std::vector<Response> responses) {
    Open& open = open_.at(id);
    open.parts[part] = std::move(responses);
    if (--open.parts_left > 0) return;
    Group group;
    group.id = id;
    group.step = static_cast<int64_t>(draw_.key.step);
    group.prompt = std::move(open.prompt);
    for (auto& [place, some] : open.parts)
      for (Response& response : some) {
        response.sample = std::ssize(group.responses);
        group.responses.push_back(std::move(response));
      }
    open_.erase(id);
    done_(std::move(group));
  }

  // The first share begins with the forced text, the others are free; of all the first token counts
  // with the plan's probability.
  void begin_forced(int64_t id) {
    const float half = -std::numbers::ln2_v<float>;
    Open& open = open_.at(id);
    const int64_t free = draw_.config.num_generations - num_forced_;
    open.parts_left = free > 0 ? 2 : 1;
    Beginning start;
    start.add_forced(forced_ids_);
    start.forced.erase(start.forced.begin());
    start.assumed = {0};
    start.logprobs.front() = half;
    const int64_t limit = completion_limit(open.prompt, draw_.config) - std::ssize(forced_ids_);
    if (limit < 1)
      fail("prompt ", open.prompt.id, ": the forced text '", draw_.plan.forced_text, "' of ",
           forced_ids_.size(), " tokens leaves nothing of the completion length");
    ask_on(id, 0, std::move(start), limit, num_forced_, 0, {});
    if (free == 0) return;
    ask(id, open.prompt, rules(free), static_cast<uint64_t>(num_forced_),
        [this, id, half](Group&& drawn) {
          for (Response& response : drawn.responses) {
            response.assumed = {0};
            response.logprobs.front() = half;
          }
          add_part(id, 1, std::move(drawn.responses));
        });
  }

  // Tokens of a response that are thinking: without the closing tag, or the end of one that never
  // closed it.
  int64_t thinking_tokens(const Response& response) const {
    const auto close = std::ranges::find(response.ids, tags_.end);
    if (close != response.ids.end()) return close - response.ids.begin();
    const bool ended = !response.ids.empty() && draw_.tokenizer.ends(response.ids.back());
    return std::ssize(response.ids) - (ended ? 1 : 0);
  }

  void begin_exits(int64_t id) {
    const int64_t exits = draw_.config.num_generations - 1;
    open_.at(id).parts_left = exits + 1;
    ask(id, open_.at(id).prompt, rules(1), 0, [this, id, exits](Group&& drawn) {
      Response& full = drawn.responses.front();
      const int64_t thinking = thinking_tokens(full);
      const Rng rng(draw_.key.seed, Stream::plan, draw_.key.step,
                    static_cast<uint64_t>(drawn.prompt.index));
      std::vector<int64_t> cuts;
      for (int64_t k = 0; k < exits; ++k)  // 1 ... thinking - 1, where there are so many
        cuts.push_back(thinking < 2
                           ? thinking
                           : 1 + static_cast<int64_t>(rng.bits(static_cast<uint64_t>(k)) %
                                                      static_cast<uint64_t>(thinking - 1)));
      std::ranges::sort(cuts);
      for (int64_t k = 0; k < exits; ++k) {
        const int64_t cut = cuts[static_cast<size_t>(k)];
        Beginning start = beginning_of(full, cut);
        start.add_forced(exit_ids_);
        ask_on(id, k, std::move(start), draw_.plan.exit_tokens, 1,
               kBranchSamples * static_cast<uint64_t>(k + 1), branch(0, k, cut));
      }
      full.branch = branch(0, exits, thinking);
      add_part(id, exits, {std::move(full)});
    });
  }

  // Thoughts, then answers from every budget of each.
  void begin_budgets(int64_t id) {
    const int64_t thoughts = draw_.config.num_generations, s = std::ssize(draw_.plan.budgets);
    Open& open = open_.at(id);
    open.parts_left = thoughts * s * 2;
    Prompt prompt = open.prompt;
    prompt.max_completion_length = draw_.plan.budgets.back();
    ask(id, std::move(prompt), rules(thoughts, true), 0, [this, id, s](Group&& drawn) {
      for (int64_t g = 0; g < std::ssize(drawn.responses); ++g) {
        const Response& thought = drawn.responses[static_cast<size_t>(g)];
        const int64_t whole = thinking_tokens(thought);
        for (int64_t k = 0; k < s; ++k) {
          const int64_t cut = std::min(whole, draw_.plan.budgets[static_cast<size_t>(k)]);
          ask_answers(id, thought, branch(g, k, cut), k + 1 == s);
        }
      }
    });
  }

  // The first answer at the last budget is where the thought is learned from.
  void ask_answers(int64_t id, const Response& thought, const Branch& at, bool last) {
    const int64_t s = std::ssize(draw_.plan.budgets);
    const int64_t place = (int64_t{at.thought} * s + at.exit) * 2;
    const uint64_t first = kBranchSamples * static_cast<uint64_t>(place + 2);
    Beginning learned = beginning_of(thought, at.cut), known = learned;
    known.forced.clear();
    for (int32_t t = 0; t < at.cut; ++t) known.forced.push_back(t);
    learned.add_forced(exit_ids_);
    known.add_forced(exit_ids_);
    const int64_t siblings = draw_.plan.siblings, limit = draw_.plan.exit_tokens;
    ask_on(id, place, last ? std::move(learned) : known, limit, 1, first, at);
    if (siblings > 1)
      ask_on(id, place + 1, std::move(known), limit, siblings - 1, first + 1, at);
    else
      --open_.at(id).parts_left;
  }

  static Branch branch(int64_t thought, int64_t exit, int64_t cut) {
    return {static_cast<int32_t>(thought), static_cast<int32_t>(exit), static_cast<int32_t>(cut)};
  }

  const GroupDraw& draw_;
  const std::function<void(Group&&)>& done_;
  ThinkTags tags_;
  std::map<std::pair<int64_t, bool>, std::shared_ptr<const DrawRules>> rules_;
  std::vector<int32_t> forced_ids_, exit_ids_;
  int64_t num_forced_ = 0;
  std::map<int64_t, Open> open_;  // by the group's id
  std::deque<Request> waiting_;
  std::vector<int64_t> tickets_;
};

}  // namespace

int64_t longest_response(const SamplingPlan& plan, const RolloutConfig& config,
                         const Tokenizer& tokenizer) {
  if (plan.branches == Branches::none) return config.max_completion_length;
  const int64_t thinking =
      plan.branches == Branches::budgets ? plan.budgets.back() : config.max_completion_length;
  return std::max(config.max_completion_length,
                  thinking + std::ssize(tokenizer.encode(plan.exit_text)) + plan.exit_tokens);
}

std::string plan_problem(const SamplingPlan& plan, const RolloutConfig& config) {
  if (plan.branches == Branches::none) return forced_problem(plan, config.num_generations);
  if (config.think_end.empty())
    return "rollout.think_end: is empty; the rewards' sampling plan cuts the thinking and has to "
           "know where it ends";
  if (!plan.budgets.empty() && plan.budgets.back() > config.max_completion_length)
    return cat("the rewards' sampling plan wants thoughts of ", plan.budgets.back(),
               " tokens; the limit of a response is ", config.max_completion_length);
  if (plan.exit_tokens < 1 || plan.exit_tokens > config.max_completion_length)
    return cat("the rewards' sampling plan wants answers of ", plan.exit_tokens,
               " tokens; the limit of a response is ", config.max_completion_length);
  if (plan.branches == Branches::exits && config.num_generations < 2)
    return "rollout.num_generations: 1 leaves no early exit beside the full response";
  return "";
}

void draw_groups(const GroupDraw& draw, std::vector<Prompt> prompts,
                 const std::function<void(Group&&)>& done) {
  if (prompts.empty()) return;
  const std::function<void(Group &&)> nobody = [](Group&&) {};
  Drawer(draw, draw.share.follows ? nobody : done).run(std::move(prompts));
}

}  // namespace vernier
