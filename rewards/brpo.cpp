// Anytime reasoning: every thought is cut at several budgets and answered from there, and each
// stretch of it is credited with what the answers after it gain.
//
//   s[g, k]  share of right ones among the answers of thought g at budget k, of S budgets
//   P_k      weight of budget k: uniform; linear: b_k / sum b; base: all on the last
//   ret      sum_{j >= k} P_j s[g, j]
//   V2       mean of ret over the group's thoughts
//   V1       (sum_{j < k} 2^j s[g, j] / sum_{j < k} 2^j) sum_{j >= k} P_j;  0 for k = 0
//
//   thinking between budgets k - 1 and k:  ret - (k V1 + (S - k) V2) / S
//   tokens of an answer:                   c_i - mean of its siblings
//
// r_i = c_i; the credits are bonuses that make its tokens' advantages what stands above, with
// algo.advantage = "naive", which a run insists on, and without normalize and gates. The run draws
// num_generations thoughts a prompt, `siblings` answers at each budget; a thought that ends before
// a budget is cut where it ends. A thought's tokens are learned from once. Correctness is part of
// the value; length has a part in it through the budgets; a guard turns the entry's weight. Dynamic
// sampling has to look at accuracy.
// Source: AnytimeReasoner (BRPO), arXiv:2505.13438, and sail-sg/AnytimeReasoner (4 budgets, 4
// answers, 8,000 tokens).
#include <algorithm>
#include <map>
#include <memory>

#include "rewards/judged.h"

namespace vernier {
namespace {

// What is known of a thought at its budgets.
struct Thought {
  std::vector<double> score;  // [S]
  std::vector<int32_t> cut;   // [S], tokens
};

class Brpo final : public Reward {
 public:
  Brpo(Binder& config, const ScoringContext& context) {
    config.list("budgets", budgets_, 1, int64_t{1} << 30, "thinking tokens, rising");
    config.choice("weights", weights_, {"uniform", "linear", "base"}, "of the budgets");
    config.number("siblings", siblings_, 1, 4096, "answers at each budget of a thought");
    config.text("exit_text", exit_text_, "that closes the thinking where it is cut");
    config.number("exit_tokens", exit_tokens_, 0, 1 << 20,
                  "most of an answer; 0: the run's max_completion_length");
    if (exit_text_.empty()) config.error("exit_text", "is empty; it closes the thinking");
    if (budgets_.empty()) config.error("budgets", "are needed: thinking tokens, rising");
    for (size_t k = 1; k < budgets_.size(); ++k)
      if (budgets_[k] <= budgets_[k - 1]) config.error("budgets", "has to rise");
    const int64_t most = context.max_completion_length;
    if (most > 0 && !budgets_.empty() && budgets_.back() > most)
      config.error("budgets",
                   cat(budgets_.back(), " is more than rollout.max_completion_length = ", most));
    if (exit_tokens_ == 0) exit_tokens_ = most;
  }

  bool depends_on_length() const override { return true; }
  bool is_advantage() const override { return true; }
  bool may_be_gated() const override { return false; }

  SamplingPlan plan() const override {
    SamplingPlan plan;
    plan.branches = SamplingPlan::Branches::budgets;
    plan.budgets = budgets_;
    plan.siblings = siblings_;
    plan.exit_text = exit_text_;
    plan.exit_tokens = exit_tokens_;
    return plan;
  }

  void score(const Group& group, std::span<Score> scores) const override {
    const std::vector<Judged> all = judged(group, scores);
    std::map<int32_t, std::map<int32_t, std::vector<size_t>>> siblings;  // by thought and budget
    for (const Judged& one : all) {
      scores[one.place].value = one.correct ? 1 : 0;
      const Branch& branch = group.responses[one.place].branch;
      if (branch.thought >= 0)
        siblings[branch.thought][branch.exit].push_back(one.place);
      else
        scores[one.place].abstain = "no branch of a thought: the group was not drawn by budgets";
    }
    std::vector<Thought> thoughts;
    for (const auto& [number, exits] : siblings) {
      if (!is_whole(exits)) {  // an answer is missing: the others say too little
        for (const auto& [exit, places] : exits)
          for (const size_t i : places) scores[i].abstain = "a budget of its thought has no answer";
        continue;
      }
      thoughts.push_back(thought_of(group, exits));
    }
    size_t next = 0;
    for (const auto& [number, exits] : siblings)
      if (is_whole(exits)) add_credits(group, exits, thoughts, next++, scores);
  }

