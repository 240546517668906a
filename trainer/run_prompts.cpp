#include "trainer/run_prompts.h"

#include <algorithm>
#include <map>

#include "core/base/errors.h"
#include "core/base/log.h"

namespace vernier {
namespace {

// What the rewards say of the rows to train on.
class TrainingRows {
 public:
  explicit TrainingRows(const RunConfig& config)
      : config_(config), by_channel_(config.algorithm->uses_channels()) {}

  /// `asked`: its target_length is one that data.length_request may draw. Throws UsageError on a
  /// row that a reward refuses.
  void look(const Prompt& prompt, bool asked, const std::string& where) {
    if (asked && !looked_at_requests_) look_at_requests(prompt.id);
    if (asked && !refused_request_.empty()) return;  // that is no fault of the row
    std::vector<Abstention> found =
        placed(where, [&] { return config_.chain.abstains_on(prompt); });
    ++rows_;
    for (Abstention& one : found) {
      // The guard holds such a weight at 0 before it presses.
      if (config_.knob && config_.knob->name == cat("reward.", one.reward, ".weight"))
        one.in_every_step = false;
      Silence& silence = silences_[one.reward];
      if (++silence.rows > 1) continue;
      silence.takes_all = one.in_every_step && !by_channel_;
      silence.first = cat(where, ": ", one.why);
    }
    if (!config_.chain.is_mute(found, by_channel_) || ++mute_ > 1) return;
    const auto cause = std::ranges::find_if(
        found, [&](const Abstention& one) { return by_channel_ || one.in_every_step; });
    first_mute_ = cat(where, ": reward.", cause->reward, ": ", cause->why);
  }

  void report() const {
    if (!refused_request_.empty()) fail("data.length_request: ", refused_request_);
    if (mute_ > 0 && mute_ == rows_)
      fail(first_mute_, "; every response abstains, to all ", rows_,
           " rows alike, and there is nothing to learn from");
    for (const auto& [reward, silence] : silences_)
      log::warn(cat("reward.", reward, " has no value for ", silence.rows, " of ", rows_, " rows",
                    silence.takes_all ? ", and nothing is learned from them" : "", "; ",
                    silence.first));
  }

 private:
  struct Silence {
    int64_t rows = 0;
    bool takes_all = false;  // the whole reward of a response
    std::string first;
  };

  // Which of them a row gets is drawn anew in every epoch: a reward has to bear them all.
  void look_at_requests(const std::string& id) {
    looked_at_requests_ = true;
    for (const std::string& target : config_.data.length_request.possible_targets()) {
      Prompt prompt;
      prompt.id = id;
      prompt.target_length = target;
      try {
        config_.chain.abstains_on(prompt);
      } catch (const UsageError& problem) {
        refused_request_ = problem.what();
        return;
      }
    }
  }

  const RunConfig& config_;
  bool by_channel_;
  int64_t rows_ = 0, mute_ = 0;
  std::string first_mute_;
  std::map<std::string, Silence> silences_;  // by reward
  bool looked_at_requests_ = false;
  std::string refused_request_;
};

// Renders prompts and holds them to the model's positions.
class Fit {
 public:
  Fit(const RunConfig& config, const ChatFormat& chat_format, const Tokenizer& tokenizer,
      const ModelSpec& spec)
      : config_(config), chat_format_(chat_format), tokenizer_(tokenizer), spec_(spec) {
    const SamplingPlan plan = config.chain.plan();
    if (plan.branches != SamplingPlan::Branches::none)
      longest_ = longest_response(plan, config.rollout, tokenizer);
  }

  /// Whether data.length_request would draw its target; it has the longest then.
  bool check(Prompt& prompt, const std::string& where) const {
    const bool asked = placed(where, [&] {
      const bool drawn = config_.data.length_request.set_longest(prompt);
      render_prompt(prompt, config_.data, chat_format_, tokenizer_);
      return drawn;
    });
    check_fits(prompt, where, config_.rollout, spec_);
    if (std::ssize(prompt.ids) + longest_ > spec_.longest())
      fail(where, ": its ", prompt.ids.size(), " tokens and ", longest_,
           " that the rewards' sampling plan puts behind them do not fit the model's ",
           spec_.longest(), " positions");
    return asked;
  }

 private:
  const RunConfig& config_;
  const ChatFormat& chat_format_;
  const Tokenizer& tokenizer_;
  const ModelSpec& spec_;
  int64_t longest_ = 0;  // tokens behind a prompt, where responses go on from a thought
};

}  // namespace

RunPrompts open_prompts(const RunConfig& config, const ChatFormat& chat_format,
                        const Tokenizer& tokenizer, const ModelSpec& spec) {
  RunPrompts out;
  const Fit fit(config, chat_format, tokenizer, spec);
  if (config.run.steps > 0) {
    TrainingRows rows(config);
    out.training = training_prompts(config.data, static_cast<uint64_t>(config.run.seed),
                                    [&](Prompt&& prompt, const std::string& where) {
                                      const bool asked = fit.check(prompt, where);
                                      rows.look(prompt, asked, where);
                                    });
    rows.report();
  }
  if (config.run.eval_every > 0)
    out.evaluation = evaluation_prompts(
        config.data, [&](Prompt&& prompt, const std::string& where) { fit.check(prompt, where); });
  return out;
}

}  // namespace vernier
