#include "tools/report_training.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <string_view>
#include <utility>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "rollout/rows.h"

namespace vernier {
namespace {

constexpr size_t kOptimumWindows = 6;
// Of a window: enough for a fit, and a long run's answers are not all held. What is more is left
// out by whole steps, evenly.
constexpr size_t kMaxWindowAnswers = 20000;

// The next field of a line of an index, up to the tab.
std::string_view next_field(std::string_view& line) {
  const size_t tab = line.find('\t');
  const std::string_view field = line.substr(0, tab);
  line.remove_prefix(tab == std::string_view::npos ? line.size() : tab + 1);
  return field;
}

void add(SampledTokens& sum, const Answers& answers) {
  ++sum.num_steps;
  for (const JudgedAnswer& answer : answers.rows) {
    const bool right = answer.correct.value_or(false);
    ++sum.num_answers;
    sum.tokens += answer.num_tokens;
    if (right) ++sum.num_right;
    if (right) sum.right_tokens += answer.num_tokens;
  }
}

// Gathers the answers of a range of steps.
class Window {
 public:
  void add(const Answers& answers) {
    if (steps_.empty()) first_ = answers.step;
    last_ = answers.step;
    const size_t place = seen_++;
    if (place % stride_ != 0) return;
    num_answers_ += answers.rows.size();
    steps_.push_back(answers.rows);
    while (num_answers_ > kMaxWindowAnswers && steps_.size() > 1) thin_out();
  }

  TrainingOptimum optimum(const Bootstrap& bootstrap) const {
    TrainingOptimum out;
    out.first_step = first_;
    out.last_step = last_;
    // A group's number may come again in another step.
    std::vector<JudgedAnswer> rows;
    std::map<std::pair<size_t, int64_t>, int64_t> groups;
    double sum = 0;
    for (size_t i = 0; i < steps_.size(); ++i)
      for (const JudgedAnswer& answer : steps_[i]) {
        JudgedAnswer& row = rows.emplace_back(answer);
        row.group = groups.try_emplace({i, answer.group}, static_cast<int64_t>(groups.size()))
                        .first->second;
        sum += static_cast<double>(answer.num_tokens);
      }
    if (!rows.empty()) out.mean_length = sum / static_cast<double>(rows.size());
    out.pooled = length_optimum(rows, false, bootstrap);
    out.within = length_optimum(rows, true, bootstrap);
    out.curve =
        length_curve(first_ == last_ ? cat("step ", first_) : cat("steps ", first_, "–", last_),
                     rows, bootstrap);
    return out;
  }

 private:
  void thin_out() {
    std::vector<std::vector<JudgedAnswer>> kept;
    for (size_t i = 0; i < steps_.size(); i += 2) kept.push_back(std::move(steps_[i]));
    steps_ = std::move(kept);
    stride_ *= 2;
    num_answers_ = 0;
    for (const auto& rows : steps_) num_answers_ += rows.size();
  }

  int64_t first_ = 0, last_ = 0;
  size_t seen_ = 0, stride_ = 1, num_answers_ = 0;
  std::vector<std::vector<JudgedAnswer>> steps_;
};

}  // namespace

Answers read_index(const fs::path& path, std::string source, int64_t step) {
  constexpr std::string_view kOldHeader = "length\tcorrect\treward\tgroup\toffset";
  Answers out;
  out.source = std::move(source);
  out.step = step;
  LineReader reader(path.string());
  std::string line;
  if (!reader.next(line)) return out;
  const bool tells_reason = line == kIndexHeader;
  if (!tells_reason && line != kOldHeader)
    fail(reader.where(), ": is not the header of an index: ", kOldHeader, " and finish_reason");
  while (reader.next(line)) {
    std::string_view rest = line;
    const auto count = [&](const char* name) {
      const std::string_view field = next_field(rest);
      int64_t value = 0;
      const auto [end, problem] = std::from_chars(field.data(), field.data() + field.size(), value);
      if (problem != std::errc() || end != field.data() + field.size() || value < 0)
        fail(reader.where(), ": ", name, ": '", field, "' is not a whole number from 0 on");
      return value;
    };
    JudgedAnswer answer;
    answer.num_tokens = count("length");
    const std::string_view correct = next_field(rest);
    if (correct != "1" && correct != "0" && correct != "-")
      fail(reader.where(), ": correct: '", correct, "' is not 1, 0 or -");
    if (correct != "-") answer.correct = correct == "1";
    next_field(rest);  // reward
    answer.group = count("group");
    next_field(rest);  // offset
    const std::string_view reason = tells_reason ? next_field(rest) : "stop";
    if (reason == "deadline" || reason == "aborted") {
      ++out.num_unmeasured;
      continue;
    }
    if (reason != "stop" && reason != "length")
      fail(reader.where(), ": finish_reason: '", reason,
           "' is not stop, length, deadline or aborted");
    answer.clipped = reason == "length";
    if (answer.clipped) ++out.num_clipped;
    out.rows.push_back(answer);
  }
  return out;
}

Sampled read_sampled(const fs::path& run, size_t max_blocks, const ReportSettings& settings) {
  constexpr std::array<std::string_view, 1> kSuffixes = {".idx"};
  const std::map<int64_t, fs::path> files = step_files(run / "rollouts", kSuffixes);
  const size_t num_steps = files.size();
  const size_t block = std::max<size_t>(1, (num_steps + max_blocks - 1) / max_blocks);
  const size_t windows = std::min(kOptimumWindows, num_steps);
  Sampled out;
  std::vector<double> lengths;  // of the block
  Window window;
  size_t place = 0;
  for (const auto& [step, path] : files) {
    if (settings.stop != nullptr && settings.stop->load()) throw Interrupted();
    Answers answers = read_index(path, cat("rollouts/", path.filename().string()), step);
    out.num_unmeasured += answers.num_unmeasured;
    add(out.tokens, answers);
    for (const JudgedAnswer& answer : answers.rows)
      lengths.push_back(static_cast<double>(answer.num_tokens));
    ++place;
    if (place % block == 0 || place == num_steps) {
      out.fan.step.push_back(step);
      for (size_t i = 0; i < LengthFan::kShares.size(); ++i)
        out.fan.quantiles[i].push_back(quantile_of(lengths, LengthFan::kShares[i]));
      lengths.clear();
    }
    window.add(answers);
    if (place * windows / num_steps > (place - 1) * windows / num_steps)
      out.optima.push_back(std::exchange(window, {}).optimum(settings.bootstrap));
    if (place == 1) out.first = answers;
    if (place == num_steps) out.last = std::move(answers);
  }
  return out;
}

}  // namespace vernier