 private:
  using Exits = std::map<int32_t, std::vector<size_t>>;

  // Answers at every budget, 0 ... S - 1.
  bool is_whole(const Exits& exits) const {
    return exits.size() == budgets_.size() && exits.begin()->first == 0 &&
           exits.rbegin()->first + 1 == static_cast<int32_t>(budgets_.size());
  }

  static Thought thought_of(const Group& group, const Exits& exits) {
    Thought thought;
    for (const auto& [exit, places] : exits) {
      double right = 0;
      for (const size_t i : places) right += *group.responses[i].correct ? 1 : 0;
      thought.score.push_back(right / static_cast<double>(places.size()));
      thought.cut.push_back(group.responses[places.front()].branch.cut);
    }
    return thought;
  }

  double weight(size_t k) const {
    if (weights_ == "uniform") return 1 / static_cast<double>(budgets_.size());
    if (weights_ == "base") return k + 1 == budgets_.size() ? 1 : 0;
    double sum = 0;
    for (const int64_t budget : budgets_) sum += static_cast<double>(budget);
    return static_cast<double>(budgets_[k]) / sum;
  }

  double gain(const Thought& thought, size_t k) const {
    double sum = 0;
    for (size_t j = k; j < budgets_.size(); ++j) sum += weight(j) * thought.score[j];
    return sum;
  }

  // Of the stretch before budget k.
  double credit(const std::vector<Thought>& thoughts, const Thought& own, size_t k) const {
    const auto s = static_cast<double>(budgets_.size());
    double past = 0, past_weight = 0, power = 1, left = 0, others = 0;
    for (size_t j = 0; j < k; ++j, power *= 2) {
      past += power * own.score[j];
      past_weight += power;
    }
    for (size_t j = k; j < budgets_.size(); ++j) left += weight(j);
    for (const Thought& one : thoughts) others += gain(one, k);
    const double v1 = k == 0 ? 0 : past / past_weight * left;
    const double v2 = others / static_cast<double>(thoughts.size());
    const auto done = static_cast<double>(k);
    return gain(own, k) - (done * v1 + (s - done) * v2) / s;
  }

  // A thinking token's credit matters only where it is learned from: a bonus elsewhere has no
  // effect.
  void add_credits(const Group& group, const Exits& exits, const std::vector<Thought>& thoughts,
                   size_t number, std::span<Score> scores) const {
    const Thought& own = thoughts[number];
    std::vector<double> stretch;
    for (size_t k = 0; k < budgets_.size(); ++k) stretch.push_back(credit(thoughts, own, k));
    for (const auto& [exit, places] : exits)
      for (const size_t i : places) {
        const Response& response = group.responses[i];
        Score& score = scores[i];
        const double mean = own.score[static_cast<size_t>(exit)];
        for (int32_t t = 0; t < response.num_tokens; ++t) {
          size_t k = 0;
          while (k < own.cut.size() && t >= own.cut[k]) ++k;
          const bool thinks = t < response.branch.cut;
          score.token_bonus.push_back(
              thinks ? stretch[std::min(k, stretch.size() - 1)] - score.value : -mean);
        }
        score.explain = cat("thought ", number, " at budget ", exit, ": ", mean, " are right");
      }
  }

  std::vector<int64_t> budgets_;
  std::string weights_ = "uniform", exit_text_ = "\n</think>\n\n";
  int64_t siblings_ = 4, exit_tokens_ = 0;
};

const RewardRegistry::Entry entry{
    "brpo",
    {"right answers at several budgets of each thought, credited to its stretches",
     "r = c; thinking before budget k: ret - (k V1 + (S - k) V2) / S; answers: c - mean of "
     "siblings",
     "tokens", "AnytimeReasoner (BRPO), arXiv:2505.13438; sail-sg/AnytimeReasoner"},
    [](Binder& config, const ScoringContext& context) -> std::unique_ptr<Reward> {
      return std::make_unique<Brpo>(config, context);
    }};

}  // namespace
}  // namespace vernier
