// Pays what a column of the row says: scores made beforehand, by another program or by people.
//
//   r_i = row[key]
//
// The row is the prompt's, the same for every response of a group, so that it moves no
// group-relative advantage by itself. Stored responses (vernier score) bring rows of their own:
// there it pays scores that another program or people have given. Abstains where the row lacks the
// column or holds no number in it.
#include <memory>

#include "core/base/json.h"
#include "rewards/reward.h"

namespace vernier {
namespace {

class Column final : public Reward {
 public:
  explicit Column(Binder& config) {
    config.text("key", key_, "name of the column");
    config.flag("depends_on_length", depends_on_length_,
                "whether whoever wrote the column looked at lengths, for score --explain");
    if (key_.empty()) config.error("key", "is needed: a column of the data");
  }

  bool needs_group() const override { return false; }
  bool depends_on_length() const override { return depends_on_length_; }

  std::string abstains_on(const Prompt& prompt) const override {
    return read(prompt.row, prompt.id).abstain;
  }

  void score(const Group& group, std::span<Score> scores) const override {
    // A stored response has a row of its own; a new one has its prompt's.
    const Score shared = read(group.prompt.row, group.prompt.id);
    for (size_t i = 0; i < scores.size(); ++i) {
      const std::string& own = group.responses[i].row;
      scores[i] = own.empty() ? shared : read(own, group.prompt.id);
    }
  }

 private:
  Score read(const std::string& text, const std::string& prompt) const {
    const Json row = text.empty() ? Json::object() : parse_json(text, cat("prompt ", prompt));
    const auto column = row.find(key_);
    Score score;
    if (column == row.end())
      score.abstain = cat("the row has no column ", key_);
    else if (!column->is_number())
      score.abstain = cat("column ", key_, " is not a number");
    else
      score.value = column->get<double>();
    score.explain = cat("column ", key_);
    return score;
  }

  std::string key_;
  bool depends_on_length_ = false;
};

const RewardRegistry::Entry entry{
    "column",
    {"a number from a column of the data", "r = row[key]", "those of the column", "ours"},
    [](Binder& config, const ScoringContext&) -> std::unique_ptr<Reward> {
      return std::make_unique<Column>(config);
    }};

}  // namespace
}  // namespace vernier
