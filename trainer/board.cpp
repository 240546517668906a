#include "trainer/board.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "core/base/text.h"
#include "core/metrics/metric_names.h"

namespace vernier {
namespace {

// A text as it is, whatever backticks it has itself.
std::string fenced(const std::string& text) {
  size_t longest = 0, run = 0;
  for (const char c : text) {
    run = c == '`' ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  const std::string fence(std::max<size_t>(3, longest + 1), '`');
  return cat(fence, "\n", to_valid_utf8(text), "\n", fence, "\n");
}

}  // namespace

Board::Board(const fs::path& run, std::string names, int64_t sft_step, int64_t rl_step)
    : folder_(run / "tensorboard"),
      names_(std::move(names)),
      sft_step_(sft_step),
      rl_step_(rl_step) {}

EventFile& Board::of(const std::string& phase) {
  const bool sft = phase == "sft";
  std::optional<EventFile>& file = sft ? sft_ : rl_;
  if (!file) {
    const fs::path folder = folder_ / (sft ? "sft" : "rl");
    const int64_t next = (sft ? sft_step_ : rl_step_) + 1;
    file.emplace(folder, fs::exists(folder) ? std::optional(next) : std::nullopt);
  }
  return *file;
}

void Board::row(const Json& row) {
  std::vector<std::pair<std::string, double>> values;
  for (const auto& [name, value] : row.items()) {
    if (name == "step" || !value.is_number()) continue;
    const auto other = verl_names().find(name);
    const bool renamed = names_ == "verl" && other != verl_names().end();
    values.emplace_back(renamed ? other->second : name, value.get<double>());
  }
  of(row.at("phase").get<std::string>()).scalars(row.at("step").get<int64_t>(), values);
}

void Board::lengths(int64_t step, std::span<const Group> groups) {
  std::vector<double> all, right, wrong;
  for (const Group& group : groups)
    for (const Response& response : group.responses) {
      if (!policy_ended(response)) continue;
      all.push_back(response.raw_num_tokens);
      if (response.sampled_correct)
        (*response.sampled_correct ? right : wrong).push_back(response.raw_num_tokens);
    }
  EventFile& file = of("rl");
  file.histogram(step, "lengths/all", all);
  file.histogram(step, "lengths/correct", right);
  file.histogram(step, "lengths/wrong", wrong);
}

void Board::samples(int64_t step, std::span<const Group> groups) {
  for (const bool right : {true, false})
    for (const Group& group : groups) {
      const auto is_one = [&](const Response& response) {
        return !response.elsewhere && response.correct == right;
      };
      const auto found = std::ranges::find_if(group.responses, is_one);
      if (found == group.responses.end()) continue;
      of("rl").text(
          step, right ? "samples/correct" : "samples/wrong",
          cat("prompt\n\n", fenced(group.prompt.text), "\nresponse of ", found->num_tokens,
              " tokens\n\n", fenced(found->text), "\nanswer\n\n", fenced(group.prompt.answer)));
      break;
    }
}

void Board::sync() {
  if (sft_) sft_->sync();
  if (rl_) rl_->sync();
}

}  // namespace vernier
