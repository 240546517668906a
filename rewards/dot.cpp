// Dynamic Outlier Truncation: cuts the longest responses of a group that the policy has solved.
//
//   a group is eligible when the share of its right responses reaches success_threshold
//   T = max(floor(mu + alpha sigma), min_length, 1)    mu, sigma: lengths of all its responses
//   response i is cut to T tokens when L_i > T and L_i - T >= m
//   m = margin;  for a margin in (0, 1), max(floor(margin L_i), 16)
//
// Lengths are tokens, end token included. sigma divides by n - ddof, and is 0 for one response. A
// response without a verdict, or that the policy did not end, makes its group ineligible.
//
// on_cut says what becomes of a cut response:
//   reverify     its text is decoded again from the ids that are left, and verdict and rewards run
//                again; most have lost their answer, and their prefix is what the group learns to
//                avoid
//   force_zero   counts as wrong, whatever is left of it; verdict false, rewards run again on that.
//                The text is decoded again where there are ids and a decoder, else it stays whole
//   mask_out     stays whole, with verdict and reward, but no token of it enters the loss
//
// The finish reason stays: the policy ended the response, the cut came afterwards.
// Source: arXiv:2601.03969; alpha 3, margin 32, all right, ddof 1 and reverify are the published
// method. Its code floors T, which the paper does not show.
#include <algorithm>
#include <cmath>
#include <memory>

#include "core/base/errors.h"
#include "core/base/json.h"
#include "core/metrics/metrics.h"
#include "rewards/reward.h"

namespace vernier {
namespace {

const MetricDocs docs{
    {"dot/groups", "groups", "seen"},
    {"dot/eligible_groups", "groups", "solved, so that their longest may be cut"},
    {"dot/cut", "responses", "cut"},
    {"dot/masked", "responses", "kept out of the loss (on_cut = mask_out)"},
    {"dot/skipped_by_margin", "responses", "over the threshold, but by less than the margin"},
    {"dot/tokens_removed", "tokens", "cut off, all together"},
    {"dot/broken_answers", "responses", "right before the cut and wrong after it"},
    {"dot/mixed_after_cut", "groups", "all right before, and no longer after it"},
    {"dot/mu_sum", "tokens", "mean length, summed over the eligible groups"},
    {"dot/sigma_sum", "tokens", "standard deviation of length, summed likewise"},
    {"dot/threshold_sum", "tokens", "T, summed likewise"}};

constexpr double kMinRelativeMargin = 16;  // tokens
constexpr double kMaxAlpha = 1000;         // standard deviations

using Numbers = std::vector<std::pair<std::string, double>>;

// What one group came to.
struct Outcome {
  double eligible = 0, cut = 0, masked = 0, skipped = 0, removed = 0, broken = 0, mixed = 0;
  double mu = 0, sigma = 0, threshold = 0;

  // Sums over groups; mu, sigma and threshold are over the eligible ones.
  Numbers numbers() const {
    return {{"dot/groups", 1},
            {"dot/eligible_groups", eligible},
            {"dot/cut", cut},
            {"dot/masked", masked},
            {"dot/skipped_by_margin", skipped},
            {"dot/tokens_removed", removed},
            {"dot/broken_answers", broken},
            {"dot/mixed_after_cut", mixed},  // were all right, and are so no longer
            {"dot/mu_sum", mu},
            {"dot/sigma_sum", sigma},
            {"dot/threshold_sum", threshold}};
  }
};

// The largest (max - mean) / sigma that n lengths can have: one outlier among equals.
double largest_deviation(double n, int64_t ddof) {
  return ddof == 1 ? (n - 1) / std::sqrt(n) : std::sqrt(n - 1);
}

// The smallest n whose largest deviation exceeds `alpha`: the formulas above, solved for n.
double smallest_group(double alpha, int64_t ddof) {
  const double square = alpha * alpha;
  const double bound = ddof == 1 ? (2 + square + alpha * std::sqrt(square + 4)) / 2 : square + 1;
  double n = std::max(2.0, std::floor(bound));
  while (!(largest_deviation(n, ddof) > alpha)) ++n;
  return n;
}

TokenSpan clamped(TokenSpan span, int32_t end) {
  return {std::min(span.begin, end), std::min(span.end, end)};
}

void shorten(Response& response, int32_t tokens) {
  keep_tokens(response, tokens);
  response.num_tokens = tokens;
  response.think = clamped(response.think, tokens);
  response.answer_span = clamped(response.answer_span, tokens);
  if (response.first_correct > tokens) response.first_correct.reset();
  int32_t left = tokens;
  for (auto& [version, drawn] : response.versions) {
    drawn = std::min(drawn, left);
    left -= drawn;
  }
  std::erase_if(response.versions, [](const auto& part) { return part.second == 0; });
}

class Dot final : public Transform {
 public:
  Dot(Binder& config, const ScoringContext& context) : decode_(context.decode) {
    config.number("success_threshold", success_threshold_, 0.0, 1.0,
                  "share of right responses from which a group is eligible");
    config.number("alpha", alpha_, 0.0, kMaxAlpha, "standard deviations above the mean length");
    config.number("margin", margin_, 0.0, 1e6,
                  "whole tokens a response must be over; below 1, a share of its own length");
    config.number("ddof", ddof_, 0, 1, "1 divides by n - 1, 0 by n");
    config.number("min_length", min_length_, 0, int64_t{1} << 30, "tokens; nothing is cut shorter");
    config.choice("on_cut", on_cut_, {"reverify", "force_zero", "mask_out"},
                  "what becomes of a response that is cut");
    if (on_cut_ == "reverify" && !context.decode)
      config.error(
          "on_cut",
          "\"reverify\" decodes what is left of a response, and there is no tokenizer: model.path "
          "is not there; set it, or \"force_zero\", which takes every cut response for wrong");
    if (margin_ >= 1 && margin_ != std::floor(margin_))
      config.error("margin",
                   cat(margin_, " is neither a whole number of tokens nor a share below 1"));
    check_alpha(config, context.num_generations);
    check_reach(config, context);
  }

