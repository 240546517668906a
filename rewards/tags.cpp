// Tags around the parts of a response: each once, in order, and nothing before the first.
//
//   r_i = 1   <tag1> ... </tag1> <tag2> ... </tag2>, only white space outside (loose: anything)
//   r_i = 0   else
//
// `opened`: the prompt ends inside the first tag, as R1's templates do, so that its opening is not
// in the response. Blind to correctness: never abstains.
// Source: DeepSeek-R1's format reward, arXiv:2501.12948; TRL think_format_reward, open-r1
// format_reward.
#include <memory>

#include "rewards/reward.h"
#include "rewards/verify/scan.h"

namespace vernier {
namespace {

class Tags final : public Reward {
 public:
  explicit Tags(Binder& config) {
    config.texts("tags", tags_, {}, "names of the tags, in order");
    config.flag("opened", opened_, "the prompt ends inside the first tag");
    config.flag("loose", loose_, "text may stand outside the tags");
    if (tags_.empty()) config.error("tags", "is empty; name at least one tag");
  }

  bool needs_group() const override { return false; }

  void score(const Group& group, std::span<Score> scores) const override {
    for (size_t i = 0; i < scores.size(); ++i) {
      const std::string problem = problem_of(group.responses[i].text);
      scores[i].value = problem.empty() ? 1 : 0;
      scores[i].explain = problem.empty() ? "well formed" : problem;
    }
  }

 private:
  std::string problem_of(std::string_view text) const {
    size_t at = 0;
    for (size_t k = 0; k < tags_.size(); ++k)
      for (const bool closes : {false, true}) {
        if (!closes && k == 0 && opened_) continue;
        const std::string mark = cat(closes ? "</" : "<", tags_[k], ">");
        const size_t found = text.find(mark);
        if (found == std::string_view::npos) return cat(mark, ": not found");
        if (found < at) return cat(mark, ": comes too early");
        if (text.find(mark, found + mark.size()) != std::string_view::npos)
          return cat(mark, ": more than once");
        if (!closes && !loose_ && !trimmed(text.substr(at, found - at)).empty())
          return cat("text before ", mark);
        at = found + mark.size();
      }
    return loose_ || trimmed(text.substr(at)).empty() ? "" : "text after the last tag";
  }

  std::vector<std::string> tags_ = {"think", "answer"};
  bool opened_ = false, loose_ = false;
};

const RewardRegistry::Entry entry{
    "tags",
    {"1 where the tags stand once each, in order", "r = [<think>...</think> <answer>...</answer>]",
     "tags", "DeepSeek-R1, arXiv:2501.12948; TRL think_format_reward; open-r1 format_reward"},
    [](Binder& config, const ScoringContext&) -> std::unique_ptr<Reward> {
      return std::make_unique<Tags>(config);
    }};

}  // namespace
}  // namespace vernier