  bool depends_on_length() const override { return true; }

  // The highest alpha that a file may ask for cuts nothing.
  std::optional<Pressure> pressure() const override {
    return Pressure{.key = "alpha",
                    .value = alpha_,
                    .low = 0.25,
                    .high = 8,
                    .smaller_is_more = true,
                    .none = kMaxAlpha};
  }
  void set_pressure(double value) override { alpha_ = value; }

  Numbers apply(Group& group, const Rescore& rescore) const override {
    Outcome outcome;
    const std::string obstacle = why_not(group);
    if (!obstacle.empty()) {
      for (Response& response : group.responses)
        tell(response, {{"eligible", false}, {"how", obstacle}});
      return outcome.numbers();
    }
    measure(group, outcome);
    const bool all_right = num_right(group) == group.responses.size();
    // All are cut before the first is scored again: a reward may compare the lengths of a group.
    std::vector<size_t> cut;
    for (size_t i = 0; i < group.responses.size(); ++i)
      if (treat(group.responses[i], group, outcome)) cut.push_back(i);
    for (const size_t i : cut) {
      const bool was_right = group.responses[i].correct.value_or(false);
      rescore(group, i, on_cut_ == "force_zero" ? std::optional(false) : std::nullopt);
      if (was_right && !group.responses[i].correct.value_or(false)) ++outcome.broken;
    }
    const size_t right = num_right(group);
    if (all_right && right > 0 && right < group.responses.size()) outcome.mixed = 1;
    return outcome.numbers();
  }

 private:
  void check_alpha(Binder& config, int64_t n) const {
    if (n == 0 || largest_deviation(static_cast<double>(n), ddof_) > alpha_) return;
    // Rounded down: the bound itself cuts nothing.
    const double bound = largest_deviation(static_cast<double>(n), ddof_);
    config.error("alpha", cat(alpha_, " can never cut: of ", n, " lengths none lies more than ",
                              ddof_ == 1 ? "(n-1)/sqrt(n)" : "sqrt(n-1)", " = ", fixed(bound, 4),
                              " deviations above their mean; set alpha below ",
                              fixed(std::floor(bound * 1e4) / 1e4, 4),
                              ", or rollout.num_generations to at least ",
                              fixed(smallest_group(alpha_, ddof_), 0)));
  }

  // The most that can be cut is what one response of full length among the shortest can lose.
  void check_reach(Binder& config, const ScoringContext& context) const {
    const auto n = static_cast<double>(context.num_generations);
    const auto longest = static_cast<double>(context.max_completion_length);
    if (n < 2 || longest < 1 || !(largest_deviation(n, ddof_) > alpha_)) return;
    if (static_cast<double>(min_length_) >= longest)
      return config.error("min_length", cat(min_length_, " lets nothing be cut: a response has at ",
                                            "most ", longest, " tokens"));
    const double excess = longest - 1, sigma = excess / n * (n - 1) / largest_deviation(n, ddof_);
    const double over = longest - threshold(1 + excess / n, sigma);
    if (over > 0 && over >= margin_of(longest)) return;
    config.error("margin", cat(margin_, " can never be reached: of ", n, " responses of at most ",
                               longest, " tokens none lies more than ", std::max(over, 0.0),
                               " over the threshold of alpha = ", alpha_, "; set margin or alpha ",
                               "lower, or rollout.max_completion_length higher"));
  }

  double threshold(double mu, double sigma) const {
    return std::max({std::floor(mu + alpha_ * sigma), static_cast<double>(min_length_), 1.0});
  }

  // By how many tokens a response of this length has to be over the threshold.
  double margin_of(double length) const {
    const bool relative = margin_ > 0 && margin_ < 1;
    return relative ? std::max(std::floor(margin_ * length), kMinRelativeMargin) : margin_;
  }

  static size_t num_right(const Group& group) {
    return static_cast<size_t>(
        std::count_if(group.responses.begin(), group.responses.end(),
                      [](const Response& response) { return response.correct == true; }));
  }

  // Why the group is not eligible; "" where it is.
  std::string why_not(const Group& group) const {
    if (group.responses.empty()) return "no responses";
    for (const Response& response : group.responses) {
      if (!policy_ended(response))
        return cat("sample ", response.sample, ": finish reason ", name_of(response.finish_reason));
      if (!response.correct) return cat("sample ", response.sample, ": no verdict");
    }
    const size_t right = num_right(group), all = group.responses.size();
    const double share = static_cast<double>(right) / static_cast<double>(all);
    if (share < success_threshold_) return cat(right, " of ", all, " right");
    return "";
  }

  void measure(const Group& group, Outcome& outcome) const {
    const auto n = static_cast<double>(group.responses.size());
    double sum = 0, squares = 0;
    for (const Response& response : group.responses) sum += response.num_tokens;
    outcome.eligible = 1;
    outcome.mu = sum / n;
    for (const Response& response : group.responses) {
      const double distance = response.num_tokens - outcome.mu;
      squares += distance * distance;
    }
    if (n > 1) outcome.sigma = std::sqrt(squares / (n - static_cast<double>(ddof_)));
    outcome.threshold = threshold(outcome.mu, outcome.sigma);
  }

  // Cuts or masks one response where it is due; true where its rewards must run again.
  bool treat(Response& response, const Group& group, Outcome& outcome) const {
    const double over = response.num_tokens - outcome.threshold;
    const double margin = margin_of(response.num_tokens);
    if (over <= 0 || over < margin) {
      if (over > 0) ++outcome.skipped;
      explain(response, outcome,
              over > 0 ? cat("kept: over by ", over, ", margin ", margin) : "kept");
      return false;
    }
    const bool masks = on_cut_ == "mask_out";
    const std::string what = cat(masks ? "masked, " : "cut ", response.num_tokens,
                                 masks ? " over " : " to ", outcome.threshold);
    response.transforms.push_back(cat("dot: ", what));
    explain(response, outcome, what);
    if (masks) {
      ++outcome.masked;
      response.masked = true;
    } else {
      ++outcome.cut;
      outcome.removed += over;
      cut(response, group, static_cast<int32_t>(outcome.threshold));
    }
    return !masks;
  }

  static void explain(Response& response, const Outcome& outcome, const std::string& how) {
    tell(response, {{"eligible", true},
                    {"mu", outcome.mu},
                    {"sigma", outcome.sigma},
                    {"T", outcome.threshold},
                    {"how", how}});
  }

  void cut(Response& response, const Group& group, int32_t tokens) const {
    const bool has_ids = response.ids.size() >= static_cast<size_t>(tokens);
    if (!has_ids && on_cut_ == "reverify")
      fail("transform dot: sample ", response.sample, " of prompt ", group.prompt.id, " has ",
           response.ids.size(), " token ids and ", response.num_tokens,
           " tokens, so the part that is left cannot be decoded; score rows with response_ids, or "
           "set on_cut = \"force_zero\"");
    shorten(response, tokens);
    if (has_ids && decode_) response.text = decode_(response.ids);
  }

  static void tell(Response& response, const Json& details) {
    if (response.explain.empty()) return;
    Json step = {{"step", "transform"}, {"name", "dot"}};
    step.update(details);
    add_explanation(response, dump_json(step));
  }

  double success_threshold_ = 1, alpha_ = 3, margin_ = 32;
  int64_t ddof_ = 1, min_length_ = 0;
  std::string on_cut_ = "reverify";
  std::function<std::string(std::span<const int32_t>)> decode_;
};

const TransformRegistry::Entry entry{
    "dot",
    {"cuts outliers of length in groups that are solved",
     "cut to T = max(floor(mu + alpha sigma), min_length, 1) where L > T and L - T >= margin",
     "tokens", "DOT, arXiv:2601.03969 and its code"},
    [](Binder& config, const ScoringContext& context) -> std::unique_ptr<Transform> {
      return std::make_unique<Dot>(config, context);
    }};

}  // namespace
}  // namespace vernier
